"""Nights on a clock that is changed in spring and in autumn; every time is passed in."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest

from records.operations.nights import (
    NightHours,
    date_of_night,
    last_due,
    local_words,
    summary_due_at,
)
from records.settings import Settings, read_settings
from records.wall_clock import moment

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # its clock is changed by half an hour


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.fixture
def machine_in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def of(hours: str, date: str, zone: ZoneInfo | None = BERLIN) -> tuple[str, str, float]:
    night = NightHours.parse(hours, zone).of_date(dt.date.fromisoformat(date))
    assert night.date.isoformat() == date
    return f"{night.begins_at:%dT%H:%M}", f"{night.ends_at:%dT%H:%M}", night.hours


NIGHTS = [
    # over midnight, in winter and in summer
    ("19:00-07:00", "2026-11-24", ("24T18:00", "25T06:00", 12)),
    ("19:00-07:00", "2026-07-24", ("24T17:00", "25T05:00", 12)),
    ("01:00-05:00", "2026-11-24", ("24T00:00", "24T04:00", 4)),
    # spring: 2026-03-29, 02:00 becomes 03:00
    ("19:00-07:00", "2026-03-28", ("28T18:00", "29T05:00", 11)),
    ("02:30-05:00", "2026-03-29", ("29T01:00", "29T03:00", 2)),  # begins in the hour that is not
    ("01:00-02:30", "2026-03-29", ("29T00:00", "29T01:00", 1)),  # ends in it
    ("02:15-02:45", "2026-03-29", ("29T01:00", "29T01:00", 0)),  # lies in it
    # autumn: 2026-10-25, 03:00 becomes 02:00
    ("19:00-07:00", "2026-10-24", ("24T17:00", "25T06:00", 13)),
    ("02:30-05:00", "2026-10-25", ("25T00:30", "25T04:00", 3.5)),  # begins at the first 02:30
    ("01:00-02:30", "2026-10-25", ("24T23:00", "25T01:30", 2.5)),  # ends at the second 02:30
    # a whole day
    ("07:00-07:00", "2026-03-28", ("28T06:00", "29T05:00", 23)),
    ("07:00-07:00", "2026-10-24", ("24T05:00", "25T06:00", 25)),
]


@pytest.mark.parametrize(("hours", "date", "expected"), NIGHTS)
def test_a_night_is_a_stretch_of_time(
    hours: str, date: str, expected: tuple[str, str, float]
) -> None:
    assert of(hours, date) == pytest.approx(expected)


@pytest.mark.parametrize(("hours", "date", "expected"), NIGHTS)
def test_the_clock_of_the_machine_has_the_same_nights(
    hours: str, date: str, expected: tuple[str, str, float], machine_in_berlin: None
) -> None:
    assert of(hours, date, None) == pytest.approx(expected)


def test_a_clock_that_changes_by_half_an_hour() -> None:
    # 2026-10-04, 02:00 becomes 02:30 (from UTC+10:30 to UTC+11)
    at = moment(dt.date(2026, 10, 4), dt.time(2, 15), LORD_HOWE, fold=0)
    assert at == utc("2026-10-03T15:30")
    assert of("01:30-02:15", "2026-10-04", LORD_HOWE) == ("03T15:00", "03T15:30", 0.5)


def test_which_of_a_time_that_comes_twice() -> None:
    day, time_of_day = dt.date(2026, 11, 1), dt.time(1, 30)
    assert moment(day, time_of_day, NEW_YORK, fold=0) == utc("2026-11-01T05:30")
    assert moment(day, time_of_day, NEW_YORK, fold=1) == utc("2026-11-01T06:30")


@pytest.mark.parametrize(
    ("at", "night", "next_night", "ended"),
    [
        ("2026-11-24T17:59", None, "2026-11-24", "2026-11-23"),
        ("2026-11-24T18:00", "2026-11-24", "2026-11-24", "2026-11-23"),
        ("2026-11-25T05:59", "2026-11-24", "2026-11-24", "2026-11-23"),
        ("2026-11-25T06:00", None, "2026-11-25", "2026-11-24"),
        # in the hour that comes twice, both times
        ("2026-10-25T00:30", "2026-10-24", "2026-10-24", "2026-10-23"),
        ("2026-10-25T01:30", "2026-10-24", "2026-10-24", "2026-10-23"),
        ("2026-10-25T05:59", "2026-10-24", "2026-10-24", "2026-10-23"),
        ("2026-10-25T06:00", None, "2026-10-25", "2026-10-24"),
    ],
)
def test_which_night_it_is(at: str, night: str | None, next_night: str, ended: str) -> None:
    hours = NightHours.parse("19:00-07:00", BERLIN)
    now = utc(at)
    found = hours.at(now)
    assert (found and found.date.isoformat()) == night
    assert hours.at_or_after(now).date.isoformat() == next_night
    assert hours.ended_before(now).date.isoformat() == ended


def test_every_minute_of_a_year_is_in_one_night_or_in_none() -> None:
    """A night that ends when the next one begins: no minute is in two, and none in no night."""
    hours = NightHours.parse("07:00-07:00", BERLIN)
    nights = [hours.of_date(dt.date(2026, 1, 1) + dt.timedelta(days=day)) for day in range(365)]
    for first, second in itertools.pairwise(nights):
        assert first.ends_at == second.begins_at
        assert hours.at(first.ends_at - dt.timedelta(minutes=1)) == first
        assert hours.at(first.ends_at) == second


@pytest.mark.parametrize(
    ("hours", "at", "night"),
    [
        ("01:00-05:00", "2026-11-25T01:00", "2026-11-25"),
        ("01:00-05:00", "2026-11-25T05:00", None),
        ("22:00-05:00", "2026-11-24T22:30", "2026-11-24"),
        ("22:00-05:00", "2026-11-25T04:59", "2026-11-24"),
        ("22:00-05:00", "2026-11-25T12:00", None),
        ("00:00-23:59", "2026-11-25T12:00", "2026-11-25"),
    ],
)
@pytest.mark.parametrize("zone", [BERLIN, None])
def test_the_hours_of_the_night_may_go_over_midnight(
    hours: str, at: str, night: str | None, zone: ZoneInfo | None, machine_in_berlin: None
) -> None:
    now = dt.datetime.fromisoformat(at).replace(tzinfo=BERLIN)
    found = date_of_night(now, hours, zone)
    assert (found and found.isoformat()) == night


def config(**values: object) -> Settings:
    return read_settings(time_zone="Europe/Berlin", **values)


@pytest.mark.parametrize(
    ("morning_at", "due"),
    [
        ("", "2026-11-25T06:00"),
        ("07:30", "2026-11-25T06:30"),
        ("06:30", "2026-11-25T06:00"),  # earlier than the end: at the end
        ("07:00", "2026-11-25T06:00"),
    ],
)
def test_the_summary_is_due_at_the_set_hour_or_at_the_end(morning_at: str, due: str) -> None:
    settings = config(morning_at=morning_at)
    night = NightHours.parse(settings.night_hours, BERLIN).of_date(dt.date(2026, 11, 24))
    assert summary_due_at(night, settings) == utc(due)
    for minutes, date in ((-1, 23), (0, 24), (23 * 60, 24), (24 * 60, 25)):
        at = utc(due) + dt.timedelta(minutes=minutes)
        assert last_due(at, settings).date == dt.date(2026, 11, date)


def test_a_time_for_people_has_its_date_where_it_is_not_today() -> None:
    now = utc("2026-11-24T20:00")
    assert local_words(utc("2026-11-24T22:15"), BERLIN, now) == "23:15"
    assert local_words(utc("2026-11-25T06:00"), BERLIN, now) == "25 Nov 07:00"
