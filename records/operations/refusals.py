"""Refusals: the objects that the DICOM listener did not accept, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from records.database.tables import Refusal
from records.states import TallyKind
from records.workflow import tallies


def record_refusal(
    session: Session,
    *,
    calling_ae: str,
    sop_class_uid: str,
    sop_instance_uid: str,
    reason: str,
    sentence: str,
) -> None:
    """Keep a row of a refused object, so that nothing vanishes.

    Args:
        session: the caller's transaction.
        calling_ae: the sender's AE title.
        sop_class_uid: (0008,0016), as far as it is known.
        sop_instance_uid: (0008,0018), as far as it is known.
        reason: a stable word.
        sentence: the reason for a person.
    """
    session.execute(
        insert(Refusal).values(
            calling_ae=calling_ae[:16],
            sop_class_uid=sop_class_uid[:64],
            sop_instance_uid=sop_instance_uid[:64],
            reason=reason,
            sentence=sentence,
        )
    )


def list_refusals(session: Session, limit: int = 100) -> Sequence[Refusal]:
    """The newest refusals."""
    return session.scalars(select(Refusal).order_by(Refusal.id.desc()).limit(limit)).all()


def count_by_reason(session: Session) -> dict[str, int]:
    """How many objects were ever refused, by reason."""
    return tallies.read_numbers(session, TallyKind.REFUSALS)
