"""The worklist that a person sees: the visible state of studies, counts, and pages of rows.

What a row shows is derived from study, request, lease and holds at that moment. Which studies are
on a list is read from `worklist_entries`, and how many there are from `tallies`: the database keeps
both by triggers, which derive a state by the same function `listed_state`. This module changes
nothing.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import itertools
import uuid
from collections.abc import Sequence
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
    exists,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.draft_tables import Draft, DraftRequest, LiveLease
from records.database.review_tables import Review
from records.database.session import database_time, interval
from records.database.tables import Hold, Instance, Study, Tally, WorklistEntry
from records.errors import NotAllowed, NotFound
from records.settings import settings
from records.states import Priority, ReviewDecision, TallyKind, VisibleState, Withheld
from records.workflow import tallies
from records.workflow.search import Matches, find_studies
from records.workflow.showing import why_withheld
from records.workflow.site_scope import is_of_site, is_visible, visible_sites
from records.workflow.worklist_filters import ListOrder, WorklistFilter

# A subquery for each row: an EXISTS might be planned to read the holds of all studies.
_HELD: ColumnElement[bool] = (
    select(Hold.id)
    .where(Hold.study_id == Study.id, Hold.decision.is_(None))
    .limit(1)
    .scalar_subquery()
    .is_not(None)
)

_LISTED: ColumnElement[str] = func.listed_state(Study.state, DraftRequest.state, _HELD)
"""The state in which a study is listed: its visible state, less what a lease says."""

_AT_WORK = {
    VisibleState.WAITING.value: VisibleState.PREPARING.value,
    VisibleState.PREPARED.value: VisibleState.DRAFTING.value,
}
"""What a live lease makes of a listed state."""

_LEASED: ColumnElement[bool] = exists().where(LiveLease.request_id == Study.request_id)

VISIBLE: ColumnElement[str] = case(
    (_LEASED, case(_AT_WORK, value=_LISTED, else_=_LISTED)),
    else_=_LISTED,
)

_UNFINISHED = (VisibleState.RECEIVING, VisibleState.WAITING, VisibleState.PREPARED)
"""The listed states of studies that are neither ended nor held."""


_Listed: TypeAlias = "Select[uuid.UUID, int, dt.datetime, uuid.UUID]"
"""id, priority, arrived_at, site_id"""

_Ranked: TypeAlias = "Select[uuid.UUID, dt.datetime, int]"  # id, arrived_at, rank

_OLD = len(Priority)
"""The rank of studies that are no longer listed by their priority."""

NO_FILTER = WorklistFilter()

LOOKED_AT = 2000
"""Studies that are looked at for one page, where no index answers what was chosen."""

_LOOKED_AT_ONCE = 500

NEIGHBOUR_PAGES = 5
"""So many times LOOKED_AT studies are looked at for the next study of a list."""


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
            if None in (times[0].tzinfo, times[1].tzinfo) or not 0 <= int(rank) <= _OLD:
                raise ValueError
            return cls(times[0], int(rank), times[1], uuid.UUID(id_))
        except (ValueError, binascii.Error):
            raise NotAllowed(
                "this is not the mark of a page: take `next` or `previous` of one"
            ) from None


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """One row of the worklist.

    Attributes:
        image_count: images that the study may be drafted from.
        instance_count: all objects that came under its UID.
        has_newest_draft: whether the draft is that of the study's present revision. A draft that
            was made before of the same inputs is, too.
        withheld: why the draft is shown to nobody; None where there is none, or it is shown.
        signed_by: who signed a report of the draft; "" while nobody has.
        report: the report's impression, else its findings; "" while nobody has signed.
    """

    id: uuid.UUID
    study_instance_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    accession_number: str
    study_date: str
    study_description: str
    calling_ae: str
    priority: Priority
    revision: int
    state: VisibleState
    reason: str
    detail: str
    hold_reasons: tuple[str, ...]
    first_received_at: dt.datetime
    last_received_at: dt.datetime
    changed_at: dt.datetime | None
    draft_id: uuid.UUID | None
    model_name: str
    impression: str
    findings: str
    image_count: int
    instance_count: int
    has_newest_draft: bool
    withheld: Withheld | None = None
    signed_by: str = ""
    report: str = ""


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


def draft_caveat(row: WorklistRow, revision: int) -> str:
    """Why a draft of this revision may not show all that is known now; "" where it does."""
    if revision != row.revision and not row.has_newest_draft:
        return (
            f"This draft is of revision {revision}. The study has changed since (revision "
            f"{row.revision}, {row.state.lower()}): it does not show everything that is known."
        )
    if row.state is VisibleState.HELD:
        return (
            "Something came in after this draft, and a person must decide what it means. Until "
            "then this draft may be of the wrong images."
        )
    return ""


def count_by_state(session: Session) -> dict[VisibleState, int]:
    """How many studies of the sites that are shown are in each visible state, 0 among them.

    The numbers are kept (`records.workflow.tallies`), and no study is counted here but those that
    somebody works on at this moment.
    """
    at_work = _at_work().where(is_of_site(WorklistEntry.site_id)).subquery()
    changes: list[Select[str, int]] = [
        tallies.parts(TallyKind.STUDIES).where(is_of_site(Tally.site_id)),
        select(at_work.c.state, literal(-1)),
        select(case(_AT_WORK, value=at_work.c.state), literal(1)),
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
    walk = _Walk(
        # All pages of one list have the same first part, however long somebody reads.
        mark.recent if mark else _recent_since(session),
        order,
        is_backward=before is not None,
        state=state,
        since=max((one for one in (since, chosen.since) if one), default=None),
        chosen=chosen,
        matches=matches,
    )
    places, looked_at, last = _look(session, walk, mark, limit + 1)
    has_more = len(places) > limit
    places = places[:limit]
    edge = places[-1] if has_more else last  # where a further page in this direction begins
    if walk.is_backward:
        places.reverse()
    rows = _read_rows(session, [place.id for place in places])
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
    rank = study.priority if study.first_received_at >= recent else _OLD
    mark = PageMark(recent, rank if is_ranked else 0, study.first_received_at, study.id)
    matches = find_studies(session, search.strip()) if search.strip() else None
    walk = _Walk(
        recent,
        order,
        is_backward=not forward,
        state=state,
        since=chosen.since,
        chosen=chosen,
        matches=matches,
    )
    for _ in range(NEIGHBOUR_PAGES):
        places, _, last = _look(session, walk, mark, 1)
        if places:
            return places[0].id
        if last is None:
            break
        mark = last
    return None


def _recent_since(session: Session) -> dt.datetime:
    return database_time(session) - dt.timedelta(hours=settings().list_priority_hours)


@dataclass(frozen=True, slots=True)
class _Walk:
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
        return self.order is ListOrder.PRIORITY

    @property
    def is_ascending(self) -> bool:
        """Whether the oldest arrival is read first; ranks are then read from the last one."""
        return (self.order is ListOrder.OLDEST) != self.is_backward


def _look(
    session: Session, walk: _Walk, mark: PageMark | None, limit: int
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


def _next_places(
    session: Session, walk: _Walk, mark: PageMark | None, limit: int
) -> list[PageMark]:
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
    if walk.matches is None and walk.state not in _AT_WORK.values() and visible_sites() != ():
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


def _ranked(listed: _Listed, walk: _Walk) -> _Ranked:
    """A list with the rank of each study: its priority where it is recent, else _OLD."""
    columns = listed.selected_columns
    rank: ColumnElement[int] = literal(0)
    if walk.is_ranked:
        rank = case((columns.arrived_at >= walk.recent, columns.priority), else_=_OLD)
    return listed.with_only_columns(columns.id, columns.arrived_at, rank.label("rank"))


def _by_index(listed: _Listed, walk: _Walk, mark: PageMark | None, limit: int) -> _Ranked:
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
        rank = 0 if is_recent is None else int(urgency) if is_recent else _OLD
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


def _follows(at: Any, id_: Any, walk: _Walk, mark: PageMark) -> ColumnElement[bool]:
    here, there = tuple_(at, id_), tuple_(mark.at, mark.id)
    return here > there if walk.is_ascending else here < there


def _by_arrival(at: Any, id_: Any, walk: _Walk) -> tuple[ColumnElement[Any], ...]:
    return (at.asc(), id_.asc()) if walk.is_ascending else (at.desc(), id_.desc())


def _first_rows(listed: _Ranked, walk: _Walk, mark: PageMark | None, limit: int) -> _Ranked:
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


def _read_rows(session: Session, ids: Sequence[uuid.UUID]) -> list[WorklistRow]:
    """The rows of these studies, in this order."""
    if not ids:
        return []
    lines = session.execute(_rows().where(Study.id == any_(literal(ids, ARRAY(Uuid))))).all()
    rows = {line.Study.id: _row(line) for line in lines}
    return [rows[id_] for id_ in ids if id_ in rows]


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
    at_work = _at_work()
    for listed, leased in _AT_WORK.items():
        if state == leased:
            return at_work.with_only_columns(*columns).where(WorklistEntry.state == listed)
    entries = select(*columns).where(WorklistEntry.state == state)
    if state in _AT_WORK:
        # NOT IN reads the few leases once. NOT EXISTS could be planned as a join, which would sort
        # the whole list.
        entries = entries.where(
            WorklistEntry.study_id.not_in(at_work.with_only_columns(WorklistEntry.study_id))
        )
    return entries


def _at_work() -> Select[str]:
    """The listed states of the studies whose newest request somebody works on."""
    return (
        select(WorklistEntry.state)
        .join(Study, Study.id == WorklistEntry.study_id)
        .join(LiveLease, LiveLease.request_id == Study.request_id)
        .where(WorklistEntry.state.in_(list(_AT_WORK)))
    )


def read_row(session: Session, study_id: uuid.UUID) -> WorklistRow:
    """The row of one study."""
    note_look(study_ids=[study_id])
    return _row(session.execute(_rows().where(Study.id == study_id)).one())


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


WITHHELD = why_withheld(Draft.bundle_digest, Study.site_id)
"""Why the draft of a row is shown to nobody; NULL where it is shown."""


def _rows() -> Select[Any]:
    image_count = (
        select(func.count())
        .where(Instance.study_id == Study.id, Instance.state == "KEPT")
        .scalar_subquery()
    )
    instance_count = select(func.count()).where(Instance.study_id == Study.id).scalar_subquery()
    held = (
        select(func.array_agg(Hold.reason))
        .where(Hold.study_id == Study.id, Hold.decision.is_(None))
        .scalar_subquery()
    )
    claimed_at = (
        select(LiveLease.claimed_at).where(LiveLease.request_id == Study.request_id)
    ).scalar_subquery()
    return (
        select(
            Study,
            VISIBLE.label("visible"),
            DraftRequest,
            Draft.id.label("draft_id"),
            Draft.model_name,
            WITHHELD.label("withheld"),
            # What is withheld leaves the database in no list.
            case((WITHHELD.is_(None), Draft.impression), else_="").label("impression"),
            case((WITHHELD.is_(None), Draft.findings), else_="").label("findings"),
            Review.reader.label("signed_by"),
            func.coalesce(func.nullif(Review.impression, ""), Review.findings).label("report"),
            image_count.label("image_count"),
            instance_count.label("instance_count"),
            held.label("held"),
            claimed_at.label("claimed_at"),
        )
        .select_from(Study)
        .outerjoin(DraftRequest, DraftRequest.id == Study.request_id)
        .outerjoin(
            Draft,
            and_(
                Draft.study_id == Study.id,
                Draft.superseded_at.is_(None),
                Draft.purpose == "PRIMARY",
            ),
        )
        .outerjoin(
            Review, and_(Review.draft_id == Draft.id, Review.decision == ReviewDecision.SIGNED)
        )
    )


def _row(line: Any) -> WorklistRow:
    study: Study = line.Study
    request: DraftRequest | None = line.DraftRequest
    return WorklistRow(
        id=study.id,
        study_instance_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        patient_name=study.patient_name,
        patient_birth_date=study.patient_birth_date,
        patient_sex=study.patient_sex,
        accession_number=study.accession_number,
        study_date=study.study_date,
        study_description=study.study_description,
        calling_ae=study.calling_ae,
        priority=Priority(study.priority),
        revision=study.revision,
        state=VisibleState(line.visible),
        reason=request.reason if request else "",
        detail=request.detail if request else "",
        hold_reasons=tuple(line.held or ()),
        first_received_at=study.first_received_at,
        last_received_at=study.last_received_at,
        changed_at=line.claimed_at or (request.changed_at if request else None),
        draft_id=line.draft_id,
        model_name=line.model_name or "",
        impression=line.impression or "",
        findings=line.findings or "",
        withheld=Withheld(line.withheld) if line.draft_id and line.withheld else None,
        signed_by=line.signed_by or "",
        report=line.report or "",
        image_count=line.image_count,
        instance_count=line.instance_count,
        has_newest_draft=bool(
            request is not None
            and line.draft_id is not None
            and (request.draft_id, request.revision) == (line.draft_id, study.revision)
        ),
    )


def list_by_uids(session: Session, study_instance_uids: Sequence[str]) -> list[WorklistRow]:
    """The rows of those of these studies that have arrived, in the order of arrival."""
    rows = [
        _row(line)
        for line in session.execute(
            _rows()
            .where(Study.study_instance_uid.in_(study_instance_uids))
            .order_by(Study.first_received_at, Study.id)
        ).all()
    ]
    note_look(study_ids=[row.id for row in rows])
    return rows
