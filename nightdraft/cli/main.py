"""The command `nightdraft`: every part, every measurement, and one line for a problem.

Knows commands; each does its work elsewhere, and imports that only when it is called.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import nightdraft.cli.operate  # noqa: F401  its commands enter `app`
from nightdraft.cli.bundles import bundle
from nightdraft.cli.corpora import corpus
from nightdraft.cli.options import app, apply_options, console, setting_option, start_logging
from nightdraft.cli.train import Target, chosen_device, train
from nightdraft.station.checks import NO_BUNDLE, check_database, check_migrations
from records.errors import SettingsError, is_safe_to_show, safe_text
from records.settings import settings

if TYPE_CHECKING:
    from rich.console import RenderableType

work = typer.Typer(help="Run one worker.", no_args_is_help=True)
bench = typer.Typer(help="Measure.", no_args_is_help=True)
for name, group in (
    ("work", work),
    ("corpus", corpus),
    ("train", train),
    ("bundle", bundle),
    ("bench", bench),
):
    app.add_typer(group, name=name)


# ---- The parts ----


@app.command()
def station(
    bundle: Annotated[str | None, setting_option("bundle")] = None,
    device: Annotated[str | None, setting_option("device")] = None,
    listen_host: Annotated[str | None, setting_option("listen_host")] = None,
    listen_port: Annotated[int | None, setting_option("listen_port")] = None,
    serve_host: Annotated[str | None, setting_option("serve_host")] = None,
    serve_port: Annotated[int | None, setting_option("serve_port")] = None,
    quiet_seconds: Annotated[float | None, setting_option("quiet_seconds")] = None,
    logs: Annotated[
        Path | None, typer.Option(help="Folder for a log file a part; else standard error.")
    ] = None,
) -> None:
    """Run all of it on this machine until Ctrl-C."""
    from nightdraft.station.station import run_station

    apply_options(
        bundle=bundle,
        device=device,
        listen_host=listen_host,
        listen_port=listen_port,
        serve_host=serve_host,
        serve_port=serve_port,
        quiet_seconds=quiet_seconds,
    )
    run_station(start_logging("station"), say, log_dir=logs)


@app.command()
def demo(
    films: Annotated[
        Path | None, typer.Option(help="Your DICOM files, instead of phantoms.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End once all is drafted.")] = False,
) -> None:
    """Show the whole system at work on two dozen drawn phantoms."""
    from nightdraft.cli.demo import run_demo

    if not run_demo(console(), films, once=once):
        raise typer.Exit(1)


@app.command()
def listen(
    listen_host: Annotated[str | None, setting_option("listen_host")] = None,
    listen_port: Annotated[int | None, setting_option("listen_port")] = None,
    ae_title: Annotated[str | None, setting_option("ae_title")] = None,
) -> None:
    """Run the DICOM listener."""
    apply_options(listen_host=listen_host, listen_port=listen_port, ae_title=ae_title)
    _check_records()
    from intake.dicom.listener import run_listener

    run_listener(start_logging("listener"))


@work.command("prepare")
def work_prepare(
    prepare_processes: Annotated[int | None, setting_option("prepare_processes")] = None,
    bundle: Annotated[str | None, setting_option("bundle")] = None,
) -> None:
    """Make model inputs of studies (CPU)."""
    apply_options(prepare_processes=prepare_processes, bundle=bundle)
    _work("prepare")


@work.command("draft")
def work_draft(
    bundle: Annotated[str | None, setting_option("bundle")] = None,
    device: Annotated[str | None, setting_option("device")] = None,
    draft_slots: Annotated[int | None, setting_option("draft_slots")] = None,
    draft_dtype: Annotated[str | None, setting_option("draft_dtype")] = None,
    draft_int8: Annotated[bool | None, setting_option("draft_int8")] = None,
    draft_beams: Annotated[int | None, setting_option("draft_beams")] = None,
    draft_compile: Annotated[bool | None, setting_option("draft_compile")] = None,
) -> None:
    """Draft reports (GPU, or CPU); where there are several GPUs, a process on each."""
    from nightdraft.station.supervisor import draft_processes, run_draft_processes

    chosen = apply_options(
        bundle=bundle,
        device=device,
        draft_slots=draft_slots,
        draft_dtype=draft_dtype,
        draft_int8=draft_int8,
        draft_beams=draft_beams,
        draft_compile=draft_compile,
    )
    processes = draft_processes(chosen)
    if len(processes) > 1:
        run_draft_processes(start_logging("draft"), processes, say)
    else:
        os.environ.update(processes[0].env)
        _work("draft")


@work.command("sweep")
def work_sweep(
    sweep_seconds: Annotated[float | None, setting_option("sweep_seconds")] = None,
    quiet_seconds: Annotated[float | None, setting_option("quiet_seconds")] = None,
) -> None:
    """Close quiet studies, ring bells, take back leases that ran out."""
    apply_options(sweep_seconds=sweep_seconds, quiet_seconds=quiet_seconds)
    _work("sweep")


def _work(part: Literal["prepare", "draft", "sweep"]) -> None:
    chosen = start_logging(part)
    if part != "sweep" and not chosen.bundle:
        raise SettingsError(NO_BUNDLE)
    _check_records()
    from worker.running import run_worker

    raise typer.Exit(run_worker(part))


@app.command()
def serve(
    serve_host: Annotated[str | None, setting_option("serve_host")] = None,
    serve_port: Annotated[int | None, setting_option("serve_port")] = None,
) -> None:
    """Serve the pages and REST."""
    apply_options(serve_host=serve_host, serve_port=serve_port)
    _check_records()
    from api.app import run_server

    run_server(start_logging("api"))


def _check_records() -> None:
    """That the database answers and has the tables that this software knows."""
    check_database(settings())
    check_migrations()


@app.command()
def migrate() -> None:
    """Bring the database's tables up to date."""
    import migrations
    from records.database.session import engine

    check_database(settings())
    migrations.upgrade(engine())
    print(check_migrations())


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


@bench.command("pipeline")
def bench_pipeline(
    studies: Annotated[int, typer.Option(min=1, help="Small phantom studies.")] = 2000,
    associations: Annotated[int, typer.Option(min=1, help="At the same time.")] = 4,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the measurements.")] = None,
) -> None:
    """Send many small studies through a station whose model looks at nothing: pace and memory."""
    from nightdraft.bench.pipeline import measure, render

    _bench(measure(studies, associations, say), render, json_)


@bench.command("receive")
def bench_receive(
    films: Annotated[int, typer.Option(min=1, help="Films sent in each run.")] = 40,
    mb: Annotated[float, typer.Option(min=0.01, help="MB of pixels a film.")] = 15.0,
    associations: Annotated[list[int] | None, typer.Option(min=1, help="At the same time.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Of which the median counts.")] = 3,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the measurements.")] = None,
) -> None:
    """Send films to our listener and to others that are installed: films a second, memory."""
    from nightdraft.bench.receive import measure, render

    _bench(measure(films, mb, associations or [1, 4], runs, say), render, json_)


@bench.command("prepare")
def bench_prepare(
    runs: Annotated[int, typer.Option(min=1, help="Of which the median counts.")] = 7,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the measurements.")] = None,
) -> None:
    """From file to view, by codec, beside the plain way: films a second, error, memory, threads."""
    from nightdraft.bench.prepare import measure, render

    _bench(measure(runs, say), render, json_)


@bench.command("feed")
def bench_feed(
    studies: Annotated[int, typer.Option(min=3, help="Phantoms in files.")] = 120,
    pixels: Annotated[int, typer.Option(min=64, help="A side of their films.")] = 2048,
    runs: Annotated[int, typer.Option(min=1, help="Of which the median counts.")] = 3,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the measurements.")] = None,
) -> None:
    """Studies a second that a training run is fed: films prepared once, and decoded each time."""
    from nightdraft.bench.feed import measure, render

    _bench(measure(studies, pixels, runs, say), render, json_)


@bench.command("model")
def bench_model(
    bundle_: Annotated[str, typer.Option("--bundle", help="Bundle; else random weights.")] = "",
    size: Annotated[str, typer.Option(help="tiny, mid or full; by device, if left out.")] = "",
    device: Annotated[str | None, setting_option("device")] = None,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "",
    threads: Annotated[int, typer.Option(min=0, help="Of the CPU; 0: all cores.")] = 0,
    studies: Annotated[int, typer.Option(min=0, help="Drafted by the engine; 0: enough.")] = 0,
    slots: Annotated[list[int] | None, typer.Option(min=1, help="Each is measured.")] = None,
    batches: Annotated[list[int] | None, typer.Option(min=1, help="Of `generate`.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Of which the median counts.")] = 1,
    quick: Annotated[bool, typer.Option(help="A few short studies: to see that it runs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="With weights of eight bits, too.")] = False,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the measurements.")] = None,
    plot: Annotated[Path | None, typer.Option(help="File for the picture, PNG.")] = None,
) -> None:
    """Studies a second: the engine, `generate` one at a time and in batches, and the bound."""
    from model.bench.__main__ import Asked, run, write
    from nightdraft.bench.model import render

    asked = Asked(
        bundle_,
        size,
        apply_options(device=device).device.removeprefix("auto"),
        dtype,
        threads,
        studies,
        slots or (),
        batches or (),
        runs,
        quick,
        int8,
    )
    measured = run(asked, say)
    write(measured, json_, plot)
    console().print(render(measured))


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


def _bench(
    measured: dict[str, Any],
    render: Callable[[dict[str, Any]], RenderableType],
    json_: Path | None,
) -> None:
    if json_ is not None:
        json_.write_text(json.dumps(measured, indent=1) + "\n")
    console().print(render(measured))


def main() -> None:
    """The command's door: what is known goes to standard error in one line, exit status 1."""
    debug = "--debug" in sys.argv or os.environ.get("NIGHTDRAFT_DEBUG")
    try:
        app()
    except Exception as error:
        if debug:
            raise
        sentence = safe_text(error)
        if not is_safe_to_show(error):
            sentence = f"unexpected: {sentence}; `nightdraft --debug ...` shows the traceback"
        _fail(sentence)


def _fail(sentence: str) -> None:
    print(f"nightdraft: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(1)
