"""How large the images are that are kept here: those of a study, and one on the average."""

from __future__ import annotations

import uuid

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from records.database.tables import Instance
from records.states import InstanceState

MEASURED = 1000
"""So many of the kept images say how large one is on the average."""


def bytes_of(session: Session, study_id: uuid.UUID) -> int:
    """The bytes of all objects of a study that are here."""
    return int(
        session.scalar(select(func.sum(Instance.size)).where(Instance.study_id == study_id)) or 0
    )


def mean_bytes(session: Session) -> float | None:
    """The bytes of one kept image, the mean of MEASURED; None where none is kept."""
    some = (
        select(Instance.size)
        .where(Instance.state == InstanceState.KEPT)
        .order_by(Instance.id.desc())
        .limit(MEASURED)
        .subquery()
    )
    mean = session.scalar(select(func.avg(some.c.size)))
    return float(mean) if mean is not None else None
