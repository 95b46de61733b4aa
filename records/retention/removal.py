"""Removes films' files: first in rows, then on disk.

A walk over what is on disk, by arrival, gives the studies that a rule may be about. Whether a study
may lose its files is decided (`film_verdicts`) under the study's lock. The keys of its files are
queued in the same transaction and removed after it, so a process that dies between the two leaves
nothing behind.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import exists, func, select, tuple_, update
from sqlalchemy.orm import Session

from records.blobs import Blobs
from records.database.draft_tables import DraftRequest
from records.database.retention_tables import RetentionWalk
from records.database.session import database_time, interval, unit_of_work
from records.database.tables import Instance, Study
from records.failpoints import failpoint
from records.operations import scrub
from records.retention.film_verdicts import Due, KeptBecause, judge, read_facts
from records.retention.rules import CountedFrom
from records.retention.site_days import read_site_days
from records.retention.walks import claim_walk
from records.states import (
    EventKind,
    RetentionWalkRule,
)
from records.workflow import events, stored_bytes

ROUND_SECONDS = 6 * 3600.0
"""A round over all that is on disk begins at most so often."""

INSTANCES_AT_ONCE = 500
"""Instances that one step of the walk looks at."""

FILES_AT_ONCE = 500
"""Queued files that are removed before their rows are deleted."""

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed of one study, or would be."""

    files: int
    size: int


def list_stored(
    session: Session, days: float, after: tuple[dt.datetime, uuid.UUID] | None, limit: int
) -> Sequence[tuple[dt.datetime, uuid.UUID, uuid.UUID]]:
    """Instances whose file is here and that came so many days ago, by arrival.

    Args:
        session: the caller's transaction.
        days: how long ago, at least.
        after: arrival and id of the instance after which they begin.
        limit: how many, at most.

    Returns:
        Arrival, id and study of each.
    """
    query = (
        select(Instance.received_at, Instance.id, Instance.study_id)
        .where(
            Instance.bytes_removed_at.is_(None),
            Instance.received_at < func.now() - interval(days * _DAY),
        )
        .order_by(Instance.received_at, Instance.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(Instance.received_at, Instance.id) > tuple_(*after))
    return [(at, id_, study_id) for at, id_, study_id in session.execute(query)]


def remove_bytes(session: Session, study_id: uuid.UUID) -> Removed | KeptBecause | None:
    """Note that the files of a study are removed, and queue them, where a rule says so.

    The study is locked first, as everybody does who changes one. Neither it nor its requests are
    waited for: the next round comes to it again.

    Returns:
        What was removed; why nothing was; None where the study has no file here.
    """
    study = session.scalar(
        select(Study).where(Study.id == study_id).with_for_update(key_share=True, skip_locked=True)
    )
    if study is None:
        return KeptBecause.LOCKED
    # A request that is being opened again just now is locked: `retry` does not lock the study.
    of_study = select(DraftRequest.id).where(DraftRequest.study_id == study_id)
    free = session.scalars(of_study.with_for_update(read=True, skip_locked=True)).all()
    if len(free) != len(session.scalars(of_study).all()):
        return KeptBecause.LOCKED
    facts = read_facts(session, [study_id])
    if not facts:
        return None
    verdict = judge(facts[0], database_time(session), read_site_days(session))
    if isinstance(verdict, KeptBecause):
        return verdict
    was_damaged = exists().where(Instance.study_id == study_id, Instance.damage.is_not(None))
    is_alarming = bool(session.scalar(select(was_damaged)))
    gone = session.execute(
        update(Instance)
        .where(Instance.study_id == study_id, Instance.bytes_removed_at.is_(None))
        .values(bytes_removed_at=func.clock_timestamp(), damage=None)
        .returning(Instance.blob, Instance.size)
        .execution_options(synchronize_session=False)
    ).all()
    stored_bytes.queue_removals(session, [row.blob for row in gone])
    number = "the file of 1 object" if len(gone) == 1 else f"the files of {len(gone)} objects"
    events.append_event(
        session,
        study_id,
        EventKind.BYTES_REMOVED,
        f"{number}, {verdict.days:g} days after the {verdict.counted_from.lower()}",
        reason=verdict.counted_from,
    )
    if is_alarming:
        scrub.settle_alarm(session)
    return Removed(len(gone), sum(row.size for row in gone))


def take_step(blobs: Blobs, *, begin: bool = False) -> bool:
    """Walk over some instances, and remove the files of the studies that a rule is about.

    Args:
        blobs: the blob folder.
        begin: begin a round even where the last one ended lately.

    Returns:
        Whether the round goes on.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next step goes on.
    """
    with unit_of_work() as session:
        site_days = read_site_days(session)
        days = site_days.least_of_films()
        if days is None:
            return False
        walk = claim_walk(session, RetentionWalkRule.INSTANCES, ROUND_SECONDS, begin=begin)
        if walk is None:
            return False
        stored = list_stored(session, days, _position(walk), INSTANCES_AT_ONCE)
        _move(walk, stored)
        study_ids = list(dict.fromkeys(study_id for _, _, study_id in stored))
        now = database_time(session)
        due = [
            facts.study_id
            for facts in read_facts(session, study_ids)
            if isinstance(judge(facts, now, site_days), Due)
        ]
    for study_id in due:
        # One transaction each: nobody holds the lock of one study and waits for another one's.
        with unit_of_work() as session:
            removed = remove_bytes(session, study_id)
            if isinstance(removed, Removed):
                _count(session, removed)
        failpoint("after-removal-rows")
    remove_files(blobs)
    return len(stored) == INSTANCES_AT_ONCE


def remove_files(blobs: Blobs) -> int:
    """Remove the files that are queued; returns how many keys were taken off the queue.

    Raises:
        OSError: the disk does not let a file go; it stays queued.
    """
    count = 0
    while True:
        with unit_of_work() as session:
            keys = stored_bytes.list_removals(session, FILES_AT_ONCE)
        if not keys:
            return count
        for key in keys:
            blobs.remove(key)
            failpoint("after-removing-a-file")
        with unit_of_work() as session:
            stored_bytes.forget_removals(session, keys)
        count += len(keys)


@dataclass(slots=True)
class Outlook:
    """What a round would remove, and why other files stay.

    Attributes:
        due: studies that would lose their files, by rule and its days.
        files: how many files that are.
        size: their bytes.
        kept: studies that a rule might be about by their age, and that keep their files.
    """

    due: dict[Due, int] = field(default_factory=dict)
    files: int = 0
    size: int = 0
    kept: dict[KeptBecause, int] = field(default_factory=dict)

    @property
    def studies(self) -> dict[CountedFrom, int]:
        """Studies that would lose their files, by what the rule counts from."""
        found: dict[CountedFrom, int] = {}
        for due, number in self.due.items():
            found[due.counted_from] = found.get(due.counted_from, 0) + number
        return found


def foresee(site_id: uuid.UUID | None = None) -> Outlook:
    """Walk over everything, and change nothing.

    Args:
        site_id: count studies of this site alone; None counts those of all.

    Raises:
        DatabaseDown: PostgreSQL does not answer.
    """
    outlook = Outlook()
    with unit_of_work() as session:
        site_days = read_site_days(session)
    days = site_days.least_of_films()
    if days is None:
        return outlook
    after = None
    seen: set[uuid.UUID] = set()
    while True:
        with unit_of_work() as session:
            stored = list_stored(session, days, after, INSTANCES_AT_ONCE)
            new = [study_id for _, _, study_id in stored if study_id not in seen]
            now = database_time(session)
            due = []
            for facts in read_facts(session, list(dict.fromkeys(new))):
                seen.add(facts.study_id)
                if site_id is not None and facts.site_id != site_id:
                    continue
                verdict = judge(facts, now, site_days)
                if isinstance(verdict, Due):
                    due.append(facts.study_id)
                    outlook.due[verdict] = outlook.due.get(verdict, 0) + 1
                else:
                    outlook.kept[verdict] = outlook.kept.get(verdict, 0) + 1
            files, size = session.execute(
                select(func.count(), func.coalesce(func.sum(Instance.size), 0)).where(
                    Instance.study_id.in_(due), Instance.bytes_removed_at.is_(None)
                )
            ).one()
            outlook.files += files
            outlook.size += int(size)
        if len(stored) < INSTANCES_AT_ONCE:
            return outlook
        after = stored[-1][:2]


def _position(walk: RetentionWalk) -> tuple[dt.datetime, uuid.UUID] | None:
    if walk.position is None:
        return None
    return (
        dt.datetime.fromisoformat(walk.position["received_at"]),
        uuid.UUID(walk.position["id"]),
    )


def _move(walk: RetentionWalk, stored: Sequence[tuple[dt.datetime, uuid.UUID, uuid.UUID]]) -> None:
    """Move the walk past these instances; the round ends where there are no more."""
    if len(stored) < INSTANCES_AT_ONCE:
        walk.position, walk.ended_at = None, func.clock_timestamp()
    else:
        at, id_, _ = stored[-1]
        walk.position = {"received_at": at.isoformat(), "id": str(id_)}


def _count(session: Session, removed: Removed) -> None:
    session.execute(
        update(RetentionWalk)
        .where(RetentionWalk.rule == RetentionWalkRule.INSTANCES)
        .values(
            removed=RetentionWalk.removed + removed.files,
            removed_bytes=RetentionWalk.removed_bytes + removed.size,
        )
    )
