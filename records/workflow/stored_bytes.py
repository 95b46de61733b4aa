"""Films whose files retention removed: which they are, and the queue of files to be removed."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.retention_tables import BlobRemoval
from records.database.tables import Instance
from records.states import InstanceState


def lacks_bytes(session: Session, study_id: uuid.UUID) -> bool:
    """Whether the file of a film that may be drafted from was removed by retention."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    Instance.study_id == study_id,
                    Instance.state == InstanceState.KEPT,
                    Instance.bytes_removed_at.is_not(None),
                )
            )
        )
    )


def describe_removed(films: Sequence[Instance]) -> str | None:
    """Why a study cannot be prepared, for a person; None where all its films have their files.

    Args:
        films: the films that it would be prepared from.
    """
    times: list[dt.datetime] = [
        film.bytes_removed_at for film in films if film.bytes_removed_at is not None
    ]
    if not times:
        return None
    number = (
        f"The files of {len(times)} of {len(films)} films were" if len(films) > 1 else
        "The file of its film was"
    )  # fmt: skip
    return (
        f"{number} removed on {max(times):%Y-%m-%d}, as the rules of retention say. Fetch the "
        "study again from the PACS, as a campaign does, or send it again."
    )


def queue_removals(session: Session, keys: Iterable[str]) -> None:
    """Queue files that no row will need after the caller's commit; they are removed after it."""
    rows = [{"key": key} for key in sorted(set(keys))]
    if rows:
        session.execute(insert(BlobRemoval).on_conflict_do_nothing(), rows)


def list_removals(session: Session, limit: int) -> Sequence[str]:
    """Keys of files that are to be removed, oldest first."""
    return session.scalars(
        select(BlobRemoval.key).order_by(BlobRemoval.queued_at, BlobRemoval.key).limit(limit)
    ).all()


def forget_removals(session: Session, keys: Sequence[str]) -> None:
    """Take files that are gone off the queue."""
    session.execute(delete(BlobRemoval).where(BlobRemoval.key.in_(keys)))


def queued_removals(session: Session, keys: Sequence[str]) -> set[str]:
    """Those of these keys that are to be removed."""
    return set(session.scalars(select(BlobRemoval.key).where(BlobRemoval.key.in_(keys))))
