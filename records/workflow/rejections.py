"""Rejection notes of IHE Imaging Object Change Management: films that no longer count.

A note is a Key Object Selection Document whose title says why images are rejected. It may come
before, with or after them. Each image that it names is a row of `rejections`; a film that is here
becomes REJECTED and stays on disk.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.tables import Instance, Rejection, Study
from records.errors import NotAllowed
from records.states import (
    REJECTION_SENTENCES,
    Decision,
    EndReason,
    EventKind,
    HoldReason,
    InstanceState,
    RejectionReason,
)
from records.workflow import events, holds, withdrawals
from records.workflow.patients import Patient, may_be_corrected
from records.workflow.withdrawals import lock_study


@dataclass(frozen=True, slots=True)
class RejectionNote:
    """What a rejection note says.

    Attributes:
        sop_instance_uid: (0008,0018) of the note.
        reason: its document title.
        patient: the patient that the note names.
        images: Study and SOP Instance UID of each image that it rejects.
        whole: whether the note was read to its end; where it was not, a person must look at it.
        calling_ae: who sent it.
    """

    sop_instance_uid: str
    reason: RejectionReason
    patient: Patient
    images: tuple[tuple[str, str], ...]
    whole: bool
    calling_ae: str


def lock_studies(session: Session, study_instance_uid: str, note: RejectionNote | None) -> None:
    """Let no film and no note of these studies be filed until this transaction ends.

    A note may name a study that is not here yet, so there is no row that could be locked. The
    order of the locks is the same for all, so two notes never wait for each other.
    """
    uids = (
        {study_instance_uid, *(study for study, _ in note.images if note)}
        if note
        else {study_instance_uid}
    )
    for uid in sorted(uids):
        session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:uid, 2))"), {"uid": uid}
        )


def apply_note(session: Session, own_study: Study, note: RejectionNote) -> None:
    """Keep what the note rejects, and reject the films that are here.

    An image that the same note rejected before is left as it is: the note came twice, or a person
    has taken the rejection back. The note names the very object, so a name (or birth date, or sex)
    that was corrected since, or is spelled otherwise, makes it no other patient's.

    Args:
        session: the caller's transaction, which holds `lock_studies`.
        own_study: the study that the note itself belongs to.
        note: the note.
    """
    if not note.whole:
        holds.open_hold(
            session, own_study.id, HoldReason.REJECTION_UNCLEAR, "the note could not be read whole"
        )
    new = _insert_new(session, note)
    films = (
        session.execute(
            select(Study.id, Instance.sop_instance_uid)
            .join(Instance, Instance.study_id == Study.id)
            .where(
                tuple_(Study.study_instance_uid, Instance.sop_instance_uid).in_(new),
                Instance.state == InstanceState.KEPT,
            )
        )
        if new
        else ()
    )
    by_study: dict[uuid.UUID, list[str]] = defaultdict(list)
    for study_id, uid in films:
        by_study[study_id].append(uid)
    for study_id in sorted(by_study):
        study = lock_study(session, study_id)
        if may_be_corrected(Patient.of_study(study), note.patient):
            _reject(session, study, by_study[study_id], note.reason)
        else:
            holds.open_hold(
                session,
                study_id,
                HoldReason.REJECTION_UNCLEAR,
                "the note came under another patient",
            )


def find_standing(
    session: Session, study: Study, sop_instance_uid: str, patient: Patient, *, came_before: bool
) -> RejectionReason | None:
    """Why a film that has just come is rejected; None where it counts.

    A film whose retention period was over may come back (IHE RAD TF-2, 4.66): the rejection ends.
    A note of another patient rejects nothing: the film counts, and a person is asked.

    Args:
        session: the caller's transaction.
        study: the film's study, locked.
        sop_instance_uid: the film's.
        patient: the film's.
        came_before: whether the film was here when it was rejected.
    """
    standing = session.scalars(
        select(Rejection)
        .where(
            Rejection.study_instance_uid == study.study_instance_uid,
            Rejection.sop_instance_uid == sop_instance_uid,
            Rejection.ended_at.is_(None),
        )
        .order_by(Rejection.noted_at)
    ).all()
    for rejection in standing:
        reason = RejectionReason(rejection.reason)
        if came_before and reason is RejectionReason.RETENTION_EXPIRED:
            rejection.ended_at, rejection.ended_by = func.clock_timestamp(), "the film came again"
        elif may_be_corrected(Patient(**rejection.patient), patient):
            return reason
        else:
            holds.open_hold(
                session,
                study.id,
                HoldReason.REJECTION_UNCLEAR,
                "the note came under another patient",
            )
    session.flush()
    return None


def settle_unclear(session: Session, study: Study, decision: Decision, by: str) -> None:
    """Do what a person decided about notes that came under another patient.

    TAKE_NEW applies the notes as if they had come under the study's own patient. PROCEED ends
    them, so that the films are not asked about once more when they come again. CANCEL leaves both.

    Args:
        session: the caller's transaction.
        study: the study whose films the notes name, locked.
        decision: what the person decided.
        by: who decided.

    Raises:
        NotAllowed: TAKE_NEW, and no note names a film that still counts.
    """
    counting = {film.sop_instance_uid for film in _films(session, study.id, InstanceState.KEPT)}
    standing = [
        rejection
        for rejection in list_by_study(session, study.study_instance_uid)
        if rejection.ended_at is None and rejection.sop_instance_uid in counting
    ]
    if decision is Decision.PROCEED:
        for rejection in standing:
            rejection.ended_at, rejection.ended_by = func.clock_timestamp(), by
    elif decision is Decision.TAKE_NEW:
        if not standing:
            raise NotAllowed("the rejection note names no film of the study that still counts")
        by_reason: dict[RejectionReason, list[str]] = defaultdict(list)
        for rejection in standing:
            rejection.patient = asdict(Patient.of_study(study))
            by_reason[RejectionReason(rejection.reason)].append(rejection.sop_instance_uid)
        for reason, uids in by_reason.items():
            _reject(session, study, uids, reason)
    session.flush()


def reinstate(session: Session, study_id: uuid.UUID, by: str, note: str = "") -> int:
    """Take the rejections of a study back because a person says so; a new draft is made.

    Returns:
        How many films count again.

    Raises:
        NotFound: no such study.
        NotAllowed: no name, or no film of the study is rejected.
    """
    if not by.strip():
        raise NotAllowed("a rejection is taken back by somebody: say by whom")
    study = lock_study(session, study_id)
    session.execute(
        update(Rejection)
        .where(
            Rejection.study_instance_uid == study.study_instance_uid, Rejection.ended_at.is_(None)
        )
        .values(ended_at=func.clock_timestamp(), ended_by=by.strip())
    )
    count = 0
    for film in _films(session, study_id, InstanceState.REJECTED):
        # Where several objects came under one UID, the newest one counts.
        if _films(session, study_id, InstanceState.KEPT, film.sop_instance_uid):
            continue
        film.state, film.reason = InstanceState.KEPT, ""
        session.flush()
        count += 1
    if not count:
        raise NotAllowed("no film of the study is rejected")
    detail = f"{_count(count)} taken back by {by.strip()}"
    events.append_event(
        session, study_id, EventKind.REINSTATED, f"{detail}: {note.strip()}" if note else detail
    )
    withdrawals.start_anew(session, study, EndReason.IMAGE_REJECTED, detail)
    return count


def list_by_study(session: Session, study_instance_uid: str) -> Sequence[Rejection]:
    """The rejections of a study's images, oldest first."""
    return session.scalars(
        select(Rejection)
        .where(Rejection.study_instance_uid == study_instance_uid)
        .order_by(Rejection.noted_at, Rejection.id)
    ).all()


def _insert_new(session: Session, note: RejectionNote) -> list[tuple[str, str]]:
    """Insert a row for each image of the note; returns those that are new."""
    if not note.images:
        return []
    rows = session.execute(
        insert(Rejection)
        .values(
            [
                {
                    "study_instance_uid": study,
                    "sop_instance_uid": image,
                    "note_sop_instance_uid": note.sop_instance_uid,
                    "reason": note.reason,
                    "patient": asdict(note.patient),
                    "calling_ae": note.calling_ae,
                }
                for study, image in dict.fromkeys(note.images)
            ]
        )
        .on_conflict_do_nothing()
        .returning(Rejection.study_instance_uid, Rejection.sop_instance_uid)
    )
    return [(study, image) for study, image in rows]


def _reject(session: Session, study: Study, uids: Sequence[str], reason: RejectionReason) -> None:
    """Reject films of a study that is locked, and withdraw what was made of them."""
    session.execute(
        update(Instance)
        .where(
            Instance.study_id == study.id,
            Instance.sop_instance_uid.in_(uids),
            Instance.state == InstanceState.KEPT,
        )
        .values(state=InstanceState.REJECTED, reason=REJECTION_SENTENCES[reason])
    )
    detail = f"{_count(len(uids))} rejected ({reason}, {reason.name.replace('_', ' ').lower()})"
    events.append_event(session, study.id, EventKind.IMAGE_REJECTED, detail, reason=reason)
    withdrawals.start_anew(session, study, EndReason.IMAGE_REJECTED, detail)
    if withdrawals.has_signed_report(session, study.id):
        holds.open_hold(session, study.id, HoldReason.SIGNED_REJECTED, detail)


def _films(
    session: Session, study_id: uuid.UUID, state: InstanceState, sop_instance_uid: str | None = None
) -> Sequence[Instance]:
    """The study's films in a state, the newest first."""
    query = select(Instance).where(Instance.study_id == study_id, Instance.state == state)
    if sop_instance_uid is not None:
        query = query.where(Instance.sop_instance_uid == sop_instance_uid)
    return session.scalars(query.order_by(Instance.received_at.desc(), Instance.id)).all()


def _count(number: int) -> str:
    return f"{number} film{'' if number == 1 else 's'}"
