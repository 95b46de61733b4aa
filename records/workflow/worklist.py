"""The worklist that a person sees: the visible state of studies, counts, and pages of rows.

Only this module derives a VisibleState from study, request, lease and holds. It changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.orm import Session

from records.database.session import interval
from records.database.tables import Draft, DraftRequest, Hold, Instance, LiveLease, Study
from records.errors import NotAllowed
from records.states import Priority, RequestState, StudyState, VisibleState

_HELD: ColumnElement[bool] = exists().where(Hold.study_id == Study.id, Hold.decision.is_(None))

_LEASED: ColumnElement[bool] = exists().where(LiveLease.request_id == DraftRequest.id)

VISIBLE: ColumnElement[str] = case(
    # An open hold comes first: it stops all other work on the study.
    (
        and_(
            _HELD,
            or_(
                DraftRequest.id.is_(None),
                DraftRequest.state.in_([RequestState.WAITING, RequestState.PREPARED]),
                Study.state == StudyState.RECEIVING,
            ),
        ),
        VisibleState.HELD,
    ),
    (Study.state == StudyState.RECEIVING, VisibleState.RECEIVING),
    (_HELD, VisibleState.HELD),
    (DraftRequest.id.is_(None), VisibleState.WAITING),
    (
        and_(DraftRequest.state == RequestState.WAITING, _LEASED),
        VisibleState.PREPARING,
    ),
    (
        and_(DraftRequest.state == RequestState.PREPARED, _LEASED),
        VisibleState.DRAFTING,
    ),
    else_=DraftRequest.state,
)

_IMPLIED: dict[VisibleState, ColumnElement[bool]] = {
    VisibleState.RECEIVING: Study.state == StudyState.RECEIVING,
    VisibleState.HELD: _HELD,
    VisibleState.PREPARING: DraftRequest.state == RequestState.WAITING,
    VisibleState.DRAFTING: DraftRequest.state == RequestState.PREPARED,
    **{
        VisibleState(state): DraftRequest.state == state
        for state in RequestState
        if state not in (RequestState.WAITING, RequestState.SUPERSEDED)
    },
}
"""What a visible state implies of the rows. Queries name it too, for no index holds VISIBLE."""


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """One row of the worklist.

    Attributes:
        image_count: images that the study may be drafted from.
        instance_count: all objects that came under its UID.
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


@dataclass(frozen=True, slots=True)
class WorklistPage:
    """Some rows, newest first. next: the mark with which `read_page` gives the following ones."""

    rows: list[WorklistRow]
    next: str | None


def draft_caveat(row: WorklistRow, revision: int) -> str:
    """Why a draft of this revision may not show all that is known now; "" where it does."""
    if revision != row.revision:
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


def count_by_state(session: Session) -> dict[VisibleState, int]:
    """How many studies are in each visible state; states without studies are 0."""
    numbers = session.execute(
        select(VISIBLE.label("visible"), func.count())
        .select_from(Study)
        .outerjoin(DraftRequest, DraftRequest.id == Study.request_id)
        .group_by("visible")
    ).all()
    zeros = dict.fromkeys(VisibleState, 0)
    return zeros | {VisibleState(state): number for state, number in numbers}


def read_page(
    session: Session,
    *,
    state: VisibleState | None = None,
    after: str | None = None,
    limit: int = 50,
    search: str = "",
) -> WorklistPage:
    """A page of the worklist, the newest arrival first.

    Args:
        session: the caller's transaction.
        state: only studies in this state.
        after: the `next` of the page before.
        limit: rows on the page, at most.
        search: part of a patient id, name, accession number or study UID.

    Raises:
        NotAllowed: `after` is not a mark that this function gave.
    """
    query = _rows().order_by(Study.first_received_at.desc(), Study.id.desc()).limit(limit + 1)
    if state is not None:
        query = query.where(literal(state.value) == VISIBLE, _IMPLIED.get(state, true()))
    if search:
        query = query.where(
            or_(
                *(
                    column.icontains(search, autoescape=True)
                    for column in (
                        Study.patient_id,
                        Study.patient_name,
                        Study.accession_number,
                        Study.study_instance_uid,
                    )
                )
            )
        )
    if after is not None:
        at, id_ = _read_mark(after)
        query = query.where(tuple_(Study.first_received_at, Study.id) < tuple_(at, id_))
    rows = [_row(line) for line in session.execute(query).all()]
    more = len(rows) > limit
    rows = rows[:limit]
    mark = _mark(rows[-1].first_received_at, rows[-1].id) if more and rows else None
    return WorklistPage(rows, mark)


def read_row(session: Session, study_id: uuid.UUID) -> WorklistRow:
    """The row of one study."""
    return _row(session.execute(_rows().where(Study.id == study_id)).one())


def oldest_waiting(session: Session) -> dt.datetime | None:
    """The arrival of the oldest study that is neither ended nor held; None where there is none."""
    return session.scalar(
        select(func.min(Study.first_received_at))
        .select_from(Study)
        .outerjoin(DraftRequest, DraftRequest.id == Study.request_id)
        .where(
            or_(
                Study.state == StudyState.RECEIVING,
                DraftRequest.state.in_([RequestState.WAITING, RequestState.PREPARED]),
            ),
            ~_HELD,
        )
    )


def count_drafts(session: Session, seconds: float | None = None) -> int:
    """How many drafts were saved in the last `seconds`, or ever."""
    query = select(func.count()).select_from(Draft)
    if seconds is not None:
        query = query.where(Draft.created_at > func.clock_timestamp() - interval(seconds))
    return session.scalar(query) or 0


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
            Draft.impression,
            Draft.findings,
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
        image_count=line.image_count,
        instance_count=line.instance_count,
    )


def _mark(at: dt.datetime, id_: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(f"{at.isoformat()} {id_}".encode()).decode()


def _read_mark(mark: str) -> tuple[dt.datetime, uuid.UUID]:
    try:
        at, id_ = base64.urlsafe_b64decode(mark.encode()).decode().split(" ")
        return dt.datetime.fromisoformat(at), uuid.UUID(id_)
    except (ValueError, binascii.Error):
        raise NotAllowed("`after` is not the mark of a page") from None


def list_recent_drafts(session: Session, limit: int) -> Sequence[WorklistRow]:
    """The studies drafted last, newest first."""
    return [
        _row(line)
        for line in session.execute(
            _rows().where(Draft.id.is_not(None)).order_by(Draft.created_at.desc()).limit(limit)
        ).all()
    ]


def list_by_uids(session: Session, study_instance_uids: Sequence[str]) -> list[WorklistRow]:
    """The rows of those of these studies that have arrived, in the order of arrival."""
    return [
        _row(line)
        for line in session.execute(
            _rows()
            .where(Study.study_instance_uid.in_(study_instance_uids))
            .order_by(Study.first_received_at, Study.id)
        ).all()
    ]
