"""The hours of a campaign by the wall clock, over midnight and where the clocks change."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from records.campaigns.window import Hours, Window, moment, read_hours, read_zone, site_zone
from records.errors import NotAllowed
from records.settings import settings

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Hours(dt.time(19), dt.time(7))


def at(text, zone=BERLIN, fold=0):
    """A time of the wall clock."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def utc(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("time", "is_open"),
    [
        ("2026-06-01 18:59:59", False),
        ("2026-06-01 19:00", True),
        ("2026-06-02 00:00", True),
        ("2026-06-02 06:59:59", True),
        ("2026-06-02 07:00", False),
        ("2026-06-02 12:00", False),
    ],
)
def test_a_window_goes_over_midnight(time, is_open):
    assert Window(NIGHT, BERLIN).is_open(at(time)) is is_open


@pytest.mark.parametrize(("time", "is_open"), [("12:59", False), ("13:00", True), ("14:00", False)])
def test_a_window_within_a_day(time, is_open):
    window = Window(Hours(dt.time(13), dt.time(14)), BERLIN)
    assert window.is_open(at(f"2026-06-01 {time}")) is is_open


def test_without_hours_it_is_always_open_and_never_closes():
    window = Window(None, BERLIN)
    assert window.is_open(at("2026-06-01 12:00"))
    assert window.next_closing(at("2026-06-01 12:00")) is None
    assert window.next_opening(at("2026-06-01 12:00")) == at("2026-06-01 12:00")


def test_the_night_on_which_clocks_go_forward_is_an_hour_shorter():
    window = Window(NIGHT, BERLIN)
    spans = list(window.spans(at("2026-03-28 19:00"), days=2))
    assert spans[0].seconds == 11 * 3600
    assert spans[1].seconds == 12 * 3600


def test_the_night_on_which_clocks_go_back_is_an_hour_longer():
    assert next(Window(NIGHT, BERLIN).spans(at("2026-10-24 19:00"))).seconds == 13 * 3600


def test_a_window_that_closes_in_the_hour_that_is_skipped_closes_at_the_change():
    window = Window(Hours(dt.time(19), dt.time(2, 30)), BERLIN)
    assert window.next_closing(at("2026-03-28 20:00")) == utc("2026-03-29 01:00")
    assert window.is_open(at("2026-03-29 01:59:59"))
    assert not window.is_open(at("2026-03-29 03:00"))


def test_a_window_that_opens_in_the_hour_that_is_skipped_opens_at_the_change():
    window = Window(Hours(dt.time(2, 30), dt.time(6)), BERLIN)
    assert window.next_opening(at("2026-03-28 23:00")) == utc("2026-03-29 01:00")


def test_a_window_closes_once_in_the_hour_that_comes_twice():
    window = Window(Hours(dt.time(19), dt.time(2, 30)), BERLIN)
    assert window.is_open(at("2026-10-25 02:29"))
    assert not window.is_open(at("2026-10-25 02:31"))
    assert not window.is_open(at("2026-10-25 02:10", fold=1))


def test_a_window_opens_once_in_the_hour_that_comes_twice():
    window = Window(Hours(dt.time(2, 30), dt.time(6)), BERLIN)
    assert window.is_open(at("2026-10-25 02:30"))
    assert window.is_open(at("2026-10-25 02:10", fold=1))
    assert next(window.spans(at("2026-10-25 00:00"))).seconds == 4.5 * 3600


def test_a_blackout_lasts_until_the_second_of_two_equal_hours():
    window = Window(NIGHT, BERLIN, (Hours(dt.time(2), dt.time(2, 30)),))
    assert not window.is_open(at("2026-10-25 02:40"))
    assert not window.is_open(at("2026-10-25 02:29", fold=1))
    assert window.is_open(at("2026-10-25 02:31", fold=1))


def test_a_blackout_within_the_skipped_hour_is_none():
    window = Window(NIGHT, BERLIN, (Hours(dt.time(2, 15), dt.time(2, 45)),))
    assert next(window.spans(at("2026-03-28 20:00"))).seconds == 11 * 3600


def test_a_blackout_over_midnight_takes_its_part_of_the_window():
    window = Window(NIGHT, BERLIN, (Hours(dt.time(23), dt.time(1)),))
    assert window.is_open(at("2026-06-01 22:59"))
    assert not window.is_open(at("2026-06-01 23:30"))
    assert not window.is_open(at("2026-06-02 00:59"))
    assert window.is_open(at("2026-06-02 01:00"))
    assert window.next_closing(at("2026-06-01 20:00")) == at("2026-06-01 23:00")
    assert window.next_opening(at("2026-06-01 23:30")) == at("2026-06-02 01:00")


def test_a_blackout_of_the_whole_window_leaves_nothing():
    window = Window(NIGHT, BERLIN, (Hours(dt.time(18), dt.time(8)),), ends_on=dt.date(2026, 7, 1))
    assert window.next_opening(at("2026-06-01 12:00")) is None


def test_first_and_last_night():
    window = Window(NIGHT, BERLIN, starts_on=dt.date(2026, 6, 3), ends_on=dt.date(2026, 6, 4))
    assert not window.is_open(at("2026-06-02 20:00"))
    assert not window.is_open(at("2026-06-03 03:00"))  # the night before began on the second
    assert window.next_opening(at("2026-06-01 20:00")) == at("2026-06-03 19:00")
    assert window.is_open(at("2026-06-05 06:00"))  # the night of the fourth
    assert not window.is_open(at("2026-06-05 19:30"))
    assert window.next_opening(at("2026-06-05 08:00")) is None


def test_a_first_night_years_away_is_found():
    window = Window(NIGHT, BERLIN, starts_on=dt.date(2040, 1, 1))
    assert window.next_opening(at("2026-06-05 08:00")) == at("2040-01-01 19:00")


def test_when_so_much_work_will_be_done():
    window = Window(NIGHT, BERLIN)
    assert window.after_seconds(at("2026-06-01 12:00"), 3600) == at("2026-06-01 20:00")
    assert window.after_seconds(at("2026-06-02 06:00"), 7200) == at("2026-06-02 20:00")
    assert window.after_seconds(at("2026-06-01 12:00"), 12 * 3600) == at("2026-06-02 07:00")


@pytest.mark.parametrize(("hours", "nights"), [(0, 1), (1, 1), (12, 1), (12.5, 2), (25, 3)])
def test_nights_that_work_takes(hours, nights):
    assert Window(NIGHT, BERLIN).nights_for(at("2026-06-01 12:00"), hours * 3600) == nights


def test_work_that_no_night_is_left_for():
    window = Window(NIGHT, BERLIN, ends_on=dt.date(2026, 6, 2))
    assert window.nights_for(at("2026-06-01 12:00"), 24 * 3600) == 2
    assert window.nights_for(at("2026-06-01 12:00"), 24 * 3600 + 1) is None


def test_the_same_moments_in_another_zone_than_the_questions():
    window = Window(NIGHT, ZoneInfo("America/New_York"))
    assert window.is_open(utc("2026-01-15 00:30"))
    assert not window.is_open(utc("2026-01-15 12:00"))


def test_a_moment_that_is_skipped_is_the_change():
    for fold in (0, 1):
        assert moment(dt.date(2026, 3, 29), dt.time(2, 10), BERLIN, fold) == utc("2026-03-29 01:00")


@pytest.mark.parametrize("text", ["19:00", "", "19:00-", "25:00-07:00", "a-b", "07:00-07:00"])
def test_hours_that_are_none(text):
    with pytest.raises(NotAllowed, match=r"hours|same time"):
        read_hours(text)


def test_hours_are_read():
    assert read_hours(" 19:00 - 07:30") == Hours(dt.time(19), dt.time(7, 30))


@pytest.mark.parametrize("name", ["Berlin", "", "../etc/passwd", "Europe/Nowhere"])
def test_zones_that_are_none(name):
    with pytest.raises(NotAllowed, match="time zone"):
        read_zone(name)


@pytest.mark.parametrize(
    ("configured", "machine", "zone"),
    [
        ("Asia/Tokyo", "Europe/Berlin", "Asia/Tokyo"),
        ("", "Europe/Berlin", "Europe/Berlin"),
        ("", ":Europe/Berlin", "Europe/Berlin"),
    ],
)
def test_the_site_s_zone_is_its_setting_or_else_the_machine_s(
    monkeypatch, setting, configured, machine, zone
):
    monkeypatch.setenv("TZ", machine)
    setting(time_zone=configured)
    assert site_zone(settings()) == ZoneInfo(zone)


def test_a_machine_whose_zone_has_no_name_is_told_so(monkeypatch, setting):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    setting(time_zone="")
    with pytest.raises(NotAllowed, match="no time zone"):
        site_zone(settings())


@pytest.mark.parametrize("day", ["9999-12-31", "9999-01-01"])
def test_a_first_night_at_the_end_of_the_calendar_never_comes(day):
    window = Window(NIGHT, BERLIN, starts_on=dt.date.fromisoformat(day))
    assert not window.is_open(at("2026-06-01 20:00"))
    window.next_opening(at("2026-06-01 20:00"))
    assert Window(NIGHT, BERLIN, starts_on=dt.date.max).next_opening(at("2026-06-01 20:00")) is None
