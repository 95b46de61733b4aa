"""Studies as they arrive: closing quiet ones, releasing them, and what they hold."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.session import interval
from records.database.tables import Instance, Series, Study
from records.errors import NotAllowed, NotFound
from records.states import (
    OWN_OUTPUT,
    CampaignKind,
    CampaignState,
    CampaignStudyState,
    EventKind,
    InstanceState,
    StudyState,
)
from records.telemetry import note_study
from records.workflow import (
    events,
    requests,
    stored_bytes,
)
from records.workflow.site_scope import is_visible, visible_sites

FETCH_PATIENCE_SECONDS = 3600.0
"""So long after its last image a study is drafted as it is, although a campaign fetches the rest.

A PACS that comes back within this time costs no second draft, and no study waits for ever for one
that does not.
"""


def _is_being_fetched() -> ColumnElement[bool]:
    """Whether a running campaign fetches the study, or has fetched a part and will go on."""
    row = CampaignStudy
    in_running = row.campaign_id.in_(
        select(Campaign.id).where(
            Campaign.state == CampaignState.RUNNING,
            or_(Campaign.pacs != "", Campaign.kind == CampaignKind.FOLDER),
        )
    )
    return or_(
        exists().where(
            row.study_instance_uid == Study.study_instance_uid,
            row.study_instance_uid != "",
            row.state == CampaignStudyState.PULLING,
            in_running,
        ),
        exists().where(
            row.study_id == Study.id,
            row.state == CampaignStudyState.WAITING,
            # Images that are nearline come too late to be waited for.
            or_(
                row.not_before.is_(None),
                row.not_before < Study.last_received_at + interval(FETCH_PATIENCE_SECONDS),
            ),
            in_running,
        ),
    )


def close_quiet(session: Session, quiet_seconds: float, limit: int = 200) -> list[uuid.UUID]:
    """Make quiet, released and full studies COMPLETE, each with its draft request.

    Args:
        session: the caller's transaction.
        quiet_seconds: a study is quiet when nothing came for so long. One that a running campaign
            has fetched in part waits for the rest, for `FETCH_PATIENCE_SECONDS` at most.
        limit: studies closed, at most.

    Returns:
        The studies that were closed; call again while there are `limit` of them.
    """
    arrived_count = (
        select(func.count())
        .select_from(Instance)
        .where(
            Instance.study_id == Study.id,
            Instance.state.in_([InstanceState.KEPT, InstanceState.SKIPPED]),
            Instance.reason != OWN_OUTPUT,
        )
        .scalar_subquery()
    )
    ready: ColumnElement[bool] = or_(
        Study.released,
        and_(
            Study.last_received_at < func.clock_timestamp() - interval(quiet_seconds),
            or_(
                Study.last_received_at
                < func.clock_timestamp() - interval(max(quiet_seconds, FETCH_PATIENCE_SECONDS)),
                ~_is_being_fetched(),
            ),
        ),
        and_(Study.expected_instances.is_not(None), arrived_count >= Study.expected_instances),
    )
    # key_share, here and above: rows that point at a study (events, drafts) can be written while
    # it is locked. Without it a worker that ends a request and a sweep that supersedes it wait for
    # each other.
    closed = session.scalars(
        select(Study)
        .where(Study.state == StudyState.RECEIVING, ready)
        .order_by(Study.priority, Study.last_received_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    requests.lock_open(session, [study.id for study in closed])
    for study in closed:
        study.state = StudyState.COMPLETE
        study.completed_at = func.clock_timestamp()
        with session.no_autoflush:  # written with its request, by one UPDATE
            events.append_event(session, study.id, EventKind.COMPLETE, f"revision {study.revision}")
            requests.create_request(session, study)
    session.flush()
    return [study.id for study in closed]


@dataclass(frozen=True, slots=True)
class Arrival:
    """How long a revision of a study took to arrive, from its first object to its completion."""

    study_id: uuid.UUID
    revision: int
    seconds: float


def list_arrivals(session: Session, study_ids: Sequence[uuid.UUID]) -> list[Arrival]:
    """The last arrival of each of these studies; a late one has begun with its first new object."""
    began = (
        select(func.min(Instance.received_at))
        .where(Instance.study_id == Study.id, Instance.revision == Study.revision)
        .scalar_subquery()
    )
    seconds = func.extract(
        "epoch", func.clock_timestamp() - func.coalesce(began, Study.first_received_at)
    )
    rows = session.execute(select(Study.id, Study.revision, seconds).where(Study.id.in_(study_ids)))
    return [Arrival(id_, revision, float(age)) for id_, revision, age in rows]


def release(session: Session, study_instance_uid: str) -> uuid.UUID:
    """End the study's quiet period now; the next sweep closes it.

    A study that is released already, and not complete yet, stays as it is.

    Returns:
        Our own id of the study.

    Raises:
        NotFound: no such study.
        NotAllowed: the study is complete: it has no quiet period to end.
    """
    study = get_by_uid(session, study_instance_uid)
    if study.state != StudyState.RECEIVING:
        raise NotAllowed(
            "this study is complete, so nothing is left to release: its films went on to be drafted"
        )
    if not study.released:
        session.execute(update(Study).where(Study.id == study.id).values(released=True))
        events.append_event(
            session, study.id, EventKind.RELEASED, "its quiet period was ended by a person"
        )
    return study.id


def get_by_uid(session: Session, study_instance_uid: str) -> Study:
    """The study of a Study Instance UID, or of our own id.

    Raises:
        NotFound: no such study.
    """
    condition = Study.study_instance_uid == study_instance_uid
    with suppress(ValueError):  # a DICOM UID is no UUID
        condition = or_(condition, Study.id == uuid.UUID(study_instance_uid))
    study = session.scalar(select(Study).where(condition, is_visible(Study.site_id)))
    if study is None:
        raise NotFound("no study has that UID")
    note_study(study.id)
    note_look(study_ids=[study.id])
    return study


def list_instances(
    session: Session, study_id: uuid.UUID, *states: InstanceState
) -> Sequence[Instance]:
    """The study's instances in the order of arrival: those in `states`, or all.

    Of a study of another site than those that are shown there are none.
    """
    note_look(study_ids=[study_id])
    query = select(Instance).where(Instance.study_id == study_id)
    if visible_sites() is not None:
        query = query.where(exists().where(Study.id == study_id, is_visible(Study.site_id)))
    if states:
        query = query.where(Instance.state.in_(states))
    return session.scalars(query.order_by(Instance.received_at, Instance.id)).all()


def list_modalities(session: Session, study_id: uuid.UUID) -> dict[uuid.UUID, str]:
    """The modality (0008,0060) of each series that the study has objects of, by our id."""
    lines = session.execute(
        select(Series.id, Series.modality)
        .join(Instance, Instance.series_id == Series.id)
        .where(Instance.study_id == study_id)
        .distinct()
    )
    return {line.id: line.modality for line in lines}


def known_blobs(session: Session, keys: Sequence[str]) -> set[str]:
    """The keys that a row of an instance names, and those of files that are about to be removed."""
    named = set(session.scalars(select(Instance.blob).where(Instance.blob.in_(keys))))
    return named | stored_bytes.queued_removals(session, keys)
