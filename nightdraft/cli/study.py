"""What `study` and `send` show on a terminal. Knows how to show; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from nightdraft.store_scu import Answer, Film, Sending, find_films, send_films
from records.errors import NotFound
from records.states import HOLD_SENTENCES, WARNING, HoldReason
from records.workflow import drafts, events, holds, studies, worklist


def tell_study(session: Session, uid: str) -> RenderableType:
    """One study: who, state, open questions, timeline, and the draft under the warning.

    Raises:
        NotFound: no study has that UID or id.
    """
    study = studies.get_by_uid(session, uid)
    row = worklist.read_row(session, study.id)
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("study", row.study_instance_uid),
        ("id", str(row.id)),
        ("patient", f"{row.patient_name}  {row.patient_id}  {row.patient_birth_date}"),
        ("accession", row.accession_number),
        ("description", f"{row.study_date} {row.study_description}"),
        ("from", f"{row.calling_ae}, priority {row.priority.name}"),
        ("films", f"{row.image_count} of {row.instance_count} objects, revision {row.revision}"),
        ("state", row.state.value),
        ("reason", f"{row.reason} {row.detail}".strip()),
    ):
        if value.strip():
            facts.add_row(Text(name, style="dim"), Text(value))
    shown: list[RenderableType] = [facts]
    for hold in holds.list_by_study(session, study.id):
        if hold.decision is None:
            shown.append(Text(f"\nHELD: {HOLD_SENTENCES[HoldReason(hold.reason)]}", style="yellow"))
            shown.append(
                Text(f"nightdraft decide {row.study_instance_uid} proceed|cancel --by NAME")
            )
    timeline = Table(box=None, show_header=False, pad_edge=False)
    for event in events.timeline(session, study.id):
        at = event.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        timeline.add_row(Text(at, style="dim"), event.kind, Text(event.detail))
    shown += [Text(), timeline]
    current = (
        draft for draft in drafts.list_by_study(session, study.id) if not draft.superseded_at
    )
    if draft := next(current, None):
        # The stored text begins with the warning itself; it is shown apart, and in red.
        shown += [Text(), Text(WARNING, style="bold red")]
        if doubt := worklist.draft_caveat(row, draft.revision):
            shown.append(Text(doubt, style="yellow"))
        shown += [
            Text(draft.text.removeprefix(WARNING).strip()),
            Text(
                f"\n{draft.model_name} {draft.model_version}, digest {draft.bundle_digest[:12]}"
                f"{', ' + draft.notice if draft.notice else ''}",
                style="dim",
            ),
        ]
    return Group(*shown)


def look_through(console: Console, folder: Path) -> list[Film | Answer]:
    """What `find_films` finds, with a count on a terminal: a large folder takes minutes.

    Raises:
        NotFound: there is no such folder.
    """
    found: list[Film | Answer] = []
    with console.status(f"looking through {folder}") as status:
        for one in find_films(folder):
            found.append(one)
            if len(found) % 50 == 0:
                status.update(f"looking through {folder}: {len(found)} files")
    return found


def send_with_progress(
    console: Console,
    found: Sequence[Film | Answer],
    *,
    host: str,
    port: int,
    called: str,
    calling: str,
    associations: int,
) -> Sending:
    """Send what `look_through` found, with a bar on a terminal.

    Raises:
        NotFound: nothing of it is DICOM.
        PartError: nobody answers, or the association is refused.
    """
    films = [one for one in found if isinstance(one, Film)]
    strangers = [one for one in found if isinstance(one, Answer)]
    if not films:
        raise NotFound(f"none of the {len(strangers)} files in that folder is DICOM")
    with Progress(
        TextColumn(f"to {host} port {port}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=len(films))
        sending = send_films(
            films,
            host=host,
            port=port,
            called=called,
            calling=calling,
            associations=associations,
            told=lambda _: progress.advance(bar),
        )
    sending.answers += strangers
    return sending
