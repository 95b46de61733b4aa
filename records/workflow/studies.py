"""Studies as they arrive: registering instances, closing quiet studies, releasing them.

The listener calls `register_instance` inside the transaction whose commit lets it answer 0x0000.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, text, update
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.session import interval
from records.database.tables import Instance, Series, Study
from records.errors import NotAllowed, NotFound
from records.settings import settings
from records.states import (
    OWN_OUTPUT,
    REJECTION_SENTENCES,
    STANDING,
    CampaignKind,
    CampaignState,
    CampaignStudyState,
    Comparison,
    EventKind,
    HoldReason,
    InstanceState,
    Origin,
    StudyState,
)
from records.telemetry import note_study
from records.workflow import (
    corrections,
    doubted_priorities,
    events,
    holds,
    patient_aliases,
    rejections,
    requests,
    stored_bytes,
)
from records.workflow.arrivals import (
    ReceivedInstance,
    insert_instance,
    lock_or_create_study,
    update_study,
)
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient, may_be_corrected, same_patient, spelled_otherwise
from records.workflow.site_scope import is_visible, visible_sites
from records.workflow.withdrawals import lock_study

FETCH_PATIENCE_SECONDS = 3600.0
"""So long after its last image a study is drafted as it is, although a campaign fetches the rest.

A PACS that comes back within this time costs no second draft, and no study waits for ever for one
that does not.
"""


class Outcome(StrEnum):
    """What `register_instance` did with an object."""

    KEPT = "KEPT"
    SKIPPED = "SKIPPED"
    REPEATED = "REPEATED"  # the same bytes are known, and nothing changed
    REINSTATED = "REINSTATED"  # the same bytes are known; they were rejected and count again
    HEALED = "HEALED"  # the same object, whose stored file was gone or changed: it has the new one
    RESTORED = "RESTORED"  # the same object, whose file retention had removed: it has the new one
    CONFLICT = "CONFLICT"
    MISMATCH = "MISMATCH"
    UNCOMPARED = "UNCOMPARED"  # kept until a worker has compared the pixels
    UPDATED = "UPDATED"  # the same image with newer words about it
    REJECTED = "REJECTED"

    @property
    def keeps_blob(self) -> bool:
        """Whether a row names the bytes that came; else the ones that are known suffice."""
        return self not in (Outcome.REPEATED, Outcome.REINSTATED)


_CANNOT_BE_COMPARED = "Its pixels could not be compared, in several attempts"

_KNOWN = (*STANDING, InstanceState.REPLACED)
"""States of an object whose bytes change nothing when they come again."""


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

    The same UID and values again change nothing, whatever their encoding; newer words about the
    same image take the place of the older ones. Another image under a known UID, and another
    patient under a known study UID, are kept aside and open a hold. An image that comes after its
    study was complete makes a new revision. A rejection note is kept as every other object, and
    what it rejects is rejected in the same transaction.
    """
    # Two associations may bring the same object at once; the second waits for the first's commit.
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:uid, 1))"),
        {"uid": arrived.sop_instance_uid},
    )
    rejections.lock_studies(session, arrived.study_instance_uid, arrived.rejects)
    study = lock_or_create_study(session, arrived)
    arrived = replace(arrived, patient=_known_patient(session, study, arrived))
    registration = _register(session, study, arrived)
    if arrived.rejects is not None:
        rejections.apply_note(session, study, arrived.rejects)
    return registration


def _known_patient(session: Session, study: Study, arrived: ReceivedInstance) -> Patient:
    """The patient of an object, as merges and corrections of other systems say."""
    alias = patient_aliases.find_alias(
        session, PatientId(arrived.patient.patient_id, arrived.patient.issuer)
    )
    if alias is None:
        return corrections.as_corrected(session, study, arrived.patient)
    surviving = patient_aliases.surviving_patient(alias)
    if study.patient_id == arrived.patient.patient_id:
        # It is the study's first object, or another one came before the merge.
        corrections.update_shown(
            session, study, surviving.columns(), alias.sender, origin=Origin(alias.origin)
        )
    return corrections.as_corrected(session, study, surviving)


def _register(session: Session, study: Study, arrived: ReceivedInstance) -> Registration:
    here = session.scalars(
        select(Instance).where(
            Instance.sop_instance_uid == arrived.sop_instance_uid, Instance.study_id == study.id
        )
    ).all()
    for known in here:
        if known.sha256 == arrived.sha256 and known.state in _KNOWN:
            events.append_event(session, study.id, EventKind.REPEATED, "the same image came again")
            if known.state in STANDING and not arrived.is_own:
                doubted_priorities.believe(session, study, arrived.priority, arrived.calling_ae)
            return Registration(Outcome.REPEATED, study.id, known)
    standing = next((row for row in here if row.state in STANDING), None)
    if (
        standing is not None
        and standing.bytes_removed_at is not None
        and may_be_corrected(Patient.of_study(study), arrived.patient)
    ):
        # A PACS may have encoded it otherwise. There is nothing left to compare it with, and a UID
        # stands for one image.
        if standing.sha256 != arrived.sha256:
            corrections.update_shown(session, study, arrived.sent, arrived.calling_ae)
        doubted_priorities.believe(session, study, arrived.priority, arrived.calling_ae)
        return Registration(Outcome.REPEATED, study.id, standing)
    if not arrived.is_radiograph:
        return _register_other(session, study, standing, arrived)
    shown_patient = Patient.of_study(study)
    if (
        standing is not None
        and standing.state == InstanceState.KEPT
        and arrived.compare is not None
        and may_be_corrected(shown_patient, arrived.patient)
    ):
        comparison = arrived.compare(standing.blob)
        if comparison is not Comparison.OTHER:
            return _register_comparable(session, study, standing, arrived, comparison)
    if not _is_patient_of(session, study, arrived.patient):
        split = _find_split(session, study, arrived.patient)
        if split is not None:
            return _register(session, split, arrived)
        return _keep_aside(
            session, study, arrived, InstanceState.MISMATCH, HoldReason.PATIENT_MISMATCH
        )
    if standing is not None:
        return _keep_aside(
            session, study, arrived, InstanceState.CONFLICT, HoldReason.CONFLICTING_BYTES
        )
    rejected = _register_rejected(session, study, arrived)
    if rejected is not None:
        return rejected
    elsewhere = session.scalars(
        select(Instance.study_id).where(
            Instance.sop_instance_uid == arrived.sop_instance_uid,
            Instance.state == InstanceState.KEPT,
        )
    ).all()
    if elsewhere:
        for other_id in elsewhere:
            holds.open_hold(
                session, other_id, HoldReason.MOVED_AWAY, f"sent by {arrived.calling_ae}"
            )
        return _keep_aside(session, study, arrived, InstanceState.CONFLICT, HoldReason.MOVED_HERE)
    _begin_revision(session, study)
    insert_instance(session, study, arrived, InstanceState.KEPT)
    _show(session, study, arrived)
    events.append_event(session, study.id, EventKind.ARRIVED, "film")
    return Registration(Outcome.KEPT, study.id)


def _register_other(
    session: Session, study: Study, standing: Instance | None, arrived: ReceivedInstance
) -> Registration:
    """File an object that is never drafted from: whatever it is, it opens no hold."""
    state = InstanceState.SKIPPED
    if standing is not None:
        state = InstanceState.CONFLICT
    elif not same_patient(Patient.of_study(study), arrived.patient):
        state = InstanceState.MISMATCH
    reason = OWN_OUTPUT if arrived.is_own else ""
    if insert_instance(session, study, arrived, state, reason) is None:
        return _repeated(session, study, arrived, state)
    # What we sent ourselves says nothing of the study, and nobody waits longer for its films.
    if state is InstanceState.SKIPPED and not arrived.is_own:
        update_study(session, study, arrived)
    detail = "our own object, routed back" if arrived.is_own else "other object"
    events.append_event(session, study.id, EventKind.ARRIVED, detail)
    return Registration(Outcome(state.value), study.id)


def _register_comparable(
    session: Session,
    study: Study,
    standing: Instance,
    arrived: ReceivedInstance,
    comparison: Comparison,
) -> Registration:
    """File another encoding of a film, or the same film with other words about it."""
    if comparison is Comparison.SAME:
        events.append_event(
            session, study.id, EventKind.REPEATED, "the same image came again, encoded otherwise"
        )
        doubted_priorities.believe(session, study, arrived.priority, arrived.calling_ae)
        return Registration(Outcome.REPEATED, study.id, standing)
    if comparison is Comparison.UNDECIDED:
        state = InstanceState.UNCOMPARED
        if insert_instance(session, study, arrived, state) is None:
            return _repeated(session, study, arrived, state)
        return Registration(Outcome.UNCOMPARED, study.id)
    standing.state, standing.reason = InstanceState.REPLACED, "A newer object took its place."
    session.flush()
    id_ = insert_instance(session, study, arrived, InstanceState.KEPT)
    newer = session.get_one(Instance, id_)
    _correct(session, study, None, newer, arrived.sent, comparison)
    update_study(session, study, arrived)
    return Registration(Outcome.UPDATED, study.id)


def _correct(
    session: Session,
    study: Study,
    standing: Instance | None,
    newer: Instance,
    shown: dict[str, Any],
    comparison: Comparison,
) -> None:
    corrections.update_shown(session, study, shown, newer.calling_ae)
    corrections.take_place(
        session, study, standing, newer, redraft=comparison is Comparison.DESCRIBED
    )


def claim_uncompared(session: Session, limit_each: int) -> Instance | None:
    """The oldest film whose pixels are to be compared, with one comparison counted.

    A decoder that dies with a film must not meet it for ever: the count is committed before.

    Args:
        session: the caller's transaction.
        limit_each: a film that was compared so often without an end is not compared again; it is
            taken for another image.
    """
    film = session.scalar(
        select(Instance)
        .where(Instance.state == InstanceState.UNCOMPARED)
        .order_by(Instance.received_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if film is None:
        return None
    film.comparisons += 1
    if film.comparisons > limit_each:
        settle_comparison(session, film.id, Comparison.OTHER, _CANNOT_BE_COMPARED)
        return claim_uncompared(session, limit_each)
    session.flush()
    return film


def list_uncompared(session: Session, limit: int) -> Sequence[uuid.UUID]:
    """The films whose pixels are to be compared, oldest first; the sweep rings for them."""
    return session.scalars(
        select(Instance.id)
        .where(Instance.state == InstanceState.UNCOMPARED)
        .order_by(Instance.received_at)
        .limit(limit)
    ).all()


def find_standing(session: Session, film: Instance) -> Instance | None:
    """The object that counts under a film's UID in its study."""
    return session.scalar(
        select(Instance).where(
            Instance.study_id == film.study_id,
            Instance.sop_instance_uid == film.sop_instance_uid,
            Instance.state.in_(STANDING),
        )
    )


def settle_comparison(
    session: Session, instance_id: uuid.UUID, comparison: Comparison, problem: str = ""
) -> str | None:
    """Do with an UNCOMPARED film what its comparison says.

    Args:
        session: the caller's transaction.
        instance_id: the film.
        comparison: how it differs from the film that counts.
        problem: a sentence without its full stop, where the two could not be compared and count
            as OTHER for that.

    Returns:
        The key of a blob that is not needed any more, to be removed after the commit.
    """
    study_id = session.scalar(select(Instance.study_id).where(Instance.id == instance_id))
    if study_id is None:
        return None
    study = lock_study(session, study_id)
    film = session.get(Instance, instance_id, with_for_update=True, populate_existing=True)
    if film is None or film.state != InstanceState.UNCOMPARED:
        return None
    standing = find_standing(session, film)
    sent = film.sent or {}
    if standing is None:
        comparison = Comparison.OTHER
    if comparison is Comparison.SAME:
        session.delete(film)
        events.append_event(
            session, study.id, EventKind.REPEATED, "the same image came again, encoded otherwise"
        )
        return film.blob
    if comparison in (Comparison.SHOWN, Comparison.DESCRIBED):
        _correct(session, study, standing, film, sent, comparison)
        return None
    film.state = InstanceState.CONFLICT
    session.flush()
    _ask_about(session, study, film.calling_ae, HoldReason.CONFLICTING_BYTES, problem)
    return None


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
        update_study(session, study, arrived)
        events.append_event(session, study.id, EventKind.ARRIVED, "film that was rejected before")
        return Registration(Outcome.REINSTATED, study.id, same_bytes)
    if same_bytes is not None:
        events.append_event(
            session, study.id, EventKind.REPEATED, "a rejected film came again and stays rejected"
        )
        return Registration(Outcome.REPEATED, study.id, same_bytes)
    if not list_instances(session, study.id, InstanceState.KEPT):
        _begin_revision(session, study)  # so that the study's end names the rejection
    insert_instance(session, study, arrived, InstanceState.REJECTED, REJECTION_SENTENCES[standing])
    update_study(session, study, arrived)
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


def _keep_aside(
    session: Session,
    study: Study,
    arrived: ReceivedInstance,
    state: InstanceState,
    reason: HoldReason,
) -> Registration:
    if insert_instance(session, study, arrived, state) is None:
        return _repeated(session, study, arrived, state)
    _ask_about(session, study, arrived.calling_ae, reason)
    return Registration(Outcome(state.value), study.id)


def _ask_about(
    session: Session, study: Study, calling_ae: str, reason: HoldReason, problem: str = ""
) -> None:
    problem = problem and f". {problem}"
    holds.open_hold(session, study.id, reason, f"sent by {calling_ae}{problem}")
    events.append_event(
        session, study.id, EventKind.CONFLICT, f"kept aside: {reason}{problem}", reason=reason
    )


def _repeated(
    session: Session, study: Study, arrived: ReceivedInstance, state: InstanceState
) -> Registration:
    """What was kept aside came again, to the byte."""
    events.append_event(session, study.id, EventKind.REPEATED, "an object kept aside came again")
    known = session.scalars(
        select(Instance).where(
            Instance.study_id == study.id,
            Instance.sop_instance_uid == arrived.sop_instance_uid,
            Instance.sha256 == arrived.sha256,
            Instance.state == state,
        )
    ).one()
    return Registration(Outcome.REPEATED, study.id, known)


def _is_patient_of(session: Session, study: Study, patient: Patient) -> bool:
    """Whether a film of this patient belongs to the study."""
    shown = Patient.of_study(study)
    if same_patient(shown, patient) or spelled_otherwise(shown, patient, settings().name_spelling):
        return True
    # Until a film comes, the name is that of an object which is never drafted from.
    return not list_instances(session, study.id, InstanceState.KEPT, InstanceState.REPLACED)


def _find_split(session: Session, study: Study, patient: Patient) -> Study | None:
    """The study that a person split from this one for this patient, locked."""
    splits = session.scalars(
        select(Study).where(Study.split_from == study.id).with_for_update(key_share=True)
    )
    return next((row for row in splits if same_patient(Patient.of_study(row), patient)), None)


def _show(session: Session, study: Study, arrived: ReceivedInstance) -> None:
    """Update the study from a film's header: of two patients' names the newer one is shown."""
    if not same_patient(Patient.of_study(study), arrived.patient):
        patient = {k: v for k, v in arrived.shown.items() if k.startswith("patient_")}
        corrections.update_shown(session, study, patient, arrived.calling_ae)
    update_study(session, study, arrived)


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
