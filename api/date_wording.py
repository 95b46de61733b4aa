"""Words days and times for people, in this machine's time and in the house's order of a date.

The month is a word where the day does not stand first in every country: nobody takes 3 April for
4 March.
"""

from __future__ import annotations

import datetime as dt
import re

from records.settings import settings


def day(value: dt.date) -> str:
    """A day in the order of NIGHTDRAFT_DATE_ORDER: `2026-11-24`, `24 Nov 2026`, `Nov 24, 2026`."""
    if settings().date_order == "YMD":
        return value.isoformat()
    return f"{_day_of_year(value)}{_comma()} {value.year:04}"


def dicom_date(value: str) -> str:
    """A DICOM date (PS3.5, 6.2) as `day`; a value that is no date stays as it was sent."""
    if not re.fullmatch(r"[0-9]{8}", value):
        return value
    try:
        return day(dt.date(int(value[:4]), int(value[4:6]), int(value[6:])))
    except ValueError:
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"  # no such day


def date_time(value: dt.datetime | None) -> str:
    """A time on this machine's clock to the second, with its zone."""
    if not value:
        return ""
    local = value.astimezone()
    return f"{day(local.date())} {local:%H:%M:%S %Z}"


def date_minute(value: dt.datetime) -> str:
    """A time to the minute, with the zone that it has."""
    return f"{day(value.date())} {value:%H:%M %Z}"


def short_time(value: dt.datetime | None) -> str:
    """A time on this machine's clock to the minute, without year and zone."""
    if not value:
        return ""
    local = value.astimezone()
    return f"{_day_of_year(local.date())} {local:%H:%M}"


def clock_time(value: dt.datetime) -> str:
    """The time of day on this machine's clock; with the day, where it is not today."""
    local = value.astimezone()
    is_today = local.date() == dt.datetime.now().astimezone().date()
    return f"{local:%H:%M}" if is_today else short_time(value)


def iso_time(value: str) -> str:
    """A time that was stored in ISO 8601, as `date_time` shows it; "" where none is known."""
    return date_time(dt.datetime.fromisoformat(value)) if value else ""


def _day_of_year(value: dt.date) -> str:
    if settings().date_order == "MDY":
        return f"{value:%b} {value.day}"
    return f"{value.day:02} {value:%b}"


def _comma() -> str:
    return "," if settings().date_order == "MDY" else ""
