"""The summary of each night: made once, by whichever sweep comes first, and never changed.

A night whose hour was missed, because nothing ran, is summed up when something runs again.

A summary is of every site. Where only some sites are shown, a night has the work of their studies,
as `records.operations.work_counts` counts it by site; what was held, missing and waiting is kept
for all sites together, and is not shown.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.alarm_kinds import Channel, MessageEvent
from records.campaigns import counting
from records.database.night_tables import UNKNOWN_SITE_ID, NightSummary, WorkCount, WorkCountPart
from records.database.operation_tables import AlarmMessage
from records.database.session import database_time
from records.errors import NotFound
from records.operations import nights, work_counts
from records.operations.nights import Night
from records.operations.overview import count_moving
from records.settings import Settings
from records.states import TallyKind, WorkKind
from records.workflow import tallies, worklist
from records.workflow.site_scope import is_of_site, visible_sites

MOST_MISSED = 31
"""So many missed nights are summed up at most."""


@dataclass(frozen=True, slots=True)
class NightRecord:
    """A night's summary beside that of the night before.

    Attributes:
        row: the summary.
        before: the newest summary that is older; None where there is none.
        is_of_some_sites: whether both have only the work of the sites that are shown. Then what
            was held, missing and waiting is not known.
    """

    row: NightSummary
    before: NightSummary | None
    is_of_some_sites: bool = False

    @property
    def hours(self) -> float:
        """How long the night was, in hours."""
        return _hours(self.row)

    @property
    def skipped(self) -> int:
        """Studies that are not for this model."""
        return sum(self.row.skipped.values())

    @property
    def failed(self) -> int:
        """Studies whose attempts were used up."""
        return sum(self.row.failed.values())

    @property
    def held(self) -> int:
        """Holds that waited for a person when the summary was made."""
        return sum(self.row.held.values())

    @property
    def missing(self) -> int:
        """Studies that campaigns could not get."""
        return sum(self.row.missing.values())

    @property
    def drafts_per_hour(self) -> float:
        """The pace of the night."""
        return drafts_per_hour(self.row)

    @property
    def pace_change(self) -> float | None:
        """By which share the pace was faster than in the night before; None where it is not known.

        0.25 is a quarter faster.
        """
        if self.before is None or not self.before.drafted:
            return None
        return self.drafts_per_hour / drafts_per_hour(self.before) - 1

    @property
    def nights_left(self) -> float | None:
        """Nights that all that waits takes at this pace.

        None where nothing was drafted, or where what waits is not known.
        """
        if self.is_of_some_sites:
            return None
        waiting = self.row.waiting + self.row.in_campaigns
        if not waiting:
            return 0.0
        return waiting / self.row.drafted if self.row.drafted else None


def _hours(row: NightSummary) -> float:
    return (row.ends_at - row.begins_at).total_seconds() / 3600


def drafts_per_hour(row: NightSummary) -> float:
    """The pace of a night; its whole length counts."""
    hours = _hours(row)
    return row.drafted / hours if hours else 0.0


def make_due(
    session: Session,
    config: Settings,
    channels: Collection[Channel] = (),
    now: dt.datetime | None = None,
) -> list[dt.date]:
    """Make the summaries that are due and not there, each with a message by each channel.

    The first one is made after a night in which something was done. From then on each night has
    one.

    Args:
        session: the caller's transaction.
        config: the hours of the night, and when its summary is made.
        channels: by which the newest summary is sent; those of missed nights are not.
        now: the time; left out, the database's.

    Returns:
        The nights whose summary this call made.
    """
    due = nights.last_due(now or database_time(session), config)
    newest = session.scalar(select(func.max(NightSummary.night)))
    if newest is None:
        if not work_counts.read_work(session, due.begins_at, due.ends_at).counts:
            return []
        dates = [due.date]
    else:
        first = max(newest + dt.timedelta(days=1), due.date - dt.timedelta(days=MOST_MISSED - 1))
        dates = [first + dt.timedelta(days=day) for day in range((due.date - first).days + 1)]
    hours = nights.hours_of(config)
    return [
        date
        for date in dates
        if _make(
            session,
            hours.of_date(date),
            config.time_zone,
            channels if date == due.date else (),
        )
    ]


def _make(session: Session, night: Night, time_zone: str, channels: Collection[Channel]) -> bool:
    """Make one summary; False where somebody else made it."""
    work = work_counts.read_work(session, night.begins_at, night.ends_at)
    made = session.scalar(
        insert(NightSummary)
        .values(
            night=night.date,
            begins_at=night.begins_at,
            ends_at=night.ends_at,
            time_zone=time_zone,
            prepared=work.total(WorkKind.PREPARED),
            drafted=work.total(WorkKind.DRAFTED),
            skipped=work.by_reason(WorkKind.SKIPPED),
            failed=work.by_reason(WorkKind.FAILED),
            held=_read_open_holds(session),
            missing=counting.count_missing(session, night.begins_at, night.ends_at),
            waiting=count_moving(worklist.count_by_state(session)),
            in_campaigns=counting.count_waiting(session),
            workers=work.by_worker(),
        )
        .on_conflict_do_nothing()
        .returning(NightSummary.night)
    )
    if made is None:
        return False
    for channel in channels:
        session.add(AlarmMessage(night=made, event=MessageEvent.SUMMARY, channel=channel))
    session.flush()
    return True


def _read_open_holds(session: Session) -> dict[str, int]:
    numbers = tallies.read_numbers(session, TallyKind.OPEN_HOLDS)
    return {reason: number for reason, number in sorted(numbers.items()) if number}


def list_newest(
    session: Session, limit: int, before: dt.date | None = None
) -> Sequence[NightRecord]:
    """The newest nights, each beside the one before it, newest first.

    Args:
        session: the caller's transaction.
        limit: how many, at most.
        before: only nights before this one.

    Where only some sites are shown, nights are left out whose work was counted before work had a
    site.
    """
    query = select(NightSummary).order_by(NightSummary.night.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(NightSummary.night < before)
    is_limited = visible_sites() is not None
    if is_limited:
        query = query.where(*(_has_no_unknown_work(table) for table in (WorkCount, WorkCountPart)))
    rows = session.scalars(query).all()
    if is_limited and rows:
        rows = _only_shown(session, rows)
    return [
        NightRecord(row, rows[number + 1] if number + 1 < len(rows) else None, is_limited)
        for number, row in enumerate(rows[:limit])
    ]


def _in_night(table: type[WorkCount | WorkCountPart]) -> ColumnElement[bool]:
    return and_(table.quarter >= NightSummary.begins_at, table.quarter < NightSummary.ends_at)


def _has_no_unknown_work(table: type[WorkCount | WorkCountPart]) -> ColumnElement[bool]:
    """The condition that no work of a night is of a site that is not known."""
    # A subquery for each night: an EXISTS might be planned to read the work of all nights.
    unknown = select(table.number).where(_in_night(table), table.site_id == UNKNOWN_SITE_ID)
    return unknown.correlate(NightSummary).limit(1).scalar_subquery().is_(None)


def _only_shown(session: Session, rows: Sequence[NightSummary]) -> list[NightSummary]:
    """Summaries with the work of the sites that are shown, and nothing else; they are not kept.

    Args:
        session: the caller's transaction.
        rows: some summaries, the newest first.
    """
    work = union_all(
        *(
            select(NightSummary.night, table.kind, table.reason, table.worker, table.number)
            .join(table, _in_night(table))
            .where(
                NightSummary.night.between(rows[-1].night, rows[0].night),
                is_of_site(table.site_id),
            )
            for table in (WorkCount, WorkCountPart)
        )
    ).subquery()
    keys = (work.c.night, work.c.kind, work.c.reason, work.c.worker)
    by_kind: dict[dt.date, Counter[str]] = {row.night: Counter() for row in rows}
    by_reason: dict[tuple[dt.date, str], Counter[str]] = {}
    by_worker: dict[dt.date, Counter[str]] = {row.night: Counter() for row in rows}
    for night, kind, reason, worker, number in session.execute(
        select(*keys, func.sum(work.c.number)).group_by(*keys)
    ):
        if night not in by_kind:
            continue
        by_kind[night][kind] += int(number)
        by_reason.setdefault((night, kind), Counter())[reason] += int(number)
        if worker and kind in (WorkKind.PREPARED, WorkKind.DRAFTED):
            by_worker[night][worker] += int(number)
    return [
        NightSummary(
            night=row.night,
            begins_at=row.begins_at,
            ends_at=row.ends_at,
            time_zone=row.time_zone,
            made_at=row.made_at,
            prepared=by_kind[row.night][WorkKind.PREPARED],
            drafted=by_kind[row.night][WorkKind.DRAFTED],
            skipped=dict(by_reason.get((row.night, WorkKind.SKIPPED), {})),
            failed=dict(by_reason.get((row.night, WorkKind.FAILED), {})),
            held={},
            missing={},
            waiting=0,
            in_campaigns=0,
            workers=dict(by_worker[row.night]),
        )
        for row in rows
    ]


def read_night(session: Session, date: dt.date | None = None) -> NightRecord:
    """One night beside the one before it.

    Args:
        session: the caller's transaction.
        date: the date of its beginning; None is the newest night that has a summary.

    Raises:
        NotFound: it has no summary.
    """
    before = None if date is None else date + dt.timedelta(days=1)
    records = list_newest(session, 1, before)
    if not records or (date is not None and records[0].row.night != date):
        name = "No night has a summary" if date is None else f"The night of {date} has no summary"
        raise NotFound(f"{name}: it is made when a night is over")
    return records[0]
