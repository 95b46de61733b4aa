"""Nights of a site in Berlin: summaries of many of them, and hours in which it is night now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

from records.database.night_tables import NightSummary
from records.database.session import unit_of_work
from records.operations.nights import NightHours


def add_nights(count: int, newest: dt.date = dt.date(2026, 11, 24)) -> None:
    """Summaries of so many nights, the newest of which drafted 400 and each older one 3 fewer."""
    hours = NightHours.parse("19:00-07:00", ZoneInfo("Europe/Berlin"))
    with unit_of_work() as session:
        for number in range(count):
            night = hours.of_date(newest - dt.timedelta(days=number))
            session.add(
                NightSummary(
                    night=night.date,
                    begins_at=night.begins_at,
                    ends_at=night.ends_at,
                    time_zone="Europe/Berlin",
                    made_at=night.ends_at,
                    prepared=410,
                    drafted=max(0, 400 - 3 * number),
                    skipped={"not_chest": 31, "age": 7},
                    failed={"UNREADABLE": number % 4} if number % 4 else {},
                    held={"AGE_UNKNOWN": 2},
                    missing={},
                    waiting=800,
                    in_campaigns=0,
                    workers={"draft@gpu-1": 400, "prepare@cpu-1": 410},
                )
            )


def let_it_be_night(setting: Callable[..., None], hours: int = 4) -> dt.datetime:
    """Set a night that began within the last quarters of an hour; returns when it ends."""
    now = dt.datetime.now(dt.UTC)
    begin = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    begin -= dt.timedelta(minutes=15)
    end = begin + dt.timedelta(hours=hours)
    setting(time_zone="UTC", night_hours=f"{begin:%H:%M}-{end:%H:%M}")
    return end
