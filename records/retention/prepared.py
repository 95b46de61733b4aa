"""Removes prepared inputs: those of drafts after their days, and those that no draft was made of.

No row names a prepared input for long, and a draft is made without it by preparing again. So the
file alone is removed.

Drafts are walked over once, oldest first. A site with days of its own has a place of its own in the
walk, and begins at the place of all others: what is behind that is removed already.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.orm import Session

from records.blobs import Blobs
from records.database.draft_tables import Draft, DraftRequest
from records.database.retention_tables import RetentionWalk
from records.database.session import interval, unit_of_work
from records.database.tables import Study
from records.retention.site_days import SiteDays, read_site_days
from records.retention.walks import claim_walk
from records.states import RequestState, RetentionWalkRule, SiteRule

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


@dataclass(frozen=True, slots=True)
class OldDraft:
    """A draft whose prepared input may go."""

    created_at: dt.datetime
    id: uuid.UUID
    inputs_digest: str
    site_id: uuid.UUID


def list_drafts(
    session: Session, days: float, after: tuple[dt.datetime, uuid.UUID] | None, limit: int
) -> list[OldDraft]:
    """Drafts of all sites that are older than so many days, oldest first."""
    query = (
        select(Draft.created_at, Draft.id, Draft.inputs_digest, Study.site_id)
        .join(Study, Study.id == Draft.study_id)
        .where(Draft.created_at < func.now() - interval(days * _DAY))
        .order_by(Draft.created_at, Draft.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(Draft.created_at, Draft.id) > tuple_(*after))
    return [OldDraft(*row) for row in session.execute(query)]


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
    digests: set[str] = set()
    has_more = False
    with unit_of_work() as session:
        site_days = read_site_days(session)
        walk = claim_walk(session, RetentionWalkRule.PREPARED, 0.0)
        if walk is None:
            return False
        places = _read_places(walk, site_days)
        for site_id, after in places.items():
            days = site_days.find(SiteRule.PREPARED, site_id)
            if days is None:
                continue
            drafts = list_drafts(session, days, after, DRAFTS_AT_ONCE)
            digests |= _of_site(drafts, site_id, site_days)
            has_more = has_more or len(drafts) == DRAFTS_AT_ONCE
            if drafts:
                # The walk never begins anew: drafts are only ever added behind it.
                places[site_id] = (drafts[-1].created_at, drafts[-1].id)
        digests -= still_needed(session, digests)
        _write_places(walk, places)
    _count(RetentionWalkRule.PREPARED, _remove(blobs, digests))
    return has_more


_Place = tuple[dt.datetime, uuid.UUID] | None


def _read_places(walk: RetentionWalk, site_days: SiteDays) -> dict[uuid.UUID | None, _Place]:
    """How far the walk has come, for all sites (None) and for each with days of its own."""
    position = walk.position or {}
    of_all = _as_place(position)
    of_sites = position.get("sites", {})
    own = site_days.sites_with(SiteRule.PREPARED)
    for place in (_as_place(of_sites[key]) for key in of_sites.keys() - set(map(str, own))):
        # A site has the days of all others again: what was kept for it is walked over once more.
        of_all = None if place is None or of_all is None else min(of_all, place)
    places: dict[uuid.UUID | None, _Place] = {None: of_all}
    for site_id in own:
        known = of_sites.get(str(site_id))
        places[site_id] = of_all if known is None else _as_place(known)
    return places


def _write_places(walk: RetentionWalk, places: Mapping[uuid.UUID | None, _Place]) -> None:
    position = _as_json(places[None])
    of_sites = {str(site_id): _as_json(place) for site_id, place in places.items() if site_id}
    if of_sites:
        position["sites"] = of_sites
    walk.position = position or None


def _as_place(position: Mapping[str, Any]) -> _Place:
    if "created_at" not in position:
        return None
    return dt.datetime.fromisoformat(position["created_at"]), uuid.UUID(position["id"])


def _as_json(place: _Place) -> dict[str, Any]:
    return {} if place is None else {"created_at": place[0].isoformat(), "id": str(place[1])}


def _of_site(
    drafts: Sequence[OldDraft], site_id: uuid.UUID | None, site_days: SiteDays
) -> set[str]:
    """The digests of drafts that go by the days of a site, or of all sites without their own."""
    with_own = set(site_days.sites_with(SiteRule.PREPARED))
    return {
        draft.inputs_digest
        for draft in drafts
        if (draft.site_id == site_id if site_id else draft.site_id not in with_own)
    }


def take_stray_step(blobs: Blobs, *, begin: bool = False) -> bool:
    """Remove from one folder the prepared inputs of which no draft was made.

    Returns:
        Whether there are more folders.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next step goes on.
    """
    with unit_of_work() as session:
        # A file does not say of which site it is, so the site that keeps them for longest counts.
        days = read_site_days(session).greatest(SiteRule.PREPARED)
        if days is None:
            return False
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


def foresee(blobs: Blobs, site_id: uuid.UUID | None = None) -> RemovedFiles:
    """What the two walks would remove now; nothing is changed.

    Args:
        blobs: the blob folder.
        site_id: count the drafts of this site alone, and no file without a draft; None counts all.

    Raises:
        DatabaseDown: PostgreSQL does not answer.
    """
    found = RemovedFiles()
    counted: set[str] = set()
    with unit_of_work() as session:
        site_days = read_site_days(session)
    of_sites = site_days.sites_with(SiteRule.PREPARED)
    for group in (None, *of_sites):
        days = site_days.find(SiteRule.PREPARED, group)
        after = None
        while days is not None:
            with unit_of_work() as session:
                drafts = list_drafts(session, days, after, DRAFTS_AT_ONCE)
                wanted = [one for one in drafts if site_id in (None, one.site_id)]
                digests = _of_site(wanted, group, site_days) - counted
                digests -= still_needed(session, digests)
            found += _measure(blobs, digests)
            counted |= digests
            if len(drafts) < DRAFTS_AT_ONCE:
                break
            after = (drafts[-1].created_at, drafts[-1].id)
    longest = site_days.greatest(SiteRule.PREPARED)
    if longest is None or site_id is not None:
        return found
    for folder in blobs.prepared_folders():
        with unit_of_work() as session:
            digests = _find_stray(session, blobs, folder, longest) - counted
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
