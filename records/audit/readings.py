"""Whoever reads the trail is in it, too."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.audit.lines import TrailFilter
from records.audit.trail import record
from records.database.audit_tables import AuditPatient
from records.states import AuditAction


@dataclass(frozen=True, slots=True)
class _Patient:
    patient_id: str
    issuer: str


def record_reading(session: Session, wanted: TrailFilter, detail: str) -> None:
    """Record that the trail was read, and about whom, where a patient was searched for.

    Args:
        session: the caller's transaction.
        wanted: what was searched for.
        detail: by which command or address.
    """
    searched = session.scalars(
        select(AuditPatient).where(AuditPatient.patient_id == wanted.patient.strip())
    ).all()
    what = [
        name for name in ("patient", "person", "action", "since", "until") if getattr(wanted, name)
    ]
    record(
        session,
        AuditAction.TRAIL,
        patients=[_Patient(one.patient_id, one.issuer) for one in searched],
        detail=f"{detail}, searched by {', '.join(what)}" if what else detail,
    )
