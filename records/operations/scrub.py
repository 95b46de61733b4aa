"""Reads stored instances again, a share each night, and compares them with what was received.

A disk loses bytes without a word. Whoever reads a film before it is drafted from compares it, too;
but a film that nobody reads for a year must be known to be damaged while its sender still has it.

The position is a row, so a scrub that is killed goes on where it was. Several processes may scrub
at once: each batch is claimed by the one that moves the position.
"""

from __future__ import annotations

import datetime as dt
import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.alarm_kinds import AlarmKind
from records.blobs import Blobs
from records.database.operation_tables import BlobScrub
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.operations import alarms
from records.states import Damage
from records.workflow import damage

ALARM_PART = "films"
"""The part of the alarm that is open while a stored file is damaged."""

_BATCH = 20
_LEAST_SHARE = 100
"""Instances that a night reads at least, so that a small site is read through each night."""


@dataclass(frozen=True, slots=True)
class ScrubState:
    """What is known of the stored files.

    Attributes:
        damaged: instances whose file is gone or changed.
        round_read: instances that this round has read.
        round_ended_at: when every instance had been read last; None where that never was.
        read_at: when an instance was last read by the scrub.
    """

    damaged: int
    round_read: int
    round_ended_at: dt.datetime | None
    read_at: dt.datetime | None


def read_scrub_state(session: Session) -> ScrubState:
    """How far the scrub is, and how many stored files are damaged."""
    row = session.get(BlobScrub, 1) or BlobScrub(round_read=0)
    return ScrubState(
        damage.count_damaged(session), row.round_read, row.round_ended_at, row.read_at
    )


def scrub_night(blobs: Blobs, night: dt.date, days: float, pause: Callable[[float], bool]) -> int:
    """Read this night's share: so many that each instance is read once within `days`.

    Args:
        blobs: the blob folder.
        night: the night, by the date of its beginning.
        days: days in which everything is read once.
        pause: called after each file with the seconds that reading it took; it may wait, so that
            the disk is left to others, and returns true where the night is over.

    Returns:
        How many instances were read.
    """
    with unit_of_work() as session:
        session.execute(insert(BlobScrub).values(id=1).on_conflict_do_nothing())
        session.execute(
            update(BlobScrub)
            .where(BlobScrub.night.is_distinct_from(night))
            .values(night=night, night_read=0)
        )
        share = max(_LEAST_SHARE, math.ceil(_count_about(session) / days))
    count = 0
    while True:
        with unit_of_work() as session:
            read = session.scalars(select(BlobScrub.night_read)).one()
            batch = _claim_batch(session, share - read)
        if not batch:
            return count
        for instance in batch:
            count += 1
            started = time.monotonic()
            check(blobs, instance)
            if pause(time.monotonic() - started):
                return count


def scrub_all(blobs: Blobs, progress: Callable[[int], None] = lambda _: None) -> int:
    """Read every instance now, whatever the position of the nightly scrub; returns how many."""
    recheck_damaged(blobs)
    count = 0
    last = None
    while True:
        with unit_of_work() as session:
            batch = _list_stored(session, last, _BATCH)
        if not batch:
            return count
        for instance in batch:
            check(blobs, instance)
            count += 1
        progress(count)
        last = batch[-1].id


def check(blobs: Blobs, instance: Instance) -> Damage | None:
    """Compare one instance's file with what was received; note what is wrong, or right again.

    Returns:
        What is wrong; None where the file is whole.

    Raises:
        OSError: the disk cannot be read; it says nothing of the file.
    """
    harm = blobs.find_damage(instance.blob, instance.size, instance.sha256)
    if harm is None and instance.damage is None:
        return None
    with unit_of_work() as session:
        if harm is None:
            damage.mark_whole(session, instance)
        else:
            damage.mark_damaged(session, instance, harm)
        settle_alarm(session)
    return harm


def recheck_damaged(blobs: Blobs) -> None:
    """Look at the damaged files again: they may have been restored from a backup."""
    with unit_of_work() as session:
        damaged = damage.list_damaged(session)
    for instance in damaged:
        check(blobs, instance)


def settle_alarm(session: Session) -> None:
    """Open the alarm where a stored file is damaged, close it where none is."""
    session.flush()
    if damage.count_damaged(session):
        alarms.raise_alarm(
            session,
            AlarmKind.FILES_DAMAGED,
            ALARM_PART,
            "Stored files are gone or changed on disk. Their studies are not drafted from them.",
        )
    else:
        alarms.close_alarms(session, ALARM_PART)


def _claim_batch(session: Session, left: int) -> Sequence[Instance]:
    """The next instances of the round; none where it ends, or where nothing of the share is left.

    A process that is killed leaves the rest of its batch to the next round.
    """
    if left <= 0:
        return []
    # The lock orders processes that scrub at the same time; the position then is past the batch.
    row = session.scalars(select(BlobScrub).with_for_update()).one()
    batch = _list_stored(session, row.position, min(_BATCH, left))
    if batch:
        row.position = batch[-1].id
        row.round_read += len(batch)
        row.night_read += len(batch)
        row.read_at = func.clock_timestamp()
    else:
        # The next night begins a new round.
        row.night_read += left
        if row.round_read:
            row.round_ended_at = func.clock_timestamp()
        row.position, row.round_read = None, 0
    return batch


def _list_stored(session: Session, last: uuid.UUID | None, limit: int) -> Sequence[Instance]:
    """The next instances whose file is here, by arrival.

    Args:
        session: the caller's transaction.
        last: the one after which they begin; None, and one that was erased, begin at the first.
        limit: how many, at most.
    """
    query = (
        select(Instance)
        .where(Instance.bytes_removed_at.is_(None))
        .order_by(Instance.received_at, Instance.id)
        .limit(limit)
    )
    if last is not None and (before := session.get(Instance, last)) is not None:
        place = tuple_(Instance.received_at, Instance.id)
        query = query.where(place > tuple_(before.received_at, before.id))
    return session.scalars(query).all()


def _count_about(session: Session) -> int:
    """About how many files are here; counting millions would read them all."""
    known = session.scalar(
        text("SELECT reltuples::bigint FROM pg_class WHERE oid = 'ix_instances_stored'::regclass")
    )
    return max(0, known or 0)
