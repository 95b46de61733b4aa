"""An outage by the clock: pauses that double, an alarm that is not late, and an end."""

from __future__ import annotations

import pytest

from intake.turns import FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, Outage


def away(outage: Outage, *seconds: float) -> list[float]:
    """The pauses after each of some moments at which the system did not answer."""
    return [outage.note_away(now) for now in seconds]


def test_a_system_that_was_never_asked_is_not_away():
    outage = Outage(0.0)
    assert outage.since is None
    assert outage.rest_seconds(1000.0) == 0.0
    assert not outage.is_alarm_due(1e9)


def test_the_pause_doubles_up_to_a_limit_and_begins_anew_after_an_answer():
    outage = Outage(0.0)
    pauses = away(outage, *range(0, 8000, 1000))
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]
    assert (pauses[0], pauses[-1]) == (FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS)
    outage.note_answer()
    assert away(outage, 9000.0) == [FIRST_PAUSE_SECONDS]


def test_it_is_left_alone_until_the_pause_ends():
    outage = Outage(0.0)
    outage.note_away(100.0)
    assert [outage.rest_seconds(now) for now in (100.0, 102.0, 105.0, 200.0)] == [5, 3, 0, 0]


def test_an_answer_ends_the_pause():
    outage = Outage(0.0)
    away(outage, 100.0, 100.0, 100.0)
    outage.note_answer()
    assert outage.rest_seconds(100.0) == 0.0
    assert outage.since is None
    assert not outage.is_alarm_due(1e9)


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (None, 5),
        (2.0, 5),  # never shorter than our own
        (60.0, 60),
        (86_400.0, LAST_PAUSE_SECONDS),  # nobody can send us away for a day
    ],
)
def test_a_system_may_ask_to_be_left_alone_for_longer(asked, pause):
    assert Outage(0.0).note_away(0.0, asked) == pause


def test_the_alarm_is_due_once_the_outage_has_lasted_since_its_beginning():
    outage = Outage(60.0)
    away(outage, 1000.0, 1030.0)
    assert outage.since == 1000.0
    assert [outage.is_alarm_due(now) for now in (1000.0, 1059.0, 1060.0, 2000.0)] == [
        False, False, True, True,
    ]  # fmt: skip


def test_a_long_pause_does_not_make_the_alarm_late():
    outage = Outage(60.0)
    now, tries = 0.0, []
    while not outage.is_alarm_due(now):
        tries.append(now)
        now += outage.note_away(now)
    assert tries == [0, 5, 15, 35]
    assert now == 60.0  # the pause of 40 seconds would have ended at 75


def test_a_try_just_before_the_alarm_does_not_lead_to_one_without_a_pause():
    outage = Outage(60.0)
    assert away(outage, 0.0, 59.5)[1] == FIRST_PAUSE_SECONDS


def test_a_pause_for_another_reason_is_no_outage():
    outage = Outage(0.0)
    outage.leave_alone(100.0, 5.0)
    assert outage.rest_seconds(101.0) == 4.0
    assert outage.since is None
    assert not outage.is_alarm_due(200.0)
