"""Studies as they arrive: registering instances, closing quiet studies, releasing them.

The listener calls `register_instance` inside the transaction whose commit lets it answer 0x0000.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.session import interval
from records.database.tables import Instance, Series, Study
from records.errors import NotFound
from records.states import (
    REJECTION_SENTENCES,
    EventKind,
    HoldReason,
    InstanceState,
    Priority,
    StudyState,
)
from records.workflow import events, holds, rejections, requests
from records.workflow.patients import Patient, same_patient
from records.workflow.rejections import RejectionNote


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One received object: what its header says, and where its bytes are kept."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    patient: Patient
    accession_number: str
    study_date: str
    study_description: str
    blob: str
    sha256: str
    size: int
    calling_ae: str
    priority: Priority
    is_radiograph: bool = True
    skip_reason: str = ""  # why it is not drafted from, where is_radiograph is false
    expected_instances: int | None = None  # (0020,1208), where the sender sent it
    rejects: RejectionNote | None = None  # where the object is a rejection note


class Outcome(StrEnum):
    """What `register_instance` did with an object."""

    KEPT = "KEPT"
    SKIPPED = "SKIPPED"
    REPEATED = "REPEATED"  # the same bytes are known, and nothing changed
    REINSTATED = "REINSTATED"  # the same bytes are known; they were rejected and count again
    HEALED = "HEALED"  # the same object, whose stored file was gone or changed: it has the new one
    CONFLICT = "CONFLICT"
    MISMATCH = "MISMATCH"
    REJECTED = "REJECTED"

    @property
    def keeps_blob(self) -> bool:
        """Whether a row names the bytes that came; else the ones that are known suffice."""
        return self not in (Outcome.REPEATED, Outcome.REINSTATED)


@dataclass(frozen=True, slots=True)
class Registration:
    """What was done with an object, and our id of the study that it belongs to.

    repeated: the instance that was registered before, where the object came again.
    """

    outcome: Outcome
    study_id: uuid.UUID
    repeated: Instance | None = None


def register_instance(session: Session, arrived: ReceivedInstance) -> Registration:
    """File one received object under its study; the study is created where it is new.

    The same UID and bytes again change nothing. Other bytes under a known UID, and another patient
    under a known study UID, are kept aside and open a hold. An image that comes after its study was
    complete makes a new revision. A rejection note is kept as every other object, and what it
    rejects is rejected in the same transaction.
    """
    # Two associations may bring the same object at once; the second waits for the first's commit.
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:uid, 1))"),
        {"uid": arrived.sop_instance_uid},
    )
    rejections.lock_studies(session, arrived.study_instance_uid, arrived.rejects)
    study = _lock_study(session, arrived)
    registration = _register(session, study, arrived)
    if arrived.rejects is not None:
        rejections.apply_note(session, study, arrived.rejects)
    return registration


def _register(session: Session, study: Study, arrived: ReceivedInstance) -> Registration:
    registered = session.scalar(
        select(Instance).where(
            Instance.sop_instance_uid == arrived.sop_instance_uid,
            Instance.state.in_([InstanceState.KEPT, InstanceState.SKIPPED]),
        )
    )
    if not same_patient(Patient.of_study(study), arrived.patient):
        return _keep_aside(
            session, study, arrived, InstanceState.MISMATCH, HoldReason.PATIENT_MISMATCH
        )
    if registered is not None:
        if registered.sha256 == arrived.sha256 and registered.study_id == study.id:
            events.append_event(session, study.id, EventKind.REPEATED, "the same image came again")
            return Registration(Outcome.REPEATED, study.id, registered)
        return _keep_aside(
            session, study, arrived, InstanceState.CONFLICT, HoldReason.CONFLICTING_BYTES
        )
    if arrived.is_radiograph:
        rejected = _register_rejected(session, study, arrived)
        if rejected is not None:
            return rejected
        _begin_revision(session, study)
    state = InstanceState.KEPT if arrived.is_radiograph else InstanceState.SKIPPED
    _insert(session, study, arrived, state)
    _update_study(session, study, arrived)
    events.append_event(
        session, study.id, EventKind.ARRIVED, "film" if arrived.is_radiograph else "other object"
    )
    return Registration(Outcome(state.value), study.id)


def _register_rejected(
    session: Session, study: Study, arrived: ReceivedInstance
) -> Registration | None:
    """File a film that a rejection note names; None where it counts as any other film."""
    copies = session.scalars(
        select(Instance).where(
            Instance.sop_instance_uid == arrived.sop_instance_uid,
            Instance.study_id == study.id,
            Instance.state == InstanceState.REJECTED,
        )
    ).all()
    same_bytes = next((copy for copy in copies if copy.sha256 == arrived.sha256), None)
    standing = rejections.find_standing(
        session, study, arrived.sop_instance_uid, arrived.patient, came_before=bool(copies)
    )
    if standing is None:
        if same_bytes is None:
            return None
        _begin_revision(session, study)
        same_bytes.state, same_bytes.reason = InstanceState.KEPT, ""
        same_bytes.revision = study.revision
        _update_study(session, study, arrived)
        events.append_event(session, study.id, EventKind.ARRIVED, "film that was rejected before")
        return Registration(Outcome.REINSTATED, study.id, same_bytes)
    if same_bytes is not None:
        events.append_event(
            session, study.id, EventKind.REPEATED, "a rejected film came again and stays rejected"
        )
        return Registration(Outcome.REPEATED, study.id, same_bytes)
    if not list_instances(session, study.id, InstanceState.KEPT):
        _begin_revision(session, study)  # so that the study's end names the rejection
    _insert(session, study, arrived, InstanceState.REJECTED, REJECTION_SENTENCES[standing])
    _update_study(session, study, arrived)
    events.append_event(
        session,
        study.id,
        EventKind.IMAGE_REJECTED,
        "a film that was rejected came",
        reason=standing,
    )
    return Registration(Outcome.REJECTED, study.id)


def _begin_revision(session: Session, study: Study) -> None:
    """Make a new revision where a film comes after its study was complete."""
    if study.state == StudyState.COMPLETE:
        study.revision += 1
        study.state = StudyState.RECEIVING
        study.released = False
        events.append_event(
            session, study.id, EventKind.LATE, f"a late image: revision {study.revision}"
        )


def _lock_study(session: Session, arrived: ReceivedInstance) -> Study:
    """The study's row, locked; created where it is new."""
    session.execute(
        insert(Study)
        .values(
            study_instance_uid=arrived.study_instance_uid,
            patient_id=arrived.patient.patient_id,
            patient_id_issuer=arrived.patient.issuer,
            patient_name=arrived.patient.name,
            patient_birth_date=arrived.patient.birth_date,
            patient_sex=arrived.patient.sex,
            accession_number=arrived.accession_number,
            study_date=arrived.study_date,
            study_description=arrived.study_description,
            priority=arrived.priority,
            calling_ae=arrived.calling_ae,
        )
        .on_conflict_do_nothing(index_elements=["study_instance_uid"])
    )
    return session.scalars(
        select(Study)
        .where(Study.study_instance_uid == arrived.study_instance_uid)
        .with_for_update(key_share=True)
    ).one()


def _insert(
    session: Session,
    study: Study,
    arrived: ReceivedInstance,
    state: InstanceState,
    reason: str = "",
) -> uuid.UUID | None:
    """Insert the instance's row; None where these bytes are kept aside already."""
    session.execute(
        insert(Series)
        .values(
            study_id=study.id,
            series_instance_uid=arrived.series_instance_uid,
            modality=arrived.modality,
        )
        .on_conflict_do_nothing()
    )
    series_id = session.scalar(
        select(Series.id).where(
            Series.study_id == study.id,
            Series.series_instance_uid == arrived.series_instance_uid,
        )
    )
    return session.scalar(
        insert(Instance)
        .values(
            study_id=study.id,
            series_id=series_id,
            sop_instance_uid=arrived.sop_instance_uid,
            sop_class_uid=arrived.sop_class_uid,
            transfer_syntax_uid=arrived.transfer_syntax_uid,
            state=state,
            reason=reason or arrived.skip_reason,
            blob=arrived.blob,
            sha256=arrived.sha256,
            size=arrived.size,
            revision=study.revision,
            calling_ae=arrived.calling_ae,
        )
        .on_conflict_do_nothing(index_elements=["sop_instance_uid", "sha256", "study_id", "state"])
        .returning(Instance.id)
    )


def _keep_aside(
    session: Session,
    study: Study,
    arrived: ReceivedInstance,
    state: InstanceState,
    reason: HoldReason,
) -> Registration:
    if _insert(session, study, arrived, state) is None:
        events.append_event(session, study.id, EventKind.REPEATED, "a held image came again")
        repeated = session.scalars(
            select(Instance).where(
                Instance.study_id == study.id,
                Instance.sop_instance_uid == arrived.sop_instance_uid,
                Instance.sha256 == arrived.sha256,
                Instance.state == state,
            )
        ).one()
        return Registration(Outcome.REPEATED, study.id, repeated)
    holds.open_hold(session, study.id, reason, f"sent by {arrived.calling_ae}")
    events.append_event(
        session, study.id, EventKind.CONFLICT, f"kept aside: {reason}", reason=reason
    )
    return Registration(Outcome(state.value), study.id)


def _update_study(session: Session, study: Study, arrived: ReceivedInstance) -> None:
    """Update the study from the header of a new object."""
    study.last_received_at = func.clock_timestamp()
    study.priority = min(study.priority, arrived.priority)
    if arrived.expected_instances:
        study.expected_instances = arrived.expected_instances
    # Only fields that the first object left blank are filled.
    for column, value in (
        ("patient_id", arrived.patient.patient_id),
        ("patient_id_issuer", arrived.patient.issuer),
        ("patient_name", arrived.patient.name),
        ("patient_birth_date", arrived.patient.birth_date),
        ("patient_sex", arrived.patient.sex),
        ("accession_number", arrived.accession_number),
        ("study_date", arrived.study_date),
        ("study_description", arrived.study_description),
    ):
        if not getattr(study, column) and value:
            setattr(study, column, value)
    session.flush()


def close_quiet(session: Session, quiet_seconds: float, limit: int = 200) -> list[uuid.UUID]:
    """Make quiet, released and full studies COMPLETE, each with its draft request.

    Args:
        session: the caller's transaction.
        quiet_seconds: a study is quiet when nothing came for so long.
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
        )
        .scalar_subquery()
    )
    ready: ColumnElement[bool] = or_(
        Study.released,
        Study.last_received_at < func.clock_timestamp() - interval(quiet_seconds),
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
        events.append_event(session, study.id, EventKind.COMPLETE, f"revision {study.revision}")
        requests.create_request(session, study)
    session.flush()
    return [study.id for study in closed]


def release(session: Session, study_instance_uid: str) -> uuid.UUID:
    """End the study's quiet period now; the next sweep closes it.

    A study that is released already stays as it is.

    Returns:
        Our own id of the study.

    Raises:
        NotFound: no such study.
    """
    study = get_by_uid(session, study_instance_uid)
    if study.state == StudyState.RECEIVING and not study.released:
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
    study = session.scalar(select(Study).where(condition))
    if study is None:
        raise NotFound("no study has that UID")
    return study


def list_instances(
    session: Session, study_id: uuid.UUID, *states: InstanceState
) -> Sequence[Instance]:
    """The study's instances in the order of arrival: those in `states`, or all."""
    query = select(Instance).where(Instance.study_id == study_id)
    if states:
        query = query.where(Instance.state.in_(states))
    return session.scalars(query.order_by(Instance.received_at, Instance.id)).all()


def known_blobs(session: Session, keys: Sequence[str]) -> set[str]:
    """The keys that a row of an instance names."""
    return set(session.scalars(select(Instance.blob).where(Instance.blob.in_(keys))))
