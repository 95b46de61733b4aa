"""Notes which discrepancies are to be checked again, because a report of their patient came."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Collection, Iterable

from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from records.database.discrepancy_tables import Discrepancy, DiscrepancyRecheck
from records.states import VERDICTS
from records.workflow.identifiers import PatientId, plain_key

_LOCK_CLASS = 0x6E64D15C
_LOCK_BUCKETS = 256
"""Locks of patients: so many, at most, that an import does not fill the lock table."""

_HOLD = text(
    "SELECT pg_advisory_xact_lock_shared(:lock_class, bucket)"
    " FROM unnest(CAST(:buckets AS integer[])) AS bucket"
)
_WAIT = text("SELECT wait_for_locks(:lock_class, CAST(:buckets AS integer[]))")


def hold_patient(session: Session, ids: Iterable[PatientId]) -> None:
    """Say, until the transaction ends, that a report of a patient is being committed.

    Whoever keeps or signs a report calls it before he looks for studies; see `wait_for_patient`.
    """
    session.execute(_HOLD, {"lock_class": _LOCK_CLASS, "buckets": _buckets(i.id for i in ids)})


def wait_for_patient(session: Session, patient_id: str) -> None:
    """Wait until no report of a patient is being committed that has noted its studies.

    Such a report did not see a discrepancy that is newer than its own look; whoever waited sees the
    report. Nothing may be locked yet in this transaction. The lock is given back at once.
    """
    session.execute(_WAIT, {"lock_class": _LOCK_CLASS, "buckets": _buckets([patient_id])})


def note_studies(session: Session, study_ids: Collection[uuid.UUID]) -> None:
    """Let the discrepancies of these studies that nobody has read be checked again."""
    if not study_ids:
        return
    noted = session.scalars(
        select(Discrepancy.study_id)
        .where(Discrepancy.study_id.in_(study_ids), Discrepancy.state.not_in(VERDICTS))
        .distinct()
    ).all()
    if noted:
        session.execute(insert(DiscrepancyRecheck), [{"study_id": study} for study in noted])


def take_noted(session: Session, limit: int) -> set[uuid.UUID]:
    """Take some of the studies that were noted; they are noted again where the caller fails."""
    taken = (
        select(DiscrepancyRecheck.id)
        .order_by(DiscrepancyRecheck.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return set(
        session.scalars(
            delete(DiscrepancyRecheck)
            .where(DiscrepancyRecheck.id.in_(taken))
            .returning(DiscrepancyRecheck.study_id)
        )
    )


def _buckets(patient_ids: Iterable[str]) -> list[int]:
    keys = {plain_key(patient_id) for patient_id in patient_ids} - {""}
    return sorted({zlib.crc32(key.encode()) % _LOCK_BUCKETS for key in keys})
