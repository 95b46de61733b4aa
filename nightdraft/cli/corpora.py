"""`nightdraft corpus check`: its options and its table; training.corpus does the work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.corpus_imports import imports
from nightdraft.cli.json_output import STANDARD_OUTPUT, JsonFile, write_figures
from nightdraft.cli.options import check_file, complete, console
from nightdraft.cli.progress import show_counts
from nightdraft.cli.renamed_options import RenamingCommand
from records.errors import CorpusError

if TYPE_CHECKING:
    from rich.table import Table

    from training.corpus.check import CorpusSummary, Pace

SHOWN = 50
"""Wrong rows, and unreadable images, that the table shows."""

corpus = typer.Typer(
    help="Check films and reports to learn from, or import them.", no_args_is_help=True
)
corpus.add_typer(imports, name="import")


class Target(StrEnum):
    """What of a report is to be written."""

    FINDINGS = "findings"
    REPORT = "report"


@corpus.callback()
def corpora() -> None:
    """Check films and reports to learn from, or import them."""


@corpus.command("check", cls=RenamingCommand)
def corpus_check(
    name: Annotated[
        str,
        typer.Argument(
            help="folder, iu_xray, mimic_cxr, signed or phantoms; or NAME:PATH.",
            autocompletion=complete(("folder", "iu_xray", "mimic_cxr", "signed", "phantoms")),
        ),
    ],
    path: Annotated[
        Path | None, typer.Argument(help="Its folder; of phantoms, a site; signed has none.")
    ] = None,
    target: Annotated[
        Target | None, typer.Option(help="What is to be written; the corpus's own, if left out.")
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="given, paper, r2gen, official or patients; the corpus's own, if left out."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of a split at random.")] = 0,
    validation_share: Annotated[
        float, typer.Option(min=0.0, help="Share of the training patients to set apart.")
    ] = 0.0,
    words_only: Annotated[
        bool, typer.Option("--words-only", help="Count studies whose films are not there, too.")
    ] = False,
    images: Annotated[
        bool | None,
        typer.Option(
            "--images/--no-images",
            help="Read every image, to find those that cannot be read; of folder, the default.",
            show_default=False,
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="PNG for a page of examples; corpus-NAME.png, if left out."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Studies read, 0: all (phantoms: 200 of each split).")
    ] = 0,
    pace: Annotated[bool, typer.Option("--pace", help="Measure examples a second.")] = False,
    json: JsonFile = None,
) -> None:
    """Count what a corpus holds, show what is left out and why, draw a page of examples.

    The exit status is 1 where a row is wrong or an image cannot be read.
    """
    from model.manifest import Preprocessing
    from training.corpus.check import measure_pace, summarise_corpus
    from training.corpus.example import CorpusOptions
    from training.corpus.registry import ENDLESS_CORPORA, open_corpus

    options = CorpusOptions(target.value if target else "", split, seed, validation_share)
    spec = _spec(name, path)
    opened = open_corpus(spec, options, needs_images=not words_only)
    page = page or Path(f"corpus-{opened.name}.png")
    for purpose, file in (("page", page), ("counts", json)):
        if file is not None and file != STANDARD_OUTPUT:
            check_file(purpose, file)
    with show_counts() as progress:
        summary = summarise_corpus(
            opened,
            limit=limit,
            endless=opened.name in ENDLESS_CORPORA,
            page=page,
            read_images=(opened.name == "folder" and not words_only) if images is None else images,
            progress=progress,
        )
    measured = None
    if pace:
        preprocessing = Preprocessing(224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        fresh = open_corpus(spec, options, needs_images=not words_only)
        measured = measure_pace(fresh, preprocessing)
    counts = {"reading": asdict(options), **summary.as_json()}
    if measured is not None:
        counts["pace"] = asdict(measured)
    if write_figures(counts, json):
        console().print(_table(summary, measured))
    if not summary.is_faultless:
        raise typer.Exit(1)


def _spec(name: str, path: Path | None) -> str:
    """Return the corpus as other commands take it, NAME:PATH."""
    if path is None:
        return name
    if ":" in name:
        raise CorpusError(f"{name!r} has a path already; leave out {str(path)!r}")
    return f"{name}:{path}"


def _table(summary: CorpusSummary, measured: Pace | None) -> Table:
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _facts(summary, measured):
        facts.add_row(Text(name, style="dim"), Text(value))
    return facts


def _facts(summary: CorpusSummary, measured: Pace | None) -> Iterator[tuple[str, str]]:
    yield "studies read", f"{summary.studies:,}"
    yield "examples", _join_counts(summary.examples)
    yield "patients", _join_counts(summary.patients)
    yield "patients in two splits", f"{summary.in_two_splits:,}"
    yield (
        "films of an example",
        _join_counts({f"{n}": summary.views[n] for n in sorted(summary.views)}),
    )
    yield "films by position", _join_counts(summary.positions)
    yield "words to write", ", ".join(f"{name} {n:g}" for name, n in summary.words.items())
    yield "without indication", f"{summary.without_indication:,}"
    yield "with a prior report", f"{summary.with_prior_report:,}"
    for form, splits in summary.doubles.items():
        for split, duplicates in splits.items():
            if summary.examples[split]:
                yield (
                    f"{split} texts, {form}",
                    f"{duplicates['elsewhere']:,} stand in another split too, "
                    f"{duplicates['within']:,} again in this one",
                )
    for reason, (count, key) in sorted(summary.left_out.items()):
        yield "left out", f"{count:,} {reason}, such as {key}"
    for remark, count in summary.remarks.items():
        yield remark, f"{count:,}"
    for fault in summary.faults[:SHOWN]:
        yield "wrong", f"line {fault.line}{fault.study and f' ({fault.study})'}: {fault.reason}"
    if summary.images_read:
        yield "images read", f"{summary.images_read:,}"
    for key, reason in summary.images_unreadable[:SHOWN]:
        yield "unreadable", f"{key}: {reason}"
    hidden = max(0, len(summary.faults) - SHOWN) + max(0, len(summary.images_unreadable) - SHOWN)
    if hidden:
        yield "more", f"{hidden:,}, which --json lists"
    if summary.page:
        unreadable = f", {summary.page_films_unreadable} of {summary.page_films} films unreadable"
        yield "page", summary.page + (unreadable if summary.page_films_unreadable else "")
    if measured is not None:
        yield (
            "pace",
            f"{measured.examples_per_s:,.0f} examples a second without films, "
            f"{measured.with_films_per_s:,.1f} with films at 224 "
            f"({measured.films_per_s:,.1f} films); first after {measured.first_s:.1f} s",
        )


def _join_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"
