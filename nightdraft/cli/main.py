"""The command `nightdraft`: joins the commands of all modules, and answers errors in one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import nightdraft.cli.operate
import nightdraft.cli.send  # noqa: F401  these modules add their commands to `app`
from nightdraft.cli.benchmarks import bench
from nightdraft.cli.bundles import bundle
from nightdraft.cli.corpora import corpus
from nightdraft.cli.options import app, setting_option
from nightdraft.cli.parts import work
from nightdraft.cli.train import Target, chosen_device, train
from records.errors import is_safe_to_show, safe_text

for name, group in (
    ("work", work),
    ("corpus", corpus),
    ("train", train),
    ("bundle", bundle),
    ("bench", bench),
):
    app.add_typer(group, name=name)


# ---- Models and measurements ----


@app.command()
def evaluate(
    bundle_: Annotated[str, typer.Argument(metavar="BUNDLE", help="A folder, or demo.")],
    corpus_: Annotated[
        str, typer.Option("--corpus", help="NAME or NAME:PATH; nightdraft corpus check.")
    ] = "phantoms",
    against: Annotated[str | None, typer.Option(help="Another bundle, side by side.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of split, phantoms, resamples; else as trained.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="paper, r2gen, official, patients; else as trained.")
    ] = None,
    target: Annotated[Target | None, typer.Option(help="What is written; else as trained.")] = None,
    limit: Annotated[int | None, typer.Option(help="Studies at most; else all.")] = None,
    mode: Annotated[
        list[str] | None, typer.Option(help="none, context, predicted, oracle; else all.")
    ] = None,
    normalisation: Annotated[
        list[str] | None, typer.Option(help="raw, lower, r2gen; else all.")
    ] = None,
    chexbert: Annotated[Path | None, typer.Option(help="Folder of CheXbert's weights.")] = None,
    radgraph: Annotated[Path | None, typer.Option(help="Folder of RadGraph's weights.")] = None,
    device: Annotated[str | None, setting_option("device")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.html and .md.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
) -> None:
    """Score a bundle on the test split of a corpus, beside floors and published scores."""
    from nightdraft.cli.evaluate import evaluate_command

    evaluate_command(
        bundle_,
        corpus_,
        against=against,
        seed=seed,
        split=split,
        target=target and target.value,
        limit=limit,
        modes=mode or (),
        normalisation=normalisation or (),
        chexbert=chexbert,
        radgraph=radgraph,
        device=chosen_device(device),
        out=out,
        json_=json_,
    )


@app.command()
def ablate(
    out: Annotated[Path, typer.Option(help="Folder for the bundles, the table, the plot.")],
    base: Annotated[
        str, typer.Option(help="The bundle to start from; none: a small one, taught elsewhere.")
    ] = "",
    corpus_: Annotated[
        str, typer.Option("--corpus", help="NAME or NAME:PATH; nightdraft corpus check.")
    ] = "phantoms:ward",
    studies: Annotated[int, typer.Option(min=0, help="To learn from at most; 0: all.")] = 6000,
    steps: Annotated[int, typer.Option(min=0, help="Of each stage; 0: by --epochs.")] = 0,
    epochs: Annotated[float, typer.Option(min=0.0, help="Times round, each stage.")] = 5.0,
    batch: Annotated[int, typer.Option(min=1, help="Studies a process reads at once.")] = 12,
    accumulation: Annotated[int, typer.Option(min=1, help="Batches a step.")] = 1,
    rate_lora: Annotated[float | None, typer.Option(help="Else 5e-4.")] = None,
    rate_whole: Annotated[float | None, typer.Option(help="Else 1e-4.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Studies that are scored, at most.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Take up what was stopped.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew.")] = False,
    device: Annotated[str | None, setting_option("device")] = None,
) -> None:
    """Train and score every row of the paper's Table 3 on a corpus, from one base."""
    from nightdraft.cli.train import ablate_command

    ablate_command(
        out,
        base,
        corpus_,
        studies=studies,
        steps=steps,
        epochs=epochs,
        batch=batch,
        accumulation=accumulation,
        rates=(rate_lora, rate_whole),
        limit=limit,
        seed=seed,
        resume=resume,
        fresh=fresh,
        device=chosen_device(device),
    )


def main() -> None:
    """Run the command; an error is one line on standard error and exit status 1."""
    debug = "--debug" in sys.argv or os.environ.get("NIGHTDRAFT_DEBUG")
    try:
        app()
    except Exception as error:
        if debug:
            raise
        sentence = safe_text(error)
        if not is_safe_to_show(error):
            sentence = f"unexpected: {sentence}; `nightdraft --debug ...` shows the traceback"
        print(f"nightdraft: {' '.join(sentence.split())}", file=sys.stderr)
        sys.exit(1)
