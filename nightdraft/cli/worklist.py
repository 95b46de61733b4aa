"""`nightdraft list`: the worklist on a terminal, a page at a time."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import PLAIN_WIDTH, app, complete, console, read_time
from nightdraft.cli.site_option import OfSite, of_site
from records.errors import NotAllowed
from records.states import VisibleState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from records.workflow.worklist_rows import WorklistRow


@app.command("list")
def list_studies(
    state: Annotated[
        str,
        typer.Option(
            help="Only studies in this state, as FAILED.", autocompletion=complete(VisibleState)
        ),
    ] = "",
    since: Annotated[
        str, typer.Option(help="Only studies that arrived since then, as 2026-11-24T18:00.")
    ] = "",
    words: Annotated[
        str, typer.Option(help="Only studies with this number, name or beginning of one.")
    ] = "",
    after: Annotated[
        str,
        typer.Option(help="Mark at which the page begins; the last line of a page has the next."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Studies at most.")] = 50,
    site: OfSite = "",
    json: AsJson = False,
) -> None:
    """List studies with their states: those of the last hours by priority, then all others."""
    from records.database.session import snapshot
    from records.workflow import worklist

    name = state.upper()
    if name and name not in VisibleState.__members__:
        raise NotAllowed(f"{state!r} is no state: say one of {', '.join(VisibleState)}")
    with snapshot() as session, of_site(session, site):
        page = worklist.read_page(
            session,
            state=VisibleState[name] if name else None,
            since=read_time(since) if since else None,
            after=after or None,
            limit=limit,
            search=words,
        )
    if json:
        from api.study_schemas import StudyPage

        print_json(StudyPage.from_page(page))
        return
    print_rows(page.rows)
    if page.matches is not None and page.matches.capped:
        print("more studies match than are searched: write more of the number or name")
    if page.next:
        given = {
            "state": name,
            "since": since,
            "words": words,
            "site": site,
            "after": page.next,
        }
        options = [f"--{option} {shlex.quote(value)}" for option, value in given.items() if value]
        print(f"more: nightdraft list {' '.join(options)} --limit {limit}")


def print_rows(rows: Sequence[WorklistRow], *, whole: bool = False) -> None:
    """Print rows of the worklist, a line each; no draft is shown.

    Args:
        rows: The rows.
        whole: Print all columns, even where a terminal breaks the lines.
    """
    screen = console(width=PLAIN_WIDTH) if whole else console()
    screen.print(render_rows(rows, screen.width))


def render_rows(rows: Sequence[WorklistRow], width: int) -> RenderableType:
    """Render rows of the worklist, a line each, with as many columns as fit.

    Args:
        rows: The rows.
        width: Characters of a line.
    """
    from rich.table import Table
    from rich.text import Text

    from model.dicom.characters import remove_controls

    if not rows:
        return Text("no studies")
    gap = 2
    ends = accumulate(column.width + gap for column in _COLUMNS)
    columns = [column for column, end in zip(_COLUMNS, ends, strict=True) if end - gap <= width]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.heading, no_wrap=True, max_width=column.width)
    for row in rows:
        table.add_row(*(Text(remove_controls(column.text(row))) for column in columns))
    return table


@dataclass(frozen=True)
class _Column:
    """A column of the worklist. width: in characters; a longer text is cut."""

    heading: str
    width: int
    text: Callable[[WorklistRow], str]


# PS3.5, table 6.2-1: an accession number has 16 characters at most, an AE title 16, and a UID 64.
_COLUMNS = (
    _Column("arrived", 16, lambda row: f"{row.first_received_at.astimezone():%Y-%m-%d %H:%M}"),
    _Column("state", max(map(len, VisibleState)), lambda row: row.state.value),
    _Column("accession", 16, lambda row: row.accession_number),
    _Column("patient", 30, lambda row: f"{row.patient_name}  {row.patient_id}"),
    _Column("priority", 8, lambda row: row.priority.name),
    _Column("reason", 20, lambda row: row.reason or ", ".join(row.hold_reasons)),
    _Column("study", 24, lambda row: f"{row.study_date} {row.study_description}".strip()),
    _Column("from", 16, lambda row: row.calling_ae),
    _Column("study UID", 64, lambda row: row.study_instance_uid),
)
"""The most important ones come first."""
