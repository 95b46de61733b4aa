"""The drift line and its alarm, with days that are passed in."""

import datetime as dt

import pytest

from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.operations import alarms
from records.quality import drift
from records.quality.drift import DayShare
from records.settings import settings
from records.states import Role
from records.workflow import site_scope
from tests.support.accounts import make_account, run_sql
from tests.support.decided_drafts import add_days, count, decide
from tests.support.two_sites import make_north
from worker import quality_alarm

pytestmark = pytest.mark.usefixtures("database")

FIRST = dt.date(2026, 1, 5)


def day(number):
    return FIRST + dt.timedelta(days=number)


@pytest.fixture
def line():
    """A model with four weeks of ten drafts a day, two of which are changed."""
    ada = make_account("ada", Role.READER)
    decide(ada)
    count()
    run_sql("DELETE FROM quality_days")
    add_days([(day(n), 10, 2) for n in range(28)])


def settle(number):
    with unit_of_work() as session:
        quality_alarm.settle(session, day(number))
        return [
            (alarm.kind, alarm.part, alarm.cause)
            for alarm in alarms.open_alarms(session)
            if alarm.kind == AlarmKind.QUALITY_DRIFT
        ]


def read(number):
    with unit_of_work() as session:
        return drift.read_lines(session, settings(), day(number))


def test_the_baseline_is_the_first_days_and_later_ones_have_an_interval(line):
    assert read(27)[0].baseline is None
    add_days([(day(28), 10, 2)])
    (found,) = read(28)
    assert (found.baseline.since, found.baseline.until) == (day(0), day(27))
    assert found.baseline.share == 0.2
    assert found.baseline.low < 0.2 < found.baseline.high
    assert found.days[27].low is None
    assert found.days[28].low < 0.2 < found.days[28].high
    assert (found.run, found.side) == (0, 0)


def test_a_baseline_lasts_until_it_has_enough_drafts():
    few = [DayShare(day(n), 1, 0) for n in range(60)]
    assert drift.find_baseline(few, 28, 50).until == day(49)
    assert drift.find_baseline(few, 28, 60) is None
    assert drift.find_baseline([], 1, 1) is None
    sparse = [DayShare(day(n), 100, 20) for n in (0, 3, 40)]
    assert drift.find_baseline(sparse, 28, 100).until == day(3)


def test_the_alarm_opens_after_seven_days_running_and_closes_by_itself(line):
    for number in range(28, 34):
        add_days([(day(number), 10, 9)])
        assert settle(number + 1) == []
    add_days([(day(34), 10, 9)])
    assert settle(34) == []  # the seventh day is not over
    ((_, part, cause),) = settle(35)
    assert part == "model bundle-1 at default"
    assert "90% of the drafts" in cause
    assert "above the interval of the baseline: 20% (16% to 25%)" in cause
    assert len(settle(35)) == 1
    assert len(settle(38)) == 1  # a weekend without drafts ends nothing
    add_days([(day(38), 10, 2)])
    assert settle(39) == []
    assert run_sql("SELECT count(*), count(closed_at) FROM alarms") == [(1, 1)]


def test_days_without_drafts_do_not_count_and_a_day_inside_begins_anew(line):
    add_days([(day(number), 10, 9) for number in (28, 30, 32, 34, 36, 38)])
    assert settle(39) == []
    add_days([(day(40), 10, 2)])
    add_days([(day(number), 10, 9) for number in range(41, 47)])
    assert settle(47) == []
    add_days([(day(47), 10, 9)])
    assert len(settle(48)) == 1


def test_days_on_both_sides_are_no_run(line):
    add_days([(day(number), 60, 50 if number % 2 else 0) for number in range(28, 40)])
    (found,) = read(40)
    assert {found.days[-1].side, found.days[-2].side} == {1, -1}
    assert found.run == 1
    assert settle(40) == []


def test_readers_who_change_less_than_before_are_seen_too(line):
    add_days([(day(number), 60, 0) for number in range(28, 35)])
    ((_, _, cause),) = settle(35)
    assert "below the interval" in cause


def test_no_alarm_opens_where_the_setting_says_so_and_an_open_one_closes(line, setting):
    add_days([(day(number), 10, 9) for number in range(28, 35)])
    assert len(settle(35)) == 1
    setting(quality_drift_days=0)
    assert settle(35) == []


def test_the_alarm_closes_when_the_model_is_used_no_more(line):
    add_days([(day(number), 10, 9) for number in range(28, 35)])
    assert len(settle(35)) == 1
    assert settle(34 + drift.RECENT_DAYS + 1) == []


def test_a_line_is_of_one_site_and_shown_to_who_sees_it(line):
    north = make_north()
    add_days([(day(n), 5, 1) for n in range(28)], site_id=north)
    assert len(read(27)) == 2
    with site_scope.limited_to([north]):
        assert [found.site_id for found in read(27)] == [north]


def test_parts_that_are_not_added_up_yet_are_in_the_line():
    decide(make_account("ada", Role.READER), "rejected")
    count(above=10_000)
    ((decided,),) = run_sql("SELECT day FROM draft_outcomes")
    with unit_of_work() as session:
        (found,) = drift.read_lines(session, settings(), decided)
    assert [(each.watched, each.differing) for each in found.days] == [(1, 1)]
