"""Removes prepared inputs: those of drafts after their days, and those that no draft was made of.

No row names a prepared input for long, and a draft is made without it by preparing again. So the
file alone is removed.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.orm import Session

from records.blobs import Blobs
from records.database.retention_tables import RetentionWalk
from records.database.session import interval, unit_of_work
from records.database.tables import Draft, DraftRequest
from records.retention.rules import Kept, days_of
from records.retention.walks import claim_walk
from records.settings import Settings, settings
from records.states import RequestState, RetentionWalkRule

DRAFTS_AT_ONCE = 500
"""Drafts whose prepared inputs one step removes."""

STRAY_DAYS = 30.0
"""So many days more than that of a draft, a prepared input is kept of which no draft was made."""

STRAY_ROUND_SECONDS = 24 * 3600.0

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class RemovedFiles:
    """How many files were removed, or would be, and their bytes."""

    files: int = 0
    size: int = 0

    def __add__(self, other: RemovedFiles) -> RemovedFiles:
        return RemovedFiles(self.files + other.files, self.size + other.size)


def list_drafts(
    session: Session, days: float, after: tuple[dt.datetime, uuid.UUID] | None, limit: int
) -> list[tuple[dt.datetime, uuid.UUID, str]]:
    """Drafts that are older than so many days, oldest first: time, id and digest of the inputs."""
    query = (
        select(Draft.created_at, Draft.id, Draft.inputs_digest)
        .where(Draft.created_at < func.now() - interval(days * _DAY))
        .order_by(Draft.created_at, Draft.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(Draft.created_at, Draft.id) > tuple_(*after))
    return [(at, id_, digest) for at, id_, digest in session.execute(query)]


def still_needed(session: Session, digests: Collection[str]) -> set[str]:
    """Those of these digests whose prepared input a request is still to be drafted from."""
    return {
        digest
        for digest in session.scalars(
            select(DraftRequest.inputs_digest).where(
                DraftRequest.state == RequestState.PREPARED,
                DraftRequest.inputs_digest.in_(digests),
            )
        )
        if digest is not None
    }


def take_step(blobs: Blobs) -> bool:
    """Remove the prepared inputs of some drafts; returns whether there are more.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next step goes on.
    """
    days = days_of(Kept.PREPARED)
    if days is None:
        return False
    with unit_of_work() as session:
        walk = claim_walk(session, RetentionWalkRule.PREPARED, 0.0)
        if walk is None:
            return False
        after = None
        if walk.position is not None:
            at = dt.datetime.fromisoformat(walk.position["created_at"])
            after = (at, uuid.UUID(walk.position["id"]))
        drafts = list_drafts(session, days, after, DRAFTS_AT_ONCE)
        needed = still_needed(session, {digest for _, _, digest in drafts})
        if drafts:
            # The walk never begins anew: drafts are only ever added behind it.
            at, id_, _ = drafts[-1]
            walk.position = {"created_at": at.isoformat(), "id": str(id_)}
    digests = {digest for _, _, digest in drafts} - needed
    _count(RetentionWalkRule.PREPARED, _remove(blobs, digests))
    return len(drafts) == DRAFTS_AT_ONCE


def take_stray_step(blobs: Blobs, *, begin: bool = False) -> bool:
    """Remove from one folder the prepared inputs of which no draft was made.

    Returns:
        Whether there are more folders.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next step goes on.
    """
    days = days_of(Kept.PREPARED)
    if days is None:
        return False
    with unit_of_work() as session:
        rule = RetentionWalkRule.STRAY_PREPARED
        walk = claim_walk(session, rule, STRAY_ROUND_SECONDS, begin=begin)
        if walk is None:
            return False
        after = walk.position["folder"] if walk.position else ""
        folder = next((name for name in blobs.prepared_folders() if name > after), None)
        if folder is None:
            walk.position, walk.ended_at = None, func.clock_timestamp()
            return False
        walk.position = {"folder": folder}
        digests = _find_stray(session, blobs, folder, days)
    _count(rule, _remove(blobs, digests))
    return True


def foresee(blobs: Blobs, config: Settings | None = None) -> RemovedFiles:
    """What the two walks would remove now; nothing is changed.

    Raises:
        DatabaseDown: PostgreSQL does not answer.
    """
    config = config or settings()
    days = days_of(Kept.PREPARED, config=config)
    found = RemovedFiles()
    if days is None:
        return found
    counted: set[str] = set()
    after = None
    while True:
        with unit_of_work() as session:
            drafts = list_drafts(session, days, after, DRAFTS_AT_ONCE)
            digests = {digest for _, _, digest in drafts} - counted
            digests -= still_needed(session, digests)
        found += _measure(blobs, digests)
        counted |= digests
        if len(drafts) < DRAFTS_AT_ONCE:
            break
        after = drafts[-1][:2]
    for folder in blobs.prepared_folders():
        with unit_of_work() as session:
            digests = _find_stray(session, blobs, folder, days) - counted
        found += _measure(blobs, digests)
    return found


def _find_stray(session: Session, blobs: Blobs, folder: str, days: float) -> set[str]:
    digests = set(blobs.old_prepared(folder, (days + STRAY_DAYS) * 24))
    return digests - still_needed(session, digests) if digests else digests


def _remove(blobs: Blobs, digests: Collection[str]) -> RemovedFiles:
    sizes = [blobs.remove_prepared(digest) for digest in digests]
    return RemovedFiles(sum(size > 0 for size in sizes), sum(sizes))


def _measure(blobs: Blobs, digests: Collection[str]) -> RemovedFiles:
    sizes = [blobs.prepared_size(digest) for digest in digests]
    return RemovedFiles(sum(size > 0 for size in sizes), sum(sizes))


def _count(rule: RetentionWalkRule, removed: RemovedFiles) -> None:
    if removed.files:
        with unit_of_work() as session:
            session.execute(
                update(RetentionWalk)
                .where(RetentionWalk.rule == rule)
                .values(
                    removed=RetentionWalk.removed + removed.files,
                    removed_bytes=RetentionWalk.removed_bytes + removed.size,
                )
            )
