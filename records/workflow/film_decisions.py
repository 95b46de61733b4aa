"""Holds about films: the two sides of each, and what a person's decision does to them.

One side is an object that was kept aside (CONFLICT, MISMATCH) and that nobody has decided about:
its `reason` is empty. The other side is the object that counts under the same UID, if there is one.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.tables import Hold, Instance, Series, Study
from records.errors import NotAllowed
from records.states import (
    STANDING,
    Decision,
    EndReason,
    EventKind,
    HoldReason,
    InstanceState,
)
from records.workflow import corrections, events, sites, withdrawals
from records.workflow.patients import Patient, same_patient

FILM_REASONS = (
    HoldReason.PATIENT_MISMATCH,
    HoldReason.CONFLICTING_BYTES,
    HoldReason.MOVED_HERE,
    HoldReason.MOVED_AWAY,
)
"""The holds that are about films."""

_MOVED = (HoldReason.MOVED_HERE, HoldReason.MOVED_AWAY)


@dataclass(frozen=True, slots=True)
class Side:
    """A film that was kept aside, and the film that counts under its UID, which may be none."""

    aside: Instance
    standing: Instance | None


def list_sides(session: Session, study_id: uuid.UUID, reason: HoldReason) -> list[Side]:
    """What an open hold of the study is about, oldest first; empty where it is about no film."""
    query = (
        select(Instance)
        .where(Instance.reason == "")
        .order_by(Instance.received_at, Instance.sop_instance_uid)
    )
    if reason is HoldReason.MOVED_AWAY:
        standing_uids = select(Instance.sop_instance_uid).where(
            Instance.study_id == study_id, Instance.state == InstanceState.KEPT
        )
        query = query.where(
            Instance.state == InstanceState.CONFLICT,
            Instance.study_id != study_id,
            Instance.sop_instance_uid.in_(standing_uids),
        )
    elif reason is HoldReason.PATIENT_MISMATCH:
        query = query.where(Instance.study_id == study_id, Instance.state == InstanceState.MISMATCH)
    elif reason in (HoldReason.CONFLICTING_BYTES, HoldReason.MOVED_HERE):
        query = query.where(Instance.study_id == study_id, Instance.state == InstanceState.CONFLICT)
    else:
        return []
    sides = []
    for aside in session.scalars(query):
        here, elsewhere = _standing(session, aside)
        is_moved = here is None and elsewhere is not None
        # Rows of earlier versions have no `sent`; they opened one kind of hold for both.
        if reason is HoldReason.MOVED_HERE and not is_moved:
            continue
        if reason is HoldReason.CONFLICTING_BYTES and is_moved and aside.sent is not None:
            continue
        if reason is HoldReason.MOVED_AWAY and (
            not is_moved or elsewhere is None or elsewhere.study_id != study_id
        ):
            continue
        is_mismatch = reason is HoldReason.PATIENT_MISMATCH
        sides.append(Side(aside, here if is_mismatch else here or elsewhere))
    # A side may be another study's, and a film that is kept aside may be another patient's.
    note_look(
        study_ids=[film.study_id for side in sides for film in (side.aside, side.standing) if film],
        patients=[patient_sent(side.aside.sent) for side in sides if side.aside.sent],
    )
    return sides


def involved_studies(session: Session, study_id: uuid.UUID, reason: HoldReason) -> set[uuid.UUID]:
    """The studies that a decision of the hold may change."""
    ids = {study_id}
    for side in list_sides(session, study_id, reason):
        ids |= {side.aside.study_id} | ({side.standing.study_id} if side.standing else set())
    return ids


def carry_out(
    session: Session,
    study: Study,
    reason: HoldReason,
    decision: Decision,
    by: str,
) -> None:
    """Do what a person decided about the films of a hold; all studies of it are locked.

    Raises:
        NotAllowed: the films came to an earlier version, which did not keep whose they are.
    """
    sides = list_sides(session, study.id, reason)
    others = involved_studies(session, study.id, reason) - {study.id}
    if decision is Decision.TAKE_NEW:
        _take(session, sides)
    elif decision is Decision.KEEP_BOTH:
        for side in sides:
            own = session.get_one(Study, side.aside.study_id)
            corrections.take_place(session, own, None, side.aside, redraft=True)
    elif decision is Decision.SPLIT:
        _split(session, study, [side.aside for side in sides])
    else:
        for side in sides:
            side.aside.reason = "A person decided to leave it aside."
    session.flush()
    if reason in _MOVED:
        _close_counterparts(session, others, decision, by)


def _take(session: Session, sides: Sequence[Side]) -> None:
    """Let the films that were kept aside count, in the place of those that counted."""
    for side in sides:
        own = session.get_one(Study, side.aside.study_id)
        here = side.standing if side.standing and side.standing.study_id == own.id else None
        if side.standing is not None and here is None:
            other = session.get_one(Study, side.standing.study_id)
            side.standing.state = InstanceState.MOVED
            side.standing.reason = "A person gave it to another study."
            session.flush()
            events.append_event(
                session, other.id, EventKind.UPDATED, f"a film was given to study {own.id}"
            )
            withdrawals.start_anew(
                session, other, EndReason.FILMS_DECIDED, "a film belongs to another study"
            )
        if side.aside.state == InstanceState.MISMATCH and side.aside.sent:
            corrections.update_shown(session, own, side.aside.sent, side.aside.calling_ae)
        corrections.take_place(session, own, here, side.aside, redraft=True)


def _split(session: Session, study: Study, asides: Sequence[Instance]) -> None:
    """Give the films that were kept aside studies of their own, one for each patient."""
    new: list[tuple[Study, set[str]]] = []
    for aside in asides:
        if aside.sent is None:
            raise NotAllowed(
                "these films came before their patient was kept with them: send them again"
            )
        patient = patient_sent(aside.sent)
        own = next(
            (
                split
                for split, uids in new
                if same_patient(Patient.of_study(split), patient)
                and aside.sop_instance_uid not in uids
            ),
            None,
        )
        if own is None:
            own = Study(
                # A UID of our own (PS3.5 B.2): two studies cannot have the same one.
                study_instance_uid=f"2.25.{uuid.uuid4().int}",
                priority=study.priority,
                calling_ae=aside.calling_ae,
                **sites.columns_for_caller(
                    session, aside.calling_ae, (study.site_id, study.site_basis)
                ),
                revision=1,
                split_from=study.id,
                **aside.sent,
            )
            session.add(own)
            session.flush()
            new.append((own, set()))
            events.append_event(session, own.id, EventKind.ARRIVED, f"split from study {study.id}")
            events.append_event(
                session, study.id, EventKind.UPDATED, f"films were split off as study {own.id}"
            )
        next(uids for split, uids in new if split is own).add(aside.sop_instance_uid)
        aside.series_id = _copy_series(session, aside.series_id, own)
        aside.study_id = own.id
        corrections.take_place(session, own, None, aside, redraft=False)


def _copy_series(session: Session, series_id: uuid.UUID, study: Study) -> uuid.UUID:
    """The series of the same UID in another study; made where it is missing."""
    series = session.get_one(Series, series_id)
    values = {
        "study_id": study.id,
        "series_instance_uid": series.series_instance_uid,
        "modality": series.modality,
    }
    session.execute(insert(Series).values(**values).on_conflict_do_nothing())
    return session.scalars(select(Series.id).filter_by(**values)).one()


def _close_counterparts(
    session: Session, study_ids: set[uuid.UUID], decision: Decision, by: str
) -> None:
    """Close the other study's hold, if no film of it is left to decide."""
    for study_id in sorted(study_ids):
        for reason in _MOVED:
            if list_sides(session, study_id, reason):
                continue
            counterparts = session.scalars(
                select(Hold).where(
                    Hold.study_id == study_id, Hold.reason == reason, Hold.decision.is_(None)
                )
            ).all()
            for hold in counterparts:
                # No draft for one study is no decision about the other's.
                hold.decision = Decision.PROCEED if decision is Decision.CANCEL else decision
                hold.decided_at, hold.decided_by = func.now(), by
                hold.note = "decided with the other study"
                events.append_event(
                    session, study_id, EventKind.DECIDED, f"{hold.decision} by {by}: {reason}"
                )
    session.flush()


def patient_sent(sent: dict[str, Any]) -> Patient:
    """The patient that an object kept aside was sent for."""
    return Patient(
        sent["patient_id"],
        sent["patient_id_issuer"],
        sent["patient_name"],
        sent["patient_birth_date"],
        sent["patient_sex"],
    )


def _standing(session: Session, aside: Instance) -> tuple[Instance | None, Instance | None]:
    """The objects that count under the same UID: in its own study, and in another one."""
    standing = session.scalars(
        select(Instance)
        .where(Instance.sop_instance_uid == aside.sop_instance_uid, Instance.state.in_(STANDING))
        .order_by(Instance.received_at)
    ).all()
    here = next((row for row in standing if row.study_id == aside.study_id), None)
    return here, next((row for row in standing if row.study_id != aside.study_id), None)
