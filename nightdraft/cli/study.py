"""Finds and renders one study for `nightdraft study`, and renders holds and refusals."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from api.hold_sides import list_held_orders, list_held_reports
from api.order_wording import ORIGIN_LABELS, PATIENT_LABELS, TEXT_LABELS
from api.related_schemas import HeldOrder, HeldReports, ReportSide
from model.dicom.characters import remove_controls
from model.dicom.names import modality_name, uid_name
from model.prompting.prompt import describe_given, read_prior
from records import hold_decisions
from records.database.operation_tables import Refusal
from records.database.tables import Hold, Instance, Study
from records.errors import NotFound
from records.states import (
    BYTES_REMOVED_SENTENCE,
    DAMAGE_SENTENCES,
    HOLD_SENTENCES,
    WARNING,
    Damage,
    HoldReason,
)
from records.telemetry import trace_id
from records.workflow import drafts, events, film_decisions, holds, studies, worklist, worklist_rows
from records.workflow.film_decisions import patient_sent
from records.workflow.patients import Patient

SEVERAL = 100
"""Studies of one number that are listed, at most."""


def find_one(session: Session, number: str) -> Study | worklist.WorklistPage:
    """The study of a number that a person typed, or a page of the studies of that number.

    Args:
        session: The session to read in.
        number: Study Instance UID, our own id, accession number or patient id.

    Raises:
        NotFound: No study has that number.
    """
    with suppress(NotFound):
        return studies.get_by_uid(session, number)
    page = worklist.read_page(session, search=number, limit=SEVERAL)
    if page.matches is None or not page.matches.exact:
        raise NotFound("no study has that UID, accession number or patient id")
    return session.get_one(Study, page.rows[0].id) if len(page.rows) == 1 else page


def render_study(session: Session, uid: str) -> RenderableType:
    """Render one study: patient, state, open holds, timeline, and the draft under the warning.

    Args:
        session: The session to read in.
        uid: Study Instance UID, or our own id.

    Raises:
        NotFound: No study has that UID or id.
    """
    study = studies.get_by_uid(session, uid)
    row = worklist_rows.read_row(session, study.id)
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("study", row.study_instance_uid),
        ("id", str(row.id)),
        ("trace", trace_id(row.id)),
        ("patient", f"{row.patient_name}  {row.patient_id}  {row.patient_birth_date}"),
        ("accession", row.accession_number),
        ("description", f"{row.study_date} {row.study_description}"),
        ("from", f"{row.calling_ae}, priority {row.priority.name}"),
        ("films", f"{row.image_count} of {row.instance_count} objects, revision {row.revision}"),
        *(("objects", line) for line in _object_lines(session, study.id)),
        ("state", row.state.value),
        ("reason", f"{row.reason} {row.detail}".strip()),
    ):
        if value.strip():
            facts.add_row(Text(name, style="dim"), Text(remove_controls(value)))
    sections: list[RenderableType] = [facts]
    open_holds = [h for h in holds.list_by_study(session, study.id) if h.decision is None]
    for hold in open_holds:
        sections += _render_hold(session, hold, row.study_instance_uid)
    for instance in studies.list_instances(session, study.id):
        if instance.damage is not None:
            sentence = f"{DAMAGE_SENTENCES[Damage(instance.damage)]} {instance.sop_instance_uid}"
            sections.append(Text(sentence, style="bold red"))
        if instance.bytes_removed_at is not None:
            removed = f"{instance.bytes_removed_at.astimezone():%Y-%m-%d %H:%M}"
            sentence = f"{BYTES_REMOVED_SENTENCE} {instance.sop_instance_uid}, removed {removed}"
            sections.append(Text(sentence, style="yellow"))
    timeline = Table(box=None, show_header=False, pad_edge=False)
    lines = events.timeline(session, study.id, limit=events.TIMELINE_LINES + 1)
    if len(lines) > events.TIMELINE_LINES:
        timeline.add_row(Text("..."), "", Text("the study's page and REST show the earlier lines"))
    for event in lines[-events.TIMELINE_LINES :]:
        at = event.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        timeline.add_row(Text(at, style="dim"), event.kind, Text(remove_controls(event.detail)))
    sections += [Text(), timeline]
    current = (
        draft for draft in drafts.list_by_study(session, study.id) if not draft.superseded_at
    )
    if draft := next(current, None):
        # The stored text begins with the warning itself; it is shown apart, and in red.
        sections += [Text(), Text(WARNING, style="bold red")]
        if caveat := worklist_rows.draft_caveat(row, draft.revision):
            sections.append(Text(caveat, style="yellow"))
        given = read_prior(draft.prompt, "indication")
        sent = draft.indication if draft.indication_source != "none" else ""
        note = describe_given(draft.prompt, "indication", sent)
        sections += [
            Text(remove_controls(draft.text.removeprefix(WARNING).strip())),
            Text(
                remove_controls(f"\nIndication: {given or 'none was given to the model'}"),
                style="dim",
            ),
            *([Text(remove_controls(f"As sent: {sent} ({note})"), style="dim")] if note else []),
            Text(
                f"\n{draft.model_name} {draft.model_version}, digest {draft.bundle_digest[:12]}"
                f"{', ' + draft.notice if draft.notice else ''}",
                style="dim",
            ),
        ]
    return Group(*sections)


def _object_lines(session: Session, study_id: uuid.UUID) -> list[str]:
    """A line for each kind of the study's objects: how many, class, encoding and modality."""
    modalities = studies.list_modalities(session, study_id)
    kinds = Counter(
        (instance.sop_class_uid, instance.transfer_syntax_uid, modalities[instance.series_id])
        for instance in studies.list_instances(session, study_id)
    )
    lines = []
    for (sop_class, transfer_syntax, modality), number in kinds.items():
        name = modality_name(modality)
        described = f"{modality} ({name})" if name else modality
        parts = (uid_name(sop_class), uid_name(transfer_syntax), described)
        lines.append(f"{number} x {', '.join(part for part in parts if part)}")
    return lines


def render_refusals(rows: Sequence[Refusal]) -> RenderableType:
    """Render what the listener refused, a line each, with the class by its name."""
    if not rows:
        return Text("nothing was refused")
    table = Table("last", "times", "from", "reason", "SOP class", "", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            f"{row.at.astimezone():%Y-%m-%d %H:%M:%S}",
            str(row.count),
            Text(remove_controls(f"{row.calling_ae} {row.address}".strip())),
            row.reason,
            Text(remove_controls(uid_name(row.sop_class_uid))),
            Text(row.sentence),
        )
    return table


def render_holds(session: Session, open_holds: Sequence[Hold]) -> RenderableType:
    """Render open holds of many studies, each with the study's patient and both sides."""
    sections: list[RenderableType] = []
    for hold in open_holds:
        study = session.get_one(Study, hold.study_id)
        sections.append(
            Text(remove_controls(f"\n{study.patient_name}  {study.patient_id}"), style="bold")
        )
        sections += _render_hold(session, hold, study.study_instance_uid)
    return Group(*sections) if sections else Text("nothing waits for a decision")


def _render_hold(session: Session, hold: Hold, uid: str) -> list[RenderableType]:
    reason = HoldReason(hold.reason)
    lines: list[RenderableType] = [
        Text(f"\nHELD {reason}: {HOLD_SENTENCES[reason]}", style="yellow")
    ]
    for side in film_decisions.list_sides(session, hold.study_id, reason):
        if side.standing is not None:
            lines.append(_render_side(session, "counts", side.standing))
        lines.append(_render_side(session, "came later", side.aside))
    if reason is HoldReason.ORDER_MISMATCH:
        study = session.get_one(Study, hold.study_id)
        lines += [_render_order_side(order) for order in list_held_orders(session, study)]
    if reason is HoldReason.FINALS_DIFFER:
        study = session.get_one(Study, hold.study_id)
        lines += [_render_report_sides(pair) for pair in list_held_reports(session, study)]
    study = session.get_one(Study, hold.study_id)
    labels = hold_decisions.label_decisions(session, study, reason)
    names = {decision: decision.lower().replace("_", "-") for decision in labels}
    lines.append(Text(f"nightdraft decide {uid} {'|'.join(names.values())} --by NAME"))
    lines += [
        Text(f"  {names[decision]}: {label.removeprefix('Cancel: ')}")
        for decision, label in labels.items()
    ]
    return lines


def _render_report_sides(pair: HeldReports) -> Text:
    """Both reports of a hold, word by word: [-only in the first-] and {+only in the second+}."""
    marks = {"both": "{}", "first": "[-{}-]", "second": "{{+{}+}}"}
    words = " ".join(marks[part.kind].format(part.words) for part in pair.words)
    return Text(
        remove_controls(
            f"  [-only in-] the report {_name_side(pair.first)}, "
            f"{{+only in+}} the one {_name_side(pair.second)}:\n    {words}"
        )
    )


def _name_side(side: ReportSide) -> str:
    if side.origin is None:
        return f"signed here by {side.signed_by}"
    return f"that came {side.status.lower()} by {ORIGIN_LABELS[side.origin]} from {side.sender}"


def _render_order_side(order: HeldOrder) -> Text:
    """The order of a hold: each field of its patient beside that of the films."""
    lines = [f"  order {order.order} by {ORIGIN_LABELS[order.origin]} from {order.sender}"]
    for field in order.fields:
        mark = "  DIFFERS" if field.differs else ""
        films, sent = field.study or "(not sent)", field.order or "(not sent)"
        lines.append(f"    {PATIENT_LABELS[field.name]}: films {films}, order {sent}{mark}")
    lines += [f"    {TEXT_LABELS[text.source]}: {text.text}" for text in order.texts]
    return Text(remove_controls("\n".join(lines)))


def _render_side(session: Session, title: str, film: Instance) -> Text:
    study = session.get_one(Study, film.study_id)
    patient = patient_sent(film.sent) if film.sent else Patient.of_study(study)
    at = film.received_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return Text(
        remove_controls(
            f"  {title}: {patient.name}  {patient.patient_id}  {patient.birth_date}, came {at} "
            f"from {film.calling_ae}, study {study.study_instance_uid}, "
            f"film {film.sop_instance_uid}"
        )
    )
