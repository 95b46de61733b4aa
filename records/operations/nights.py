"""Nights: hours on the clock of a site's time zone, as stretches of time through clock changes.

A night is named by the date on which it begins. An hour that the clock skips is over when the clock
has jumped. Of an hour that comes twice, the first one begins a night, and the second one ends it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from records.settings import Settings
from records.wall_clock import moment

_DAY = dt.timedelta(days=1)


def zone_of(config: Settings) -> ZoneInfo | None:
    """The site's time zone; None is that of this machine, with its own changes of the clock."""
    return ZoneInfo(config.time_zone) if config.time_zone else None


def to_local(at: dt.datetime, zone: ZoneInfo | None) -> dt.datetime:
    """A time as the site's clock shows it."""
    return at.astimezone(zone)


@dataclass(frozen=True, slots=True)
class Night:
    """One night. date: the date of its beginning. begins_at, ends_at: in UTC, the end excluded."""

    date: dt.date
    begins_at: dt.datetime
    ends_at: dt.datetime

    def has(self, at: dt.datetime) -> bool:
        """Whether a time is in this night."""
        return self.begins_at <= at < self.ends_at

    @property
    def hours(self) -> float:
        """How long it is, in hours; a change of the clock makes it longer or shorter."""
        return (self.ends_at - self.begins_at).total_seconds() / 3600


@dataclass(frozen=True, slots=True)
class NightHours:
    """The hours that are night, on a clock.

    Attributes:
        begin, end: what the clock shows; an end that is not later is that of the next day.
        zone: the clock's time zone; None is this machine's.
    """

    begin: dt.time
    end: dt.time
    zone: ZoneInfo | None = None

    @classmethod
    def parse(cls, hours: str, zone: ZoneInfo | None = None) -> NightHours:
        """Read hours that are written as `19:00-07:00`."""
        begin, end = (dt.time.fromisoformat(part) for part in hours.split("-"))
        return cls(begin, end, zone)

    def of_date(self, date: dt.date) -> Night:
        """The night that begins on this date."""
        last_day = date if self.begin < self.end else date + _DAY
        return Night(
            date,
            moment(date, self.begin, self.zone, fold=0),
            moment(last_day, self.end, self.zone, fold=1),
        )

    def at(self, at: dt.datetime) -> Night | None:
        """The night in which a time is; None by day."""
        nights = (self.of_date(date) for date in self._dates_around(at))
        return next((night for night in nights if night.has(at)), None)

    def at_or_after(self, at: dt.datetime) -> Night:
        """The night in which a time is, else the next one."""
        nights = (self.of_date(date) for date in self._dates_around(at))
        return next(night for night in nights if night.ends_at > at)

    def ended_before(self, at: dt.datetime) -> Night:
        """The night that ended last."""
        nights = (self.of_date(date) for date in reversed(self._dates_around(at)))
        return next(night for night in nights if night.ends_at <= at)

    def _dates_around(self, at: dt.datetime) -> list[dt.date]:
        """The dates of the nights that may be the last one, the present one and the next one."""
        today = to_local(at, self.zone).date()
        return [today + days * _DAY for days in (-2, -1, 0, 1)]


def hours_of(config: Settings) -> NightHours:
    """The night of the settings."""
    return NightHours.parse(config.night_hours, zone_of(config))


def date_of_night(at: dt.datetime, hours: str, zone: ZoneInfo | None = None) -> dt.date | None:
    """The date of the night in which a time is; None by day. hours: as `01:00-05:00`."""
    night = NightHours.parse(hours, zone).at(at)
    return night.date if night else None


def summary_due_at(night: Night, config: Settings) -> dt.datetime:
    """When the summary of a night is made: at the set hour after its end, or at its end."""
    if not config.morning_at:
        return night.ends_at
    zone = zone_of(config)
    last_day = to_local(night.ends_at, zone).date()
    at = moment(last_day, dt.time.fromisoformat(config.morning_at), zone, fold=0)
    return max(night.ends_at, at)


def last_due(now: dt.datetime, config: Settings) -> Night:
    """The newest night whose summary is due."""
    hours = hours_of(config)
    night = hours.ended_before(now)
    if summary_due_at(night, config) <= now:
        return night
    return hours.of_date(night.date - _DAY)


def local_words(at: dt.datetime, zone: ZoneInfo | None, now: dt.datetime | None = None) -> str:
    """A time for people, as `07:00`; with its date where that is not the one of `now`."""
    local = to_local(at, zone)
    is_today = now is not None and local.date() == to_local(now, zone).date()
    return local.strftime("%H:%M" if is_today else "%d %b %H:%M")
