"""The rows of the worklist: what is shown of a study, derived at that moment."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Uuid,
    and_,
    any_,
    case,
    exists,
    func,
    literal,
    select,
)
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.draft_tables import Draft, DraftRequest, LiveLease
from records.database.review_tables import Review
from records.database.tables import Hold, Instance, Study
from records.states import Priority, ReviewDecision, VisibleState, Withheld
from records.workflow.showing import why_withheld

# A subquery for each row: an EXISTS might be planned to read the holds of all studies.
_HELD: ColumnElement[bool] = (
    select(Hold.id)
    .where(Hold.study_id == Study.id, Hold.decision.is_(None))
    .limit(1)
    .scalar_subquery()
    .is_not(None)
)

_LISTED: ColumnElement[str] = func.listed_state(Study.state, DraftRequest.state, _HELD)
"""The state in which a study is listed: its visible state, less what a lease says."""

AT_WORK = {
    VisibleState.WAITING.value: VisibleState.PREPARING.value,
    VisibleState.PREPARED.value: VisibleState.DRAFTING.value,
}
"""What a live lease makes of a listed state."""

_LEASED: ColumnElement[bool] = exists().where(LiveLease.request_id == Study.request_id)

VISIBLE: ColumnElement[str] = case(
    (_LEASED, case(AT_WORK, value=_LISTED, else_=_LISTED)),
    else_=_LISTED,
)


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """One row of the worklist.

    Attributes:
        image_count: images that the study may be drafted from.
        instance_count: all objects that came under its UID.
        has_newest_draft: whether the draft is that of the study's present revision. A draft that
            was made before of the same inputs is, too.
        withheld: why the draft is shown to nobody; None where there is none, or it is shown.
        signed_by: who signed a report of the draft; "" while nobody has.
        report: the report's impression, else its findings; "" while nobody has signed.
        is_hidden: who asks must not see the draft yet, so findings and impression are left out.
    """

    id: uuid.UUID
    study_instance_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    accession_number: str
    study_date: str
    study_description: str
    calling_ae: str
    priority: Priority
    revision: int
    state: VisibleState
    reason: str
    detail: str
    hold_reasons: tuple[str, ...]
    first_received_at: dt.datetime
    last_received_at: dt.datetime
    changed_at: dt.datetime | None
    draft_id: uuid.UUID | None
    model_name: str
    impression: str
    findings: str
    image_count: int
    instance_count: int
    has_newest_draft: bool
    withheld: Withheld | None = None
    signed_by: str = ""
    report: str = ""
    is_hidden: bool = False


def draft_caveat(row: WorklistRow, revision: int) -> str:
    """Why a draft of this revision may not show all that is known now; "" where it does."""
    if revision != row.revision and not row.has_newest_draft:
        return (
            f"This draft is of revision {revision}. The study has changed since (revision "
            f"{row.revision}, {row.state.lower()}): it does not show everything that is known."
        )
    if row.state is VisibleState.HELD:
        return (
            "Something came in after this draft, and a person must decide what it means. Until "
            "then this draft may be of the wrong images."
        )
    return ""


def read_rows(session: Session, ids: Sequence[uuid.UUID]) -> list[WorklistRow]:
    """The rows of these studies, in this order."""
    if not ids:
        return []
    lines = session.execute(_rows().where(Study.id == any_(literal(ids, ARRAY(Uuid))))).all()
    rows = {line.Study.id: _row(line) for line in lines}
    return [rows[id_] for id_ in ids if id_ in rows]


def read_row(session: Session, study_id: uuid.UUID) -> WorklistRow:
    """The row of one study."""
    note_look(study_ids=[study_id])
    return _row(session.execute(_rows().where(Study.id == study_id)).one())


WITHHELD = why_withheld(Draft.bundle_digest, Study.site_id)
"""Why the draft of a row is shown to nobody; NULL where it is shown."""


def _rows() -> Select[Any]:
    image_count = (
        select(func.count())
        .where(Instance.study_id == Study.id, Instance.state == "KEPT")
        .scalar_subquery()
    )
    instance_count = select(func.count()).where(Instance.study_id == Study.id).scalar_subquery()
    held = (
        select(func.array_agg(Hold.reason))
        .where(Hold.study_id == Study.id, Hold.decision.is_(None))
        .scalar_subquery()
    )
    claimed_at = (
        select(LiveLease.claimed_at).where(LiveLease.request_id == Study.request_id)
    ).scalar_subquery()
    return (
        select(
            Study,
            VISIBLE.label("visible"),
            DraftRequest,
            Draft.id.label("draft_id"),
            Draft.model_name,
            WITHHELD.label("withheld"),
            # What is withheld leaves the database in no list.
            case((WITHHELD.is_(None), Draft.impression), else_="").label("impression"),
            case((WITHHELD.is_(None), Draft.findings), else_="").label("findings"),
            Review.reader.label("signed_by"),
            func.coalesce(func.nullif(Review.impression, ""), Review.findings).label("report"),
            image_count.label("image_count"),
            instance_count.label("instance_count"),
            held.label("held"),
            claimed_at.label("claimed_at"),
        )
        .select_from(Study)
        .outerjoin(DraftRequest, DraftRequest.id == Study.request_id)
        .outerjoin(
            Draft,
            and_(
                Draft.study_id == Study.id,
                Draft.superseded_at.is_(None),
                Draft.purpose == "PRIMARY",
            ),
        )
        .outerjoin(
            Review, and_(Review.draft_id == Draft.id, Review.decision == ReviewDecision.SIGNED)
        )
    )


def _row(line: Any) -> WorklistRow:
    study: Study = line.Study
    request: DraftRequest | None = line.DraftRequest
    return WorklistRow(
        id=study.id,
        study_instance_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        patient_name=study.patient_name,
        patient_birth_date=study.patient_birth_date,
        patient_sex=study.patient_sex,
        accession_number=study.accession_number,
        study_date=study.study_date,
        study_description=study.study_description,
        calling_ae=study.calling_ae,
        priority=Priority(study.priority),
        revision=study.revision,
        state=VisibleState(line.visible),
        reason=request.reason if request else "",
        detail=request.detail if request else "",
        hold_reasons=tuple(line.held or ()),
        first_received_at=study.first_received_at,
        last_received_at=study.last_received_at,
        changed_at=line.claimed_at or (request.changed_at if request else None),
        draft_id=line.draft_id,
        model_name=line.model_name or "",
        impression=line.impression or "",
        findings=line.findings or "",
        withheld=Withheld(line.withheld) if line.draft_id and line.withheld else None,
        signed_by=line.signed_by or "",
        report=line.report or "",
        image_count=line.image_count,
        instance_count=line.instance_count,
        has_newest_draft=bool(
            request is not None
            and line.draft_id is not None
            and (request.draft_id, request.revision) == (line.draft_id, study.revision)
        ),
    )


def list_by_uids(session: Session, study_instance_uids: Sequence[str]) -> list[WorklistRow]:
    """The rows of those of these studies that have arrived, in the order of arrival."""
    rows = [
        _row(line)
        for line in session.execute(
            _rows()
            .where(Study.study_instance_uid.in_(study_instance_uids))
            .order_by(Study.first_received_at, Study.id)
        ).all()
    ]
    note_look(study_ids=[row.id for row in rows])
    return rows
