"""Whoever reads the trail is in it, too."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.audit.lines import TrailFilter, TrailLine
from records.audit.looks import PatientNumber
from records.audit.trail import record
from records.database.audit_tables import AuditPatient
from records.states import AuditAction


def record_reading(
    session: Session, wanted: TrailFilter, detail: str, shown: Sequence[TrailLine] = ()
) -> None:
    """Record that the trail was read, and of whom: who was searched for, and who was shown.

    Args:
        session: the caller's transaction.
        wanted: what was searched for.
        detail: by which command or address.
        shown: the lines that were found; a patient who was erased is shown by nobody's number.
    """
    named = {
        PatientNumber(one.patient_id, one.issuer)
        for line in shown
        for one in line.patients
        if one.patient_id
    }
    if wanted.patient:
        named |= {
            PatientNumber(one.patient_id, one.issuer)
            for one in session.scalars(
                select(AuditPatient).where(AuditPatient.patient_id == wanted.patient.strip())
            )
        }
    names = ("patient", "person", "action", "since", "until", "emergency")
    what = [name for name in names if getattr(wanted, name)]
    record(
        session,
        AuditAction.TRAIL,
        patients=named,
        detail=f"{detail}, searched by {', '.join(what)}" if what else detail,
    )
