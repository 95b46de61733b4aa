"""Which of our tables PostgreSQL has no statistics of, so that it plans queries by guessing."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

LARGE_BYTES = 8 * 1024 * 1024
"""A table below this size is read whole in milliseconds, whatever the plan."""


def unanalysed_tables(session: Session, large_bytes: int = LARGE_BYTES) -> Sequence[str]:
    """The tables of at least `large_bytes` that were never analysed, or only while empty."""
    return session.scalars(
        text(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace ="
            " 'public'::regnamespace AND reltuples <= 0 AND pg_relation_size(oid) >= :bytes"
            " ORDER BY relname"
        ),
        {"bytes": large_bytes},
    ).all()
