"""The worklist that a person sees: its pages, the studies beside one in it, and its counts.

What a row shows is derived from study, request, lease and holds at that moment. Which studies are
on a list is read from `worklist_entries`, and how many there are from `tallies`: the database keeps
both by triggers, which derive a state by the same function `listed_state`. This module changes
nothing.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import (
    Select,
    case,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.draft_tables import Draft
from records.database.session import database_time, interval
from records.database.tables import Study, Tally, WorklistEntry
from records.errors import NotAllowed, NotFound
from records.settings import settings
from records.states import Priority, TallyKind, VisibleState
from records.workflow import tallies
from records.workflow.search import Matches, find_studies
from records.workflow.site_scope import is_of_site, visible_sites
from records.workflow.worklist_filters import ListOrder, WorklistFilter
from records.workflow.worklist_places import OLD, PageMark, Walk, entries_at_work, look
from records.workflow.worklist_rows import AT_WORK, WorklistRow, read_rows

_UNFINISHED = (VisibleState.RECEIVING, VisibleState.WAITING, VisibleState.PREPARED)
"""The listed states of studies that are neither ended nor held."""

NO_FILTER = WorklistFilter()

NEIGHBOUR_PAGES = 5
"""So many times LOOKED_AT studies are looked at for the next study of a list."""


@dataclass(frozen=True, slots=True)
class WorklistPage:
    """Some rows, in the order of the worklist.

    Attributes:
        next: the mark with which `read_page` gives the following rows.
        matches: what the search compared with and found; None where nothing was searched for.
        previous: the mark with which `read_page` gives the rows before these.
        looked_at: how many studies were compared with what was chosen; 0 where an index was.
    """

    rows: list[WorklistRow]
    next: str | None
    matches: Matches | None = None
    previous: str | None = None
    looked_at: int = 0


def count_by_state(session: Session) -> dict[VisibleState, int]:
    """How many studies of the sites that are shown are in each visible state, 0 among them.

    The numbers are kept (`records.workflow.tallies`), and no study is counted here but those that
    somebody works on at this moment.
    """
    at_work = entries_at_work().where(is_of_site(WorklistEntry.site_id)).subquery()
    changes: list[Select[str, int]] = [
        tallies.parts(TallyKind.STUDIES).where(is_of_site(Tally.site_id)),
        select(at_work.c.state, literal(-1)),
        select(case(AT_WORK, value=at_work.c.state), literal(1)),
    ]
    numbers = union_all(*changes).subquery()
    name, number = numbers.c
    sums = session.execute(select(name, func.sum(number)).group_by(name)).all()
    zeros = dict.fromkeys(VisibleState, 0)
    return zeros | {VisibleState(state): int(number) for state, number in sums if number}


def read_page(
    session: Session,
    *,
    state: VisibleState | None = None,
    since: dt.datetime | None = None,
    after: str | None = None,
    before: str | None = None,
    limit: int = 50,
    search: str = "",
    chosen: WorklistFilter = NO_FILTER,
    order: ListOrder = ListOrder.PRIORITY,
) -> WorklistPage:
    """A page of the worklist: studies of the last hours by priority, then all others.

    Both parts have the newest arrival first. A study belongs to the first part for
    NIGHTDRAFT_LIST_PRIORITY_HOURS after its arrival: without an end, a STAT study of last year
    would stand above all of today's. No due time counts, because nothing sets one yet.

    Where `chosen` asks what no index answers, LOOKED_AT studies are looked at for a page, at most:
    then there may be fewer rows than `limit`, although a page follows.

    Args:
        session: the caller's transaction.
        state: only studies in this state.
        since: only studies that arrived at this time or later.
        after: the `next` of the page before.
        before: the `previous` of the page after; not together with `after`.
        limit: rows on the page, at most.
        search: words of a patient's name, or a patient id, an accession number or a study UID; see
            `records.workflow.search`.
        chosen: only these studies.
        order: of the list.

    Raises:
        NotAllowed: `after` or `before` is not a mark that this function gave, or both are given.
    """
    if after is not None and before is not None:
        raise NotAllowed("a page begins after a mark or ends before one: say `after` or `before`")
    given = after if after is not None else before
    mark = PageMark.parse(given) if given is not None else None
    matches = find_studies(session, search.strip()) if search.strip() else None
    walk = Walk(
        # All pages of one list have the same first part, however long somebody reads.
        mark.recent if mark else _recent_since(session),
        order,
        is_backward=before is not None,
        state=state,
        since=max((one for one in (since, chosen.since) if one), default=None),
        chosen=chosen,
        matches=matches,
    )
    places, looked_at, last = look(session, walk, mark, limit + 1)
    has_more = len(places) > limit
    places = places[:limit]
    edge = places[-1] if has_more else last  # where a further page in this direction begins
    if walk.is_backward:
        places.reverse()
    rows = read_rows(session, [place.id for place in places])
    note_look(study_ids=[row.id for row in rows])
    further = str(edge) if edge is not None else None
    if walk.is_backward:
        return WorklistPage(rows, str(places[-1]) if places else given, matches, further, looked_at)
    # What precedes the mark's study is on the page before, and that study itself, too.
    earlier = str(places[0]) if places and mark is not None else None
    return WorklistPage(rows, further, matches, earlier, looked_at)


def find_neighbour(
    session: Session,
    study_id: uuid.UUID,
    *,
    forward: bool,
    state: VisibleState | None = None,
    search: str = "",
    chosen: WorklistFilter = NO_FILTER,
    order: ListOrder = ListOrder.PRIORITY,
) -> uuid.UUID | None:
    """The study after or before another one in a list; None at its end.

    The other study need not be in the list any more: its place counts. Where many studies in
    sequence are left out, the search ends after NEIGHBOUR_PAGES times LOOKED_AT of them.

    Raises:
        NotFound: no such study.
    """
    study = session.get(Study, study_id)
    if study is None:
        raise NotFound("no study has that id")
    recent = _recent_since(session)
    is_ranked = order is ListOrder.PRIORITY
    rank = study.priority if study.first_received_at >= recent else OLD
    mark = PageMark(recent, rank if is_ranked else 0, study.first_received_at, study.id)
    matches = find_studies(session, search.strip()) if search.strip() else None
    walk = Walk(
        recent,
        order,
        is_backward=not forward,
        state=state,
        since=chosen.since,
        chosen=chosen,
        matches=matches,
    )
    for _ in range(NEIGHBOUR_PAGES):
        places, _, last = look(session, walk, mark, 1)
        if places:
            return places[0].id
        if last is None:
            break
        mark = last
    return None


def _recent_since(session: Session) -> dt.datetime:
    return database_time(session) - dt.timedelta(hours=settings().list_priority_hours)


def oldest_waiting(session: Session) -> dt.datetime | None:
    """The arrival of the oldest study that is neither ended nor held; None where there is none.

    It is of the sites that are shown.
    """
    # One look into the index for each priority, of each site.
    entries = select(func.min(WorklistEntry.arrived_at))
    sites = visible_sites()
    of_sites = (
        [entries] if sites is None else [entries.where(WorklistEntry.site_id == s) for s in sites]
    )
    oldest = [
        of_site.where(
            WorklistEntry.state == state, WorklistEntry.priority == priority
        ).scalar_subquery()
        for of_site in of_sites
        for state in _UNFINISHED
        for priority in Priority
    ]
    return session.scalar(select(func.least(*oldest))) if oldest else None


def count_drafts(session: Session, seconds: float) -> int:
    """How many drafts were saved in the last `seconds`."""
    # now() stands still in a transaction, so that the index can be asked for it.
    query = select(func.count()).where(Draft.created_at > func.now() - interval(seconds))
    return session.scalar(query) or 0
