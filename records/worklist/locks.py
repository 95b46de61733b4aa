"""Who reads a study now: soft locks, which tell others and stop nobody.

The study's page renews a lock while it is open and visible. A lock that is not renewed ends by
itself NIGHTDRAFT_STUDY_LOCK_SECONDS after its last renewal, on the database's clock. What keeps two
readers from overwriting each other are the versions of the text (`records.reviews.working_texts`).
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ARRAY, Uuid, any_, case, delete, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.session import interval
from records.database.worklist_tables import StudyLock
from records.settings import settings

_ENDED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Lock:
    """Who reads a study.

    Attributes:
        name: of the reader, as pages show it.
        since: when he or she opened it.
        expires_at: when the lock ends, if it is not renewed.
    """

    study_id: uuid.UUID
    account_id: uuid.UUID
    name: str
    since: dt.datetime
    expires_at: dt.datetime


def take(session: Session, study_id: uuid.UUID, account_id: uuid.UUID, name: str) -> Lock:
    """Take or renew the lock of a study, unless somebody else has it.

    Returns:
        The lock that the study has now: it may be another reader's.
    """
    now = func.clock_timestamp()
    until = now + interval(settings().study_lock_seconds)
    new = insert(StudyLock).values(
        study_id=study_id, account_id=account_id, name=name, since=now, expires_at=until
    )
    is_ended = StudyLock.expires_at <= now
    # A reader who comes back after the end begins anew.
    session.execute(
        new.on_conflict_do_update(
            index_elements=["study_id"],
            set_={
                "account_id": account_id,
                "name": name,
                "since": case((is_ended, now), else_=StudyLock.since),
                "expires_at": until,
            },
            where=or_(StudyLock.account_id == account_id, is_ended),
        )
    )
    row = session.scalars(
        select(StudyLock)
        .where(StudyLock.study_id == study_id)
        .execution_options(populate_existing=True)
    ).one()
    return _lock(row)


def release(session: Session, study_id: uuid.UUID, account_id: uuid.UUID) -> bool:
    """End a reader's own lock; that of somebody else stays.

    Returns:
        Whether there was one.
    """
    ended = session.scalar(
        delete(StudyLock)
        .where(StudyLock.study_id == study_id, StudyLock.account_id == account_id)
        .returning(StudyLock.study_id)
    )
    return ended is not None


def find(session: Session, study_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Lock]:
    """The locks of these studies that have not ended, by study."""
    if not study_ids:
        return {}
    rows = session.scalars(
        select(StudyLock)
        .where(
            StudyLock.study_id == any_(literal(sorted(study_ids), ARRAY(Uuid))),
            StudyLock.expires_at > func.clock_timestamp(),
        )
        .execution_options(populate_existing=True)
    )
    return {row.study_id: _lock(row) for row in rows}


def forget_ended(session: Session) -> int:
    """Delete locks that ended; a hundred at most.

    Returns:
        How many they were.
    """
    ended = session.scalars(
        select(StudyLock.study_id)
        # now() stands still in a transaction, so that the index can be asked for it.
        .where(StudyLock.expires_at < func.now())
        .order_by(StudyLock.expires_at)
        .limit(_ENDED_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    if ended:
        session.execute(
            delete(StudyLock)
            .where(StudyLock.study_id == any_(literal(ended, ARRAY(Uuid))))
            .execution_options(synchronize_session=False)
        )
    return len(ended)


def _lock(row: StudyLock) -> Lock:
    return Lock(row.study_id, row.account_id, row.name, row.since, row.expires_at)
