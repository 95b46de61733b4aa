"""`nightdraft list`: the worklist on a terminal, a page at a time."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import app, complete, console, read_time
from records.errors import NotAllowed
from records.states import VisibleState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from records.workflow.worklist import WorklistRow


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
        str, typer.Option(help="Go on where a page ended, which its last line says.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Studies at most.")] = 50,
    json: AsJson = False,
) -> None:
    """List studies with their states, the newest arrival first."""
    from records.database.session import unit_of_work
    from records.workflow import worklist

    name = state.upper()
    if name and name not in VisibleState.__members__:
        raise NotAllowed(f"{state!r} is no state: say one of {', '.join(VisibleState)}")
    with unit_of_work() as session:
        page = worklist.read_page(
            session,
            state=VisibleState[name] if name else None,
            since=read_time(since) if since else None,
            after=after or None,
            limit=limit,
            search=words,
        )
    if json:
        from api.schemas import StudyPage

        print_json(StudyPage.from_page(page))
        return
    console().print(render_rows(page.rows))
    if page.matches is not None and page.matches.capped:
        print("more studies match than are searched: write more of the number or name")
    if page.next:
        given = {"state": name, "since": since, "words": words, "after": page.next}
        options = [f"--{option} {shlex.quote(value)}" for option, value in given.items() if value]
        print(f"more: nightdraft list {' '.join(options)} --limit {limit}")


def render_rows(rows: Sequence[WorklistRow]) -> RenderableType:
    """Render rows of the worklist, one line each; no draft is shown."""
    from rich.table import Table
    from rich.text import Text

    from model.dicom.characters import remove_controls

    if not rows:
        return Text("no studies")
    headings = "arrived", "state", "priority", "accession", "patient", "study", "from", "reason"
    table = Table(*headings, "study UID", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        texts = (
            row.first_received_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            row.state.value,
            row.priority.name,
            row.accession_number,
            f"{row.patient_name}  {row.patient_id}",
            f"{row.study_date} {row.study_description}".strip(),
            row.calling_ae,
            f"{row.reason or ', '.join(row.hold_reasons)}",
            row.study_instance_uid,
        )
        table.add_row(*(Text(remove_controls(text)) for text in texts))
    return table
