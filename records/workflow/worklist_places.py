"""Where studies stand in a list of the worklist, and how a list is read from a mark on."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import itertools
import uuid
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Uuid,
    and_,
    any_,
    case,
    false,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session

from records.database.draft_tables import LiveLease
from records.database.tables import Study, WorklistEntry
from records.errors import NotAllowed
from records.states import Priority, VisibleState
from records.workflow.search import Matches
from records.workflow.site_scope import is_of_site, is_visible, visible_sites
from records.workflow.worklist_filters import ListOrder, WorklistFilter
from records.workflow.worklist_rows import AT_WORK

_Listed: TypeAlias = "Select[uuid.UUID, int, dt.datetime, uuid.UUID]"
"""id, priority, arrived_at, site_id"""

_Ranked: TypeAlias = "Select[uuid.UUID, dt.datetime, int]"  # id, arrived_at, rank

OLD = len(Priority)
"""The rank of studies that are no longer listed by their priority."""

LOOKED_AT = 2000
"""Studies that are looked at for one page, where no index answers what was chosen."""

_LOOKED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class PageMark:
    """After which study a page begins.

    Attributes:
        recent: since when studies are listed by priority, on all pages of this list.
        rank: the rank of the last study before the page.
        at: the arrival of that study.
        id: its id.
    """

    recent: dt.datetime
    rank: int
    at: dt.datetime
    id: uuid.UUID

    def __str__(self) -> str:
        """The mark as addresses carry it."""
        text = f"{self.recent.isoformat()} {self.rank} {self.at.isoformat()} {self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode()

    @classmethod
    def parse(cls, mark: str) -> PageMark:
        """Read a mark that an address carried.

        Raises:
            NotAllowed: it is none.
        """
        try:
            recent, rank, at, id_ = base64.urlsafe_b64decode(mark.encode()).decode().split(" ")
            times = dt.datetime.fromisoformat(recent), dt.datetime.fromisoformat(at)
            if None in (times[0].tzinfo, times[1].tzinfo) or not 0 <= int(rank) <= OLD:
                raise ValueError
            return cls(times[0], int(rank), times[1], uuid.UUID(id_))
        except (ValueError, binascii.Error):
            raise NotAllowed(
                "this is not the mark of a page: take `next` or `previous` of one"
            ) from None


@dataclass(frozen=True, slots=True)
class Walk:
    """A list and the direction in which it is read. since: of arrivals. matches: of the search."""

    recent: dt.datetime
    order: ListOrder
    is_backward: bool
    state: VisibleState | None
    since: dt.datetime | None
    chosen: WorklistFilter
    matches: Matches | None

    @property
    def is_ranked(self) -> bool:
        """Whether studies of the last hours are listed by their priority."""
        return self.order is ListOrder.PRIORITY

    @property
    def is_ascending(self) -> bool:
        """Whether the oldest arrival is read first; ranks are then read from the last one."""
        return (self.order is ListOrder.OLDEST) != self.is_backward


def look(
    session: Session, walk: Walk, mark: PageMark | None, limit: int
) -> tuple[list[PageMark], int, PageMark | None]:
    """The places of the next studies of a list.

    Returns:
        The places; how many studies were looked at, 0 where indexes answered all; and the last
        place that was looked at, where the list goes on behind it and too few were found.
    """
    conditions = walk.chosen.conditions()
    if not conditions:
        return _next_places(session, walk, mark, limit), 0, None
    found: list[PageMark] = []
    looked_at = 0
    while looked_at < LOOKED_AT:
        places = _next_places(session, walk, mark, _LOOKED_AT_ONCE)
        looked_at += len(places)
        ids = [place.id for place in places]
        fitting = set(
            session.scalars(
                select(Study.id).where(Study.id == any_(literal(ids, ARRAY(Uuid))), *conditions)
            )
        )
        found += [place for place in places if place.id in fitting]
        if len(found) >= limit:
            return found[:limit], looked_at, None
        if len(places) < _LOOKED_AT_ONCE:
            return found, looked_at, None
        mark = places[-1]
    return found, looked_at, mark


def _next_places(session: Session, walk: Walk, mark: PageMark | None, limit: int) -> list[PageMark]:
    """The next places of a list, by the indexes of the lists alone."""
    listed = _listed(walk.state)
    arrived_at = listed.selected_columns.arrived_at
    if walk.matches is not None:
        # One array, and not a thousand parameters.
        ids = literal(walk.matches.study_ids, ARRAY(Uuid))
        listed = listed.where(listed.selected_columns.id == any_(ids))
    if walk.since is not None:
        listed = listed.where(arrived_at >= walk.since)
    if walk.chosen.until is not None:
        listed = listed.where(arrived_at < walk.chosen.until)
    if walk.matches is None and walk.state not in AT_WORK.values() and visible_sites() != ():
        ranked = _by_index(listed, walk, mark, limit)
    else:  # a few hundred rows at most
        site_id = listed.selected_columns.site_id
        is_shown = is_of_site(site_id) if walk.matches is None else is_visible(site_id)
        listed = listed.where(is_shown)
        if walk.chosen.site_id is not None:
            listed = listed.where(site_id == walk.chosen.site_id)
        if walk.chosen.priority is not None:
            listed = listed.where(listed.selected_columns.priority == walk.chosen.priority)
        ranked = _ranked(listed, walk)
    shown = _first_rows(ranked, walk, mark, limit)
    return [
        PageMark(walk.recent, row.rank, row.arrived_at, row.id) for row in session.execute(shown)
    ]


def _ranked(listed: _Listed, walk: Walk) -> _Ranked:
    """A list with the rank of each study: its priority where it is recent, else OLD."""
    columns = listed.selected_columns
    rank: ColumnElement[int] = literal(0)
    if walk.is_ranked:
        rank = case((columns.arrived_at >= walk.recent, columns.priority), else_=OLD)
    return listed.with_only_columns(columns.id, columns.arrived_at, rank.label("rank"))


def _by_index(listed: _Listed, walk: Walk, mark: PageMark | None, limit: int) -> _Ranked:
    """The first rows after the mark of each priority, recent and old: each reads its index.

    They are as many as may be shown. No more rows of a list are read, however long it is.
    """
    id_, priority, arrived_at, site_id = listed.selected_columns
    sites = visible_sites()
    if walk.chosen.site_id is not None:
        sites = tuple({walk.chosen.site_id} & set(sites or (walk.chosen.site_id,)))
    # Of each site a walk of its own: one over all sites would step over the rows of the others.
    lists = [listed] if sites is None else [listed.where(site_id == site) for site in sites]
    urgencies = list(Priority) if walk.chosen.priority is None else [walk.chosen.priority]
    legs = []
    for of_site, is_recent, urgency in itertools.product(
        lists, (True, False) if walk.is_ranked else (None,), urgencies
    ):
        rank = 0 if is_recent is None else int(urgency) if is_recent else OLD
        if mark is not None and (rank > mark.rank if walk.is_backward else rank < mark.rank):
            continue
        leg = of_site.with_only_columns(id_, arrived_at, literal(rank).label("rank")).where(
            priority == urgency
        )
        if is_recent is not None:
            leg = leg.where(arrived_at >= walk.recent if is_recent else arrived_at < walk.recent)
        if mark is not None and rank == mark.rank:
            leg = leg.where(_follows(arrived_at, id_, walk, mark))
        leg = leg.order_by(*_by_arrival(arrived_at, id_, walk)).limit(limit)
        legs.append(select(leg.subquery()))
    if not legs:  # a site that is not shown
        return _ranked(listed.where(false()), walk)
    return select(union_all(*legs).subquery())


def _follows(at: Any, id_: Any, walk: Walk, mark: PageMark) -> ColumnElement[bool]:
    here, there = tuple_(at, id_), tuple_(mark.at, mark.id)
    return here > there if walk.is_ascending else here < there


def _by_arrival(at: Any, id_: Any, walk: Walk) -> tuple[ColumnElement[Any], ...]:
    return (at.asc(), id_.asc()) if walk.is_ascending else (at.desc(), id_.desc())


def _first_rows(listed: _Ranked, walk: Walk, mark: PageMark | None, limit: int) -> _Ranked:
    """The first rows of a list after the mark, in the order in which it is read."""
    rows = listed.subquery()
    query = select(rows.c.id, rows.c.arrived_at, rows.c.rank)
    if mark is not None:
        is_further = rows.c.rank < mark.rank if walk.is_backward else rows.c.rank > mark.rank
        query = query.where(
            or_(
                is_further,
                and_(rows.c.rank == mark.rank, _follows(rows.c.arrived_at, rows.c.id, walk, mark)),
            )
        )
    rank = rows.c.rank.desc() if walk.is_backward else rows.c.rank
    return query.order_by(rank, *_by_arrival(rows.c.arrived_at, rows.c.id, walk)).limit(limit)


def _listed(state: VisibleState | None) -> _Listed:
    """Ids, priorities and arrivals of the studies in a visible state, or of all, in no order."""
    if state is None:
        return select(
            Study.id, Study.priority, Study.first_received_at.label("arrived_at"), Study.site_id
        )
    columns = (
        WorklistEntry.study_id.label("id"),
        WorklistEntry.priority,
        WorklistEntry.arrived_at,
        WorklistEntry.site_id,
    )
    at_work = entries_at_work()
    for listed, leased in AT_WORK.items():
        if state == leased:
            return at_work.with_only_columns(*columns).where(WorklistEntry.state == listed)
    entries = select(*columns).where(WorklistEntry.state == state)
    if state in AT_WORK:
        # NOT IN reads the few leases once. NOT EXISTS could be planned as a join, which would sort
        # the whole list.
        entries = entries.where(
            WorklistEntry.study_id.not_in(at_work.with_only_columns(WorklistEntry.study_id))
        )
    return entries


def entries_at_work() -> Select[str]:
    """The listed states of the studies whose newest request somebody works on."""
    return (
        select(WorklistEntry.state)
        .join(Study, Study.id == WorklistEntry.study_id)
        .join(LiveLease, LiveLease.request_id == Study.request_id)
        .where(WorklistEntry.state.in_(list(AT_WORK)))
    )
