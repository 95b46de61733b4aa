"""Filing one received object under its study.

The listener calls `register_instance` inside the transaction whose commit lets it answer 0x0000.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from records.database.tables import Instance, Study
from records.settings import settings
from records.states import (
    OWN_OUTPUT,
    REJECTION_SENTENCES,
    STANDING,
    Comparison,
    EventKind,
    HoldReason,
    InstanceState,
    Origin,
    StudyState,
)
from records.workflow import (
    corrections,
    doubted_priorities,
    events,
    holds,
    patient_aliases,
    rejections,
)
from records.workflow.arrivals import (
    ReceivedInstance,
    insert_instance,
    lock_or_create_study,
    update_study,
)
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient, may_be_corrected, same_patient, spelled_otherwise
from records.workflow.pixel_comparisons import ask_about, correct
from records.workflow.studies import list_instances


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
    correct(session, study, None, newer, arrived.sent, comparison)
    update_study(session, study, arrived)
    return Registration(Outcome.UPDATED, study.id)


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
    ask_about(session, study, arrived.calling_ae, reason)
    return Registration(Outcome(state.value), study.id)


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
