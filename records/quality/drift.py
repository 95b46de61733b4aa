"""The drift: each day's share of drafts that readers changed or rejected, beside a baseline.

The baseline of a model at a site is its first days there. A day is outside when its share is not
in the interval that the baseline gives for as many drafts. When so many days running (days without
a draft do not count) are outside on the same side, something has changed: the films, the patients,
the model, or how people read.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import any_, case, func, literal, select
from sqlalchemy.orm import Session

from records.database.quality_tables import QualityDay, QualityPart
from records.quality import intervals
from records.quality.cells import DIFFERING, WATCHED
from records.settings import Settings
from records.workflow.site_scope import is_of_site

RECENT_DAYS = 90
"""Days of the line. A model of which no draft was decided in them has no line."""


@dataclass(frozen=True, slots=True)
class DayShare:
    """One day of the line.

    Attributes:
        day: in the site's time zone.
        watched: drafts that were decided on.
        differing: of those, rejected or signed with other observations.
        low, high: between which bounds the share lies if nothing has changed; None on a day of the
            baseline, and where there is no baseline yet.
    """

    day: dt.date
    watched: int
    differing: int
    low: float | None = None
    high: float | None = None

    @property
    def share(self) -> float:
        """The share of drafts that were changed or rejected, from 0 to 1."""
        return self.differing / self.watched

    @property
    def side(self) -> int:
        """1 above the interval, -1 below it, 0 inside or where there is none."""
        if self.low is None or self.high is None:
            return 0
        return (self.share > self.high) - (self.share < self.low)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The first days of a model at a site, with which later ones are compared.

    Attributes:
        since, until: its first and its last day.
        watched, differing: as of a day, summed up.
        low, high: the interval of its share.
    """

    since: dt.date
    until: dt.date
    watched: int
    differing: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share of drafts that were changed or rejected, from 0 to 1."""
        return self.differing / self.watched


@dataclass(frozen=True, slots=True)
class DriftLine:
    """The line of one model at one site.

    Attributes:
        site_id: our id of the site.
        bundle_digest: the model's.
        baseline: None while there are too few drafts for one.
        days: those of the last RECENT_DAYS with drafts that were decided on, the oldest first.
        run: how many of the last days running are outside on the same side.
        side: 1 where those are above the interval, -1 below it, 0 where there are none.
    """

    site_id: uuid.UUID
    bundle_digest: str
    baseline: Baseline | None
    days: Sequence[DayShare]
    run: int
    side: int


def read_lines(
    session: Session, config: Settings, today: dt.date, *, complete_days: bool = False
) -> list[DriftLine]:
    """The lines of the sites that are shown, the busiest first.

    Args:
        session: the caller's transaction.
        config: the settings of the baseline.
        today: in the site's time zone; nothing of later days is read.
        complete_days: whether today, which is not over, is left out.
    """
    last = today - dt.timedelta(days=1) if complete_days else today
    recent = last - dt.timedelta(days=RECENT_DAYS)
    pairs = {
        (site_id, digest)
        for table in (QualityDay, QualityPart)
        for site_id, digest in session.execute(
            select(table.site_id, table.bundle_digest)
            .where(table.day > recent, table.day <= last, is_of_site(table.site_id))
            .distinct()
        )
    }
    lines = [_read_line(session, config, pair, last) for pair in sorted(pairs)]
    found = [line for line in lines if line.days]
    return sorted(found, key=lambda line: -sum(day.watched for day in line.days))


def find_baseline(days: Sequence[DayShare], least_days: int, least_drafts: int) -> Baseline | None:
    """The baseline of a model: its first days.

    Args:
        days: those of the model at a site, the oldest first; each has a draft.
        least_days: how many days of the calendar it covers at least.
        least_drafts: how many drafts it has at least; it lasts until then.

    Returns:
        None while there are too few of either.
    """
    watched = differing = 0
    for place, day in enumerate(days):
        watched += day.watched
        differing += day.differing
        has_next = place + 1 < len(days)
        next_day = days[place + 1].day if has_next else day.day
        covers = (next_day - days[0].day).days >= least_days
        if covers and has_next and watched >= least_drafts:
            low, high = intervals.wilson(differing / watched, watched)
            return Baseline(days[0].day, day.day, watched, differing, low, high)
    return None


def compare(days: Sequence[DayShare], baseline: Baseline) -> list[DayShare]:
    """The days after a baseline with the bounds that it gives each."""
    compared = []
    for day in days:
        if day.day > baseline.until:
            low, high = intervals.day_interval(baseline.differing, baseline.watched, day.watched)
            compared.append(DayShare(day.day, day.watched, day.differing, low, high))
        else:
            compared.append(day)
    return compared


def count_run(days: Sequence[DayShare]) -> tuple[int, int]:
    """How many of the last days running are outside on the same side, and on which."""
    side = days[-1].side if days else 0
    run = 0
    for day in reversed(days):
        if not side or day.side != side:
            break
        run += 1
    return run, side


def _read_line(
    session: Session, config: Settings, pair: tuple[uuid.UUID, str], last: dt.date
) -> DriftLine:
    site_id, digest = pair
    kept = select(QualityDay.day, QualityDay.watched, QualityDay.differing).where(
        QualityDay.site_id == site_id, QualityDay.bundle_digest == digest, QualityDay.day <= last
    )
    parts = select(
        QualityPart.day,
        *(
            func.sum(case((literal(place) == any_(QualityPart.cells), QualityPart.number), else_=0))
            for place in (WATCHED, DIFFERING)
        ),
    ).where(
        QualityPart.site_id == site_id, QualityPart.bundle_digest == digest, QualityPart.day <= last
    )
    sums: dict[dt.date, list[int]] = {}
    for statement in (kept, parts.group_by(QualityPart.day)):
        for day, watched, differing in session.execute(statement):
            both = sums.setdefault(day, [0, 0])
            both[0] += int(watched)
            both[1] += int(differing)
    every = [DayShare(day, *sums[day]) for day in sorted(sums) if sums[day][0] > 0]
    baseline = find_baseline(every, config.quality_baseline_days, config.quality_baseline_drafts)
    if baseline is not None:
        every = compare(every, baseline)
    shown = [day for day in every if day.day > last - dt.timedelta(days=RECENT_DAYS)]
    return DriftLine(site_id, digest, baseline, shown, *count_run(shown))
