"""`nightdraft quality`: what readers made of drafts, as sums with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import app, console
from nightdraft.cli.site_option import OfSite

if TYPE_CHECKING:
    from api.quality.schemas import Estimate, Quality


@app.command()
def quality(
    site: OfSite = "",
    model: Annotated[
        str, typer.Option(help="Only drafts of this model: six characters of its digest or more.")
    ] = "",
    since: Annotated[str, typer.Option(help="The first month, as 2026-01.")] = "",
    until: Annotated[str, typer.Option(help="The last month, as 2026-12.")] = "",
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write all figures to this file.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show what readers made of drafts: accepted, edited, rejected, time, and the drift."""
    from pydantic import ValidationError

    from api.quality.queries import QualityQuery
    from api.quality.routes import read_drift, read_quality, write_csv
    from records.errors import NotAllowed

    try:
        query = QualityQuery(
            site=site or None, model=model or None, since=since or None, until=until or None
        )
    except ValidationError:
        raise NotAllowed("a month is written as 2026-01") from None
    found = read_quality(query)
    lines = [line for line in read_drift().lines if site in ("", line.site)]
    if csv is not None:
        csv.write_text(write_csv(found), encoding="utf-8")
    if json:
        print_json({"quality": found, "drift": lines})
        return
    _print_acceptance(found)
    _print_others(found)
    for line in lines:
        if line.baseline is None:
            print(f"{line.site}, {line.model[:12]}: too few drafts for a baseline yet")
        else:
            print(
                f"{line.site}, {line.model[:12]}: {line.run} days running outside the baseline of "
                f"{line.baseline.share:.0%}"
            )


def _print_acceptance(found: Quality) -> None:
    from rich.table import Table

    acceptance = found.acceptance
    print(f"{acceptance.decided:,} drafts decided on, {found.since:%Y-%m} to {found.until:%Y-%m}")
    if found.waiting:
        print(f"{found.waiting:,} more are not counted yet")
    table = Table("", "share", "95 % interval", "drafts", box=None, pad_edge=False)
    for label, estimate in (
        ("signed unedited", acceptance.unedited),
        ("signed with a small edit", acceptance.small_edit),
        ("rejected", acceptance.rejected),
        ("rejected or other observations", acceptance.differing),
        *(("scored 2b or 3b", each) for each in [found.peer_review.significant] if each.number),
    ):
        table.add_row(label, *_cells(estimate))
    console().print(table)


def _print_others(found: Quality) -> None:
    for edits in found.edits:
        if edits.median.value is not None:
            print(f"{edits.section}: {edits.median.value:.0%} of the characters changed (median)")
    if found.own_texts:
        print(
            f"{found.own_texts:,} reports were begun without the draft; they count in times and "
            "observations alone"
        )
    if found.asked:
        print(f"{found.asked:,} readings drawn to be without a draft were shown it")
    for arm, time in found.times.items():
        seconds = time.median
        if seconds.value is not None:
            print(
                f"{arm.value}: {seconds.value:.0f} s to the signature "
                f"(median of {seconds.number:,}; {seconds.low:.0f} to {seconds.high:.0f} s)"
            )


def _cells(estimate: Estimate) -> tuple[str, str, str]:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "", "", "0"
    few = " (few)" if estimate.few else ""
    return (
        f"{estimate.value:.0%}",
        f"{estimate.low:.0%} to {estimate.high:.0%}{few}",
        f"{estimate.part:,} of {estimate.number:,}",
    )
