"""`nightdraft corpus check`. Knows options and tables; training.corpus does the work."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.options import check_file, console
from records.errors import CorpusError

if TYPE_CHECKING:
    from rich.table import Table

    from training.corpus.check import CorpusSummary, Pace, Told

corpus = typer.Typer(help="Films and reports to learn from.", no_args_is_help=True)


class Target(StrEnum):
    """What of a report is to be written."""

    FINDINGS = "findings"
    REPORT = "report"


@corpus.callback()
def corpora() -> None:
    """Films and reports to learn from."""


@corpus.command("check")
def corpus_check(
    name: Annotated[
        str, typer.Argument(help="iu_xray, mimic_cxr, signed or phantoms; or NAME:PATH.")
    ],
    path: Annotated[
        Path | None, typer.Argument(help="Its folder; of phantoms, a site; signed has none.")
    ] = None,
    target: Annotated[
        Target | None, typer.Option(help="What is to be written; the corpus's own, if left out.")
    ] = None,
    split: Annotated[
        str,
        typer.Option(help="paper, r2gen, official or patients; the corpus's own, if left out."),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of a split at random.")] = 0,
    validate: Annotated[
        float, typer.Option(min=0.0, help="Share of the training patients to set apart.")
    ] = 0.0,
    words_only: Annotated[
        bool, typer.Option("--words-only", help="Count studies whose films are not there, too.")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(help="PNG for a page of examples; corpus-NAME.png, if left out."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Studies read, 0: all (phantoms: 200 of each split).")
    ] = 0,
    pace: Annotated[bool, typer.Option("--pace", help="Measure examples a second.")] = False,
    json_: Annotated[Path | None, typer.Option("--json", help="File for the counts.")] = None,
) -> None:
    """Count what a corpus holds, show what is left out and why, draw a page of examples."""
    from model.manifest import Preprocessing
    from training.corpus import check
    from training.corpus.example import CorpusOptions
    from training.corpus.registry import ENDLESS_CORPORA, open_corpus

    reading = CorpusOptions(target.value if target else "", split, seed, validate)
    spec = _spec(name, path)
    opened = open_corpus(spec, reading, needs_images=not words_only)
    page = page or Path(f"corpus-{opened.name}.png")
    for what, file in (("page", page), ("counts", json_)):
        if file is not None:
            check_file(what, file)
    with _bar(opened.name) as told:
        counted = check.check(
            opened, limit=limit, endless=opened.name in ENDLESS_CORPORA, page=page, told=told
        )
    timed = None
    if pace:
        how = Preprocessing(224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        timed = check.pace(open_corpus(spec, reading, needs_images=not words_only), how)
    if json_ is not None:
        said = {"reading": asdict(reading), **counted.as_json()}
        if timed is not None:
            said["pace"] = asdict(timed)
        json_.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    console().print(_shown(counted, timed))


def _spec(name: str, path: Path | None) -> str:
    """The corpus as other commands take it, NAME:PATH."""
    if path is None:
        return name
    if ":" in name:
        raise CorpusError(f"{name!r} has a path already; leave out {str(path)!r}")
    return f"{name}:{path}"


def _shown(counted: CorpusSummary, timed: Pace | None) -> Table:
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _facts(counted, timed):
        facts.add_row(Text(name, style="dim"), Text(value))
    return facts


def _facts(counted: CorpusSummary, timed: Pace | None) -> Iterator[tuple[str, str]]:
    yield "studies read", f"{counted.studies:,}"
    yield "examples", _by(counted.examples)
    yield "patients", _by(counted.patients)
    yield "patients in two splits", f"{counted.in_two_splits:,}"
    yield "films of an example", _by({f"{n}": counted.views[n] for n in sorted(counted.views)})
    yield "films by position", _by(counted.positions)
    yield "words to write", ", ".join(f"{name} {n:g}" for name, n in counted.words.items())
    yield "without indication", f"{counted.without_indication:,}"
    yield "with a prior report", f"{counted.with_prior_report:,}"
    for form, splits in counted.doubles.items():
        for split, doubles in splits.items():
            if counted.examples[split]:
                yield (
                    f"{split} texts, {form}",
                    f"{doubles['elsewhere']:,} stand in another split too, "
                    f"{doubles['within']:,} again in this one",
                )
    for reason, (count, key) in sorted(counted.left_out.items()):
        yield "left out", f"{count:,} {reason}, such as {key}"
    for remark, count in counted.remarks.items():
        yield remark, f"{count:,}"
    if counted.page:
        unread = f", {counted.page_films_unreadable} of {counted.page_films} films unreadable"
        yield "page", counted.page + (unread if counted.page_films_unreadable else "")
    if timed is not None:
        yield (
            "pace",
            f"{timed.examples_per_s:,.0f} examples a second without films, "
            f"{timed.with_films_per_s:,.1f} with films at 224 ({timed.films_per_s:,.1f} films); "
            f"first after {timed.first_s:.1f} s",
        )


def _by(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


@contextmanager
def _bar(name: str) -> Iterator[Told]:
    """How many studies are read so far and at which pace; on a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}: {task.completed:,.0f} studies"),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as progress:
        bar = progress.add_task(f"reading {name}", total=None, pace="")

        def told(more: int) -> None:
            progress.update(bar, advance=more)
            speed = progress.tasks[bar].speed
            if speed:
                progress.update(bar, pace=f"{speed:,.0f}/s")

        yield told
