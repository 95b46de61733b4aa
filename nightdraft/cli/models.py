"""The commands that score models: `nightdraft evaluate` and `nightdraft ablate`.

Each command imports what it needs only when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightdraft.cli.json_output import AsJson, JsonFile, print_json
from nightdraft.cli.options import app, complete, setting_option
from nightdraft.cli.renamed_options import RenamingCommand
from nightdraft.cli.train import Target, chosen_device
from nightdraft.extras import require_training


@app.command()
def evaluate(
    bundle_: Annotated[str, typer.Argument(metavar="BUNDLE", help="A folder, or demo.")],
    corpus: Annotated[
        str, typer.Option("--corpus", help="NAME or NAME:PATH; nightdraft corpus check.")
    ] = "phantoms",
    against: Annotated[
        str | None, typer.Option(help="Another bundle, scored side by side.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of split, phantoms, resamples; else as trained.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="given, paper, r2gen, official, patients, validate; else as trained."),
    ] = None,
    target: Annotated[
        Target | None, typer.Option(help="What the model writes; else as trained.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Studies at most; else all.")] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            help="none, context, predicted, oracle; else all.",
            autocompletion=complete(("none", "context", "predicted", "oracle")),
        ),
    ] = None,
    as_paper: Annotated[
        bool, typer.Option("--as-paper", help="Priors out of the report, as the paper has them.")
    ] = False,
    beams: Annotated[int, typer.Option(min=1, help="Beams; 1 is greedy decoding.")] = 1,
    normalisation: Annotated[
        list[str] | None,
        typer.Option(
            help="raw, lower, r2gen; else all.",
            autocompletion=complete(("raw", "lower", "r2gen")),
        ),
    ] = None,
    chexbert: Annotated[Path | None, typer.Option(help="Folder of CheXbert's weights.")] = None,
    radgraph: Annotated[Path | None, typer.Option(help="Folder of RadGraph's weights.")] = None,
    device: Annotated[str | None, setting_option("device")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.html and .md.")] = None,
    json: JsonFile = None,
) -> None:
    """Score a bundle on the test split of a corpus, beside floors and published scores."""
    require_training("`nightdraft evaluate`")
    from nightdraft.cli.evaluate import evaluate_command

    evaluate_command(
        bundle_,
        corpus,
        against=against,
        seed=seed,
        split=split,
        target=target and target.value,
        limit=limit,
        modes=mode or (),
        as_paper=as_paper,
        beams=beams,
        normalisation=normalisation or (),
        chexbert=chexbert,
        radgraph=radgraph,
        device=chosen_device(device),
        out=out,
        json=json,
    )


@app.command()
def calibrate(
    by: Annotated[str, typer.Option(help="Your name.")],
    error_rate: Annotated[
        float, typer.Option(min=0.01, max=0.5, help="Share of errors that thresholds allow.")
    ] = 0.1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Set the thresholds of image support from this site's signed reports."""
    from rich.table import Table

    from nightdraft.cli.options import console
    from worker.image_support import calibrate_on_signed
    from worker.preparing import served_manifest

    manifest = served_manifest()
    result = calibrate_on_signed(manifest, by, error_rate=error_rate, dry_run=dry_run)
    if json:
        print_json(
            {
                "bundle": manifest.name,
                "reports": result.reports,
                "in_use": not dry_run,
                "before": result.before,
                "made": result.made,
            }
        )
        return
    table = Table(
        "observation", "with it", "without", "present from", "before", "absent to", "before"
    )
    for name in dict.fromkeys((*result.before.thresholds, *result.made.thresholds)):
        new, old = result.made.thresholds.get(name), result.before.thresholds.get(name)
        table.add_row(
            name,
            str(new.positives) if new else "too few",
            str(new.negatives) if new else "",
            f"{new.present:.4f}" if new else "",
            f"{old.present:.4f}" if old else "",
            f"{new.absent:.4f}" if new else "",
            f"{old.absent:.4f}" if old else "",
        )
    console().print(table)
    done = "would be made" if dry_run else "are in use"
    print(f"thresholds from {result.reports} signed reports {done} for {manifest.name}")


@app.command(cls=RenamingCommand)
def ablate(
    out: Annotated[Path, typer.Option(help="Folder for the bundles, the table, the plot.")],
    base: Annotated[
        str, typer.Option(help="The bundle to start from; else a small one is trained first.")
    ] = "",
    corpus: Annotated[
        str, typer.Option("--corpus", help="NAME or NAME:PATH; nightdraft corpus check.")
    ] = "phantoms:ward",
    studies: Annotated[int, typer.Option(min=0, help="Most studies to train on; 0: all.")] = 6000,
    steps: Annotated[int, typer.Option(min=0, help="Steps of each stage; 0: by --epochs.")] = 0,
    epochs: Annotated[float, typer.Option(min=0.0, help="Epochs of each stage.")] = 5.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Studies in a batch.")] = 12,
    gradient_accumulation_steps: Annotated[int, typer.Option(min=1, help="Batches in a step.")] = 1,
    learning_rate_lora: Annotated[
        float | None, typer.Option(help="Learning rate of LoRA; else 5e-4.")
    ] = None,
    learning_rate_full: Annotated[
        float | None, typer.Option(help="Learning rate of what trains in full; else 1e-4.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most studies that are scored.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = 0,
    as_paper: Annotated[
        bool, typer.Option("--as-paper", help="Oracle priors, films and targets as they are.")
    ] = False,
    chexbert: Annotated[Path | None, typer.Option(help="CheXbert's weights, for labels.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume rows that were stopped.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove earlier rows and start again.")
    ] = False,
    device: Annotated[str | None, setting_option("device")] = None,
    json: JsonFile = None,
) -> None:
    """Train and score every row of the paper's Table 3 on a corpus, from one base."""
    from nightdraft.cli.train import ablate_command

    require_training("`nightdraft ablate`")
    ablate_command(
        out,
        base,
        corpus,
        studies=studies,
        steps=steps,
        epochs=epochs,
        batch=batch_size,
        accumulation=gradient_accumulation_steps,
        rates=(learning_rate_lora, learning_rate_full),
        limit=limit,
        seed=seed,
        as_paper=as_paper,
        chexbert=chexbert,
        resume=resume,
        fresh=fresh,
        device=chosen_device(device),
        json=json,
    )
