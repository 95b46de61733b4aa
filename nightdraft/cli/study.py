"""Renders one study for `nightdraft study`."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from records.states import DAMAGE_SENTENCES, HOLD_SENTENCES, WARNING, Damage, HoldReason
from records.workflow import drafts, events, holds, studies, worklist


def render_study(session: Session, uid: str) -> RenderableType:
    """Render one study: patient, state, open holds, timeline, and the draft under the warning.

    Args:
        session: The session to read in.
        uid: Study Instance UID, or our own id.

    Raises:
        NotFound: No study has that UID or id.
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
    sections: list[RenderableType] = [facts]
    for hold in holds.list_by_study(session, study.id):
        if hold.decision is None:
            sections.append(
                Text(f"\nHELD: {HOLD_SENTENCES[HoldReason(hold.reason)]}", style="yellow")
            )
            sections.append(
                Text(f"nightdraft decide {row.study_instance_uid} proceed|cancel --by NAME")
            )
    for instance in studies.list_instances(session, study.id):
        if instance.damage is not None:
            sentence = f"{DAMAGE_SENTENCES[Damage(instance.damage)]} {instance.sop_instance_uid}"
            sections.append(Text(sentence, style="bold red"))
    timeline = Table(box=None, show_header=False, pad_edge=False)
    lines = events.timeline(session, study.id, limit=events.TIMELINE_LINES + 1)
    if len(lines) > events.TIMELINE_LINES:
        timeline.add_row(Text("..."), "", Text("the study's page and REST show the earlier lines"))
    for event in lines[-events.TIMELINE_LINES :]:
        at = event.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        timeline.add_row(Text(at, style="dim"), event.kind, Text(event.detail))
    sections += [Text(), timeline]
    current = (
        draft for draft in drafts.list_by_study(session, study.id) if not draft.superseded_at
    )
    if draft := next(current, None):
        # The stored text begins with the warning itself; it is shown apart, and in red.
        sections += [Text(), Text(WARNING, style="bold red")]
        if caveat := worklist.draft_caveat(row, draft.revision):
            sections.append(Text(caveat, style="yellow"))
        sections += [
            Text(draft.text.removeprefix(WARNING).strip()),
            Text(
                f"\n{draft.model_name} {draft.model_version}, digest {draft.bundle_digest[:12]}"
                f"{', ' + draft.notice if draft.notice else ''}",
                style="dim",
            ),
        ]
    return Group(*sections)
