"""`nightdraft comparisons ...`: drafts of one study by two bundles, compared."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import console
from records.errors import NotAllowed

if TYPE_CHECKING:
    from records.workflow.draft_comparisons import ComparisonOf

comparisons = typer.Typer(
    help="Compare drafts of the same studies by two bundles.", no_args_is_help=True
)

First = Annotated[str, typer.Option(help="Digest of the bundle of the earlier drafts.")]
Second = Annotated[str, typer.Option(help="Digest of the bundle of the later drafts.")]
Campaign = Annotated[
    str, typer.Option(help="Instead: id of the campaign that asked for the later drafts.")
]


@comparisons.callback()
def about() -> None:
    """Compare drafts of the same studies by two bundles."""


@comparisons.command("pairs")
def list_pairs(json: AsJson = False) -> None:
    """List the pairs of bundles that drafted the same studies."""
    from rich.table import Table

    from api.comparison_schemas import BundlePairs
    from records.database.session import snapshot
    from records.workflow import draft_comparisons

    with snapshot() as session:
        pairs = draft_comparisons.list_pairs(session)
    if json:
        print_json(BundlePairs.from_pairs(pairs))
        return
    if not pairs:
        print("no two drafts were compared")
        return
    table = Table("first bundle", "second bundle", "studies", box=None, pad_edge=False)
    for first, second, number in pairs:
        table.add_row(first, second, f"{number:,}")
    console().print(table)


@comparisons.command("table")
def show_table(
    first: First = "", second: Second = "", campaign: Campaign = "", json: AsJson = False
) -> None:
    """Show for each observation in how many studies both drafts, one or neither says it."""
    from rich.table import Table

    from api.comparison_schemas import ComparisonTable
    from records.database.session import snapshot
    from records.states import Agreement
    from records.workflow import draft_comparisons

    of = _read_options(first, second, campaign)
    with snapshot() as session:
        kept = draft_comparisons.read_table(session, of)
    if json:
        print_json(ComparisonTable.from_table(kept))
        return
    table = Table("observation", "both", "only the first", "only the second", "neither", box=None)
    for observation, row in sorted(kept.numbers.items()):
        table.add_row(observation, *(f"{row[agreement]:,}" for agreement in Agreement))
    console().print(table)
    print(f"{kept.compared:,} studies")


@comparisons.command("list")
def list_comparisons(
    first: First = "",
    second: Second = "",
    campaign: Campaign = "",
    after: Annotated[
        str,
        typer.Option(help="Mark at which the page begins; the last line of a page has the next."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Pairs of drafts at most.")] = 50,
    json: AsJson = False,
) -> None:
    """List pairs of drafts, those first that differ in most observations."""
    from rich.table import Table
    from rich.text import Text

    from api.comparison_schemas import DraftComparisonEntries
    from model.dicom.characters import remove_controls
    from records.database.session import snapshot
    from records.workflow import draft_comparisons

    of = _read_options(first, second, campaign)
    with snapshot() as session:
        page = draft_comparisons.read_page(session, of, after=after or None, limit=limit)
    if json:
        print_json(DraftComparisonEntries.from_page(page))
        return
    if not page.entries:
        print("no comparisons")
        return
    table = Table(
        "observations that differ", "changed", "patient", "accession", "id",
        box=None, pad_edge=False,
    )  # fmt: skip
    for entry in page.entries:
        table.add_row(
            str(entry.comparison.differing),
            f"{entry.comparison.changed:.0%}",
            Text(remove_controls(entry.study.patient_id)),
            Text(remove_controls(entry.study.accession_number)),
            str(entry.comparison.id),
        )
    console().print(table)
    if page.next:
        whose = f"--campaign {campaign}" if campaign else f"--first {first} --second {second}"
        print(f"more: nightdraft comparisons list {whose} --after {page.next} --limit {limit}")


@comparisons.command("show")
def show_comparison(
    comparison: Annotated[int, typer.Argument(help="Id of the pair, as `list` writes it.")],
    json: AsJson = False,
) -> None:
    """Show one pair of drafts with both texts."""
    from api.comparison_schemas import DraftComparisonDetail
    from model.dicom.characters import remove_controls
    from records.database.session import snapshot
    from records.workflow import draft_comparisons

    with snapshot() as session:
        record = draft_comparisons.read_record(session, comparison)
        detail = DraftComparisonDetail.from_record(record)
    if json:
        print_json(detail)
        return
    for title, bundle, text in (
        ("First draft", detail.first_bundle, detail.first_text),
        ("Second draft", detail.second_bundle, detail.second_text),
    ):
        print(f"{title}, bundle {bundle}")
        print("\n".join(remove_controls(line) for line in text.splitlines()) + "\n")
    for observation, (one, other) in detail.observations.items():
        if one != other:
            print(f"{observation}: {one}, {other}")


def _read_options(first: str, second: str, campaign: str) -> ComparisonOf:
    from records.workflow.draft_comparisons import ComparisonOf

    if bool(campaign) == bool(first and second) or bool(first) != bool(second):
        raise NotAllowed("name two bundles with --first and --second, or a campaign: --campaign ID")
    try:
        return ComparisonOf(first, second, uuid.UUID(campaign) if campaign else None)
    except ValueError:
        raise NotAllowed(f"{campaign!r} is not the id of a campaign") from None
