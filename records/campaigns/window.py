"""When a campaign works: hours of the night by the wall clock of its site, and blackouts.

Every function is passed the time. A night begins on the date on which its window opens. What an
hour means where the clocks change is decided here, in favour of those who use the PACS by day:

- An hour that the clocks skip is the moment at which they skip it.
- Of an hour that comes twice, a window opens at the first and closes at the first. A blackout
  begins at the first and ends at the second.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from records.errors import NotAllowed
from records.settings import Settings
from records.wall_clock import moment

_DAY = dt.timedelta(days=1)

LOOK_AHEAD_DAYS = 3700
"""For so many days a next opening is looked for; campaigns do not last ten years."""


@dataclass(frozen=True, slots=True)
class Hours:
    """A span of the wall clock, over midnight where it ends before it begins."""

    opens: dt.time
    closes: dt.time

    def span(self, date: dt.date, zone: ZoneInfo, *, closes_late: bool) -> Span:
        """The span that begins on a date, as moments; it may be empty."""
        return _hours_of_date(self, date, zone, closes_late)


@lru_cache(maxsize=8192)
def _hours_of_date(hours: Hours, date: dt.date, zone: ZoneInfo, closes_late: bool) -> Span:
    """As `Hours.span`. Kept, for a forecast of a year asks for each of its nights every time."""
    end_date = date if hours.opens < hours.closes else date + _DAY
    return Span(
        moment(date, hours.opens, zone, fold=0),
        moment(end_date, hours.closes, zone, fold=int(closes_late)),
    )


@dataclass(frozen=True, slots=True)
class Span:
    """From a moment up to, and without, another one; both in UTC."""

    start: dt.datetime
    end: dt.datetime

    @property
    def seconds(self) -> float:
        """How long it is; 0 where it is empty."""
        return max(0.0, (self.end - self.start).total_seconds())

    def without(self, other: Span) -> list[Span]:
        """What is left of this span outside another one."""
        if other.seconds == 0 or other.end <= self.start or other.start >= self.end:
            return [self]
        parts = [Span(self.start, other.start), Span(other.end, self.end)]
        return [part for part in parts if part.seconds > 0]


@dataclass(frozen=True, slots=True)
class EndOfWork:
    """When work is done, and in how many nights, the first one among them."""

    at: dt.datetime
    nights: int


@dataclass(frozen=True, slots=True)
class NightLeft:
    """What is left of a night.

    Attributes:
        closes_at: when the window closes for the last time in it; a blackout closes it for a while.
        seconds: for how long it is open until then.
    """

    closes_at: dt.datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Window:
    """When a campaign may give studies to the pipeline.

    Attributes:
        hours: of each night; None is at all times.
        zone: the time zone of the site.
        blackouts: hours of each day in which nothing is done, for example the PACS's own backup.
        starts_on: the first night; None is at once. Without hours it is a day.
        ends_on: the last night; None is no end.
    """

    hours: Hours | None
    zone: ZoneInfo
    blackouts: tuple[Hours, ...] = ()
    starts_on: dt.date | None = None
    ends_on: dt.date | None = None

    def is_open(self, now: dt.datetime) -> bool:
        """Whether work is done at this time."""
        return any(span.start <= now < span.end for span in self.spans(now, days=1))

    def spans(self, now: dt.datetime, days: int = LOOK_AHEAD_DAYS) -> Iterator[Span]:
        """The spans of work that have not ended at `now`, in their order.

        Args:
            now: with a time zone.
            days: so many nights after the one of `now`, at most.
        """
        date = now.astimezone(self.zone).date() - _DAY
        last = date + days * _DAY
        if self.starts_on is not None:
            date = max(date, self.starts_on)
            if date > dt.date.max - (days + 2) * _DAY:
                return  # a night that no calendar has the end of
            last = max(last, date + days * _DAY)
        if self.ends_on is not None:
            last = min(last, self.ends_on)
        while date <= last:
            for span in self._night(date):
                if span.end > now:
                    yield span
            date += _DAY

    def next_opening(self, now: dt.datetime) -> dt.datetime | None:
        """When the window opens next, if it is closed; `now` if it is open; None for never."""
        return next((max(now, span.start) for span in self.spans(now)), None)

    def next_closing(self, now: dt.datetime) -> dt.datetime | None:
        """When the window closes, if it is open now; None if it is closed, or never closes."""
        end = None
        for span in self.spans(now):
            if end is None and span.start > now:
                return None
            if end is not None and span.start > end:
                return end
            end = span.end
            if self.hours is None and not self.blackouts and self.ends_on is None:
                return None
        return end

    def night_left(self, now: dt.datetime) -> NightLeft | None:
        """What is left of the night of `now`, or the next one; None without hours, or for never."""
        if self.hours is None:
            return None
        night, closes_at, seconds = None, None, 0.0
        for span in self.spans(now):
            begins = max(now, span.start)
            if night is not None and self.night_of(begins) != night:
                break
            night, closes_at = self.night_of(begins), span.end
            seconds += (span.end - begins).total_seconds()
        return NightLeft(closes_at, seconds) if closes_at is not None else None

    def after_seconds(
        self, now: dt.datetime, seconds: float, days: int = LOOK_AHEAD_DAYS
    ) -> dt.datetime | None:
        """When the window will have been open for so many seconds from `now` on.

        None is for never, or for later than within so many days.
        """
        end = self.work_off(now, seconds, days)
        return end.at if end else None

    def nights_for(
        self, now: dt.datetime, seconds: float, days: int = LOOK_AHEAD_DAYS
    ) -> int | None:
        """In how many nights so many seconds of work are done; None for not within `days`."""
        end = self.work_off(now, seconds, days)
        return end.nights if end else None

    def work_off(
        self, now: dt.datetime, seconds: float, days: int = LOOK_AHEAD_DAYS
    ) -> EndOfWork | None:
        """When so many seconds of work are done, and in how many nights.

        None is for never, or for later than within so many days.
        """
        left = seconds
        nights: set[dt.date] = set()
        for span in self.spans(now, days):
            begins = max(now, span.start)
            nights.add(self.night_of(begins))
            open_seconds = (span.end - begins).total_seconds()
            if open_seconds >= left:
                return EndOfWork(begins + dt.timedelta(seconds=left), len(nights))
            left -= open_seconds
        return None

    def night_of(self, at: dt.datetime) -> dt.date:
        """The date on which the night of a moment of work began."""
        local = at.astimezone(self.zone)
        if self.hours is None:
            return local.date()
        before = local.date() - _DAY
        span = self.hours.span(before, self.zone, closes_late=False)
        return before if span.start <= at < span.end else local.date()

    def _night(self, date: dt.date) -> tuple[Span, ...]:
        """The spans of work of the night that begins on a date."""
        return _spans_of_night(self.hours, self.blackouts, self.zone, date)


@lru_cache(maxsize=8192)
def _spans_of_night(
    hours: Hours | None, blackouts: tuple[Hours, ...], zone: ZoneInfo, date: dt.date
) -> tuple[Span, ...]:
    """As `Window._night`; kept as well."""
    hours = hours or Hours(dt.time(0), dt.time(0))
    parts = [hours.span(date, zone, closes_late=False)]
    for blackout in blackouts:
        for day in (date - _DAY, date, date + _DAY):
            black = blackout.span(day, zone, closes_late=True)
            parts = [left for part in parts for left in part.without(black)]
    return tuple(part for part in parts if part.seconds > 0)


def read_zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        NotAllowed: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise NotAllowed(
            f"{name!r} is no time zone: name one of the IANA database, such as Europe/Berlin"
        ) from None


def site_zone(config: Settings) -> ZoneInfo:
    """The time zone of the site: NIGHTDRAFT_TIME_ZONE, else this machine's, else UTC.

    A campaign keeps its zone by name, so that it means the same hours on every machine.

    Raises:
        NotAllowed: this machine's zone has no name of the IANA database.
    """
    return read_zone(config.time_zone or _machine_zone())


def _machine_zone() -> str:
    """The IANA name of this machine's time zone; UTC where it is not known."""
    named = os.environ.get("TZ", "").lstrip(":")
    if named:
        return named
    _, _, name = Path("/etc/localtime").resolve().as_posix().partition("/zoneinfo/")
    return name or "UTC"


def read_hours(text: str) -> Hours:
    """The hours that a text such as `19:00-07:00` gives.

    Raises:
        NotAllowed: it gives none, or both ends are the same.
    """
    first, dash, second = text.partition("-")
    try:
        if not dash:
            raise ValueError
        hours = Hours(*(dt.time.fromisoformat(part.strip()) for part in (first, second)))
        if hours.opens.tzinfo or hours.closes.tzinfo:
            raise ValueError
    except ValueError:
        raise NotAllowed(f"{text!r} gives no hours: write them as 19:00-07:00") from None
    if hours.opens == hours.closes:
        raise NotAllowed(f"{text!r} opens and closes at the same time: give no hours for all day")
    return hours
