"""The commands `nightdraft bench ...`; `nightdraft.bench` and `model.bench` measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightdraft.cli.json_output import JsonFile, progress_line, write_figures
from nightdraft.cli.options import apply_options, complete, console, setting_option

if TYPE_CHECKING:
    from rich.console import RenderableType

SMALLEST_GROWTH = 2000
"""Fewer studies than that are used up by the operations that are timed."""

bench = typer.Typer(
    help="Measure how fast receiving, preparing, drafting and training are on this machine.",
    no_args_is_help=True,
)


@bench.command("pipeline")
def bench_pipeline(
    studies: Annotated[int, typer.Option(min=1, help="Small phantom studies.")] = 2000,
    associations: Annotated[int, typer.Option(min=1, help="Associations at the same time.")] = 4,
    json: JsonFile = None,
) -> None:
    """Send small studies through a station whose model looks at no image: pace and memory."""
    from nightdraft.bench.pipeline import measure, render

    _report(measure(studies, associations, progress_line(json)), render, json)


@bench.command("receive")
def bench_receive(
    films: Annotated[int, typer.Option(min=1, help="Films sent in each run.")] = 40,
    mb: Annotated[float, typer.Option(min=0.01, help="MB of pixels in a film.")] = 15.0,
    associations: Annotated[
        list[int] | None, typer.Option(min=1, help="Associations at the same time.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs, of which the median counts.")] = 3,
    json: JsonFile = None,
) -> None:
    """Send films to our listener and to others that are installed: films a second, memory."""
    from nightdraft.bench.receive import measure, render

    _report(measure(films, mb, associations or [1, 4], runs, progress_line(json)), render, json)


@bench.command("orders")
def bench_orders(
    orders: Annotated[int, typer.Option(min=1, help="Orders sent in each run.")] = 5000,
    connections: Annotated[int, typer.Option(min=1, help="Connections at the same time.")] = 16,
    runs: Annotated[int, typer.Option(min=1, help="Runs, of which the median counts.")] = 5,
    json: JsonFile = None,
) -> None:
    """Send HL7 orders to our listener and to servers that store nothing: orders a minute."""
    from nightdraft.bench.orders import measure, render

    _report(measure(orders, connections, runs, progress_line(json)), render, json)


@bench.command("prepare")
def bench_prepare(
    runs: Annotated[int, typer.Option(min=1, help="Runs, of which the median counts.")] = 7,
    json: JsonFile = None,
) -> None:
    """Measure the way from file to view by codec: pace, error, memory, threads."""
    from nightdraft.bench.prepare import measure, render

    _report(measure(runs, progress_line(json)), render, json)


@bench.command("growth")
def bench_growth(
    rows: Annotated[
        str, typer.Option(help="How many studies, one measurement each: numbers with commas.")
    ] = "10000,1000000",
    runs: Annotated[int, typer.Option(min=1, help="Runs, of which the median counts.")] = 7,
    json: JsonFile = None,
) -> None:
    """Time what listener, workers, sweep and pages do among few and among millions of studies."""
    from nightdraft.bench.growth import measure, render

    try:
        sizes = [int(number) for number in rows.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < SMALLEST_GROWTH:
        raise typer.BadParameter(
            f"give numbers of at least {SMALLEST_GROWTH:,}, such as 10000,1000000",
            param_hint="--rows",
        )
    _report(measure(sizes, runs, progress_line(json)), render, json)


@bench.command("claims")
def bench_claims(
    claims: Annotated[
        int, typer.Option(min=30, help="Claims: each study is fetched, prepared and drafted.")
    ] = 200_000,
    json: JsonFile = None,
) -> None:
    """Measure how far tables and indexes outgrow their live rows while a campaign is drafted."""
    from nightdraft.bench.claims import measure, render

    _report(measure(claims, progress_line(json)), render, json)


@bench.command("feed")
def bench_feed(
    studies: Annotated[int, typer.Option(min=3, help="Phantoms in files.")] = 120,
    pixels: Annotated[int, typer.Option(min=64, help="Pixels a side of their films.")] = 2048,
    runs: Annotated[int, typer.Option(min=1, help="Runs, of which the median counts.")] = 3,
    json: JsonFile = None,
) -> None:
    """Measure how many studies a second one core feeds to a training."""
    from nightdraft.bench.feed import measure, render

    _report(measure(studies, pixels, runs, progress_line(json)), render, json)


@bench.command("films")
def bench_films(
    bundle_: Annotated[
        str,
        typer.Option(
            "--bundle",
            envvar="NIGHTDRAFT_BENCH_FILMS_BUNDLE",
            allow_from_autoenv=False,
            help="A folder, or demo.",
        ),
    ] = "demo",
    studies: Annotated[int, typer.Option(min=1, help="Held-out phantoms.")] = 300,
    noise: Annotated[
        list[float] | None, typer.Option(min=0, help="Noise, in grey values of 255; several.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which phantoms, and of the noise.")] = 0,
    device: Annotated[str | None, setting_option("device")] = None,
    json: JsonFile = None,
) -> None:
    """Compare finding F1 on films as served and as trained; exit 1 where they differ."""
    from nightdraft.bench.films import measure, render

    chosen = apply_options(device=device).device
    used = None if chosen in ("", "auto") else chosen
    measured = measure(bundle_, studies, noise or [0.0, 15.0], seed, used, progress_line(json))
    _report(measured, render, json)
    if not measured["agree"]:
        raise typer.Exit(1)


@bench.command("worklist")
def bench_worklist(
    rows: Annotated[int, typer.Option(min=1000, help="Studies in the database.")] = 1_000_000,
    runs: Annotated[int, typer.Option(min=2, help="Questions for each page.")] = 100,
    json: JsonFile = None,
) -> None:
    """Measure how long each page, filter and search of the worklist takes: median and 99th."""
    from nightdraft.bench.worklist import measure, render

    _report(measure(rows, runs, progress_line(json)), render, json)


@bench.command("viewer")
def bench_viewer(
    runs: Annotated[int, typer.Option(min=1, help="Looks at each film.")] = 9,
    json: JsonFile = None,
) -> None:
    """Measure how long a reader waits for a film of 2500 x 3000 pixels, and ways to pack it."""
    from nightdraft.bench.viewer import measure, render

    _report(measure(runs, progress_line(json)), render, json)


@bench.command("second-look")
def bench_second_look(
    studies: Annotated[int, typer.Option(min=10, help="Phantoms, each with a report.")] = 25_000,
    misses: Annotated[int, typer.Option(min=1, help="Findings left out of reports.")] = 35,
    mentioned: Annotated[
        int, typer.Option(min=0, help="Further ones that a later report mentions.")
    ] = 15,
    reads: Annotated[int, typer.Option(min=1, help="Second looks of the budget.")] = 500,
    noise: Annotated[
        float, typer.Option(min=0, help="Most noise of a film, in grey values of 255.")
    ] = 25.0,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    bundle_: Annotated[
        str,
        typer.Option(
            "--bundle",
            envvar="NIGHTDRAFT_BENCH_SECOND_LOOK_BUNDLE",
            allow_from_autoenv=False,
            help="A folder, or demo.",
        ),
    ] = "demo",
    device: Annotated[str | None, setting_option("device")] = None,
    json: JsonFile = None,
) -> None:
    """Measure how many findings left out of reports the ranked list finds within a budget."""
    from nightdraft.bench.second_look import Archive, measure, render

    chosen = apply_options(device=device).device
    used = None if chosen in ("", "auto") else chosen
    archive = Archive(studies, misses, mentioned, noise, seed)
    _report(measure(archive, reads, bundle_, used, progress_line(json)), render, json)


@bench.command("model")
def bench_model(
    bundle_: Annotated[
        str,
        typer.Option(
            "--bundle",
            envvar="NIGHTDRAFT_BENCH_MODEL_BUNDLE",
            allow_from_autoenv=False,
            help="A bundle; else random weights.",
        ),
    ] = "",
    size: Annotated[
        str,
        typer.Option(
            help="tiny, mid or full; else as suits the device.",
            autocompletion=complete(("tiny", "mid", "full")),
        ),
    ] = "",
    device: Annotated[str | None, setting_option("device")] = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, float16 or bfloat16.",
            autocompletion=complete(("float32", "float16", "bfloat16")),
        ),
    ] = "",
    threads: Annotated[int, typer.Option(min=0, help="Threads of the CPU; 0: all cores.")] = 0,
    studies: Annotated[int, typer.Option(min=0, help="Studies for the engine; 0: enough.")] = 0,
    slots: Annotated[
        list[int] | None, typer.Option(min=1, help="Slots; each number is measured.")
    ] = None,
    batches: Annotated[
        list[int] | None, typer.Option(min=1, help="Batch sizes of `generate`.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs, of which the median counts.")] = 1,
    quick: Annotated[bool, typer.Option(help="A few short studies: to see that it runs.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Measure weights of eight bits, too.")
    ] = False,
    json: JsonFile = None,
    plot: Annotated[Path | None, typer.Option(help="File for the picture, PNG.")] = None,
) -> None:
    """Measure studies a second: the engine, `generate` one by one and in batches, the bound."""
    from model.bench.__main__ import BenchOptions, run, write
    from nightdraft.bench.model import render

    request = BenchOptions(
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
    measurements = run(request, progress_line(json))
    write(measurements, None, plot)
    _report(measurements, render, json)


def _report(
    measurements: dict[str, Any],
    render: Callable[[dict[str, Any]], RenderableType],
    json: Path | None,
) -> None:
    if write_figures(measurements, json):
        console().print(render(measurements))
