"""What is written of a system that is away: its light, and one alarm while somebody needs it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from intake import turns
from intake.turns import LIGHT_SECONDS, Reachability, SystemAway, TurnThread
from records.alarm_kinds import AlarmKind
from records.database.operation_tables import Alarm, Observation
from records.database.session import unit_of_work
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("database")

AWAY = SystemAway("the worklist does not answer")


class Watched(Reachability):
    """A system whose clock and need the test sets."""

    def __init__(self, alarm_seconds: float = 60.0) -> None:
        super().__init__("worklist", AlarmKind.WORKLIST_AWAY, alarm_seconds, lambda: self.now)
        self.now = 1000.0
        self.needed_now = self.needed_later = True
        self.said: list[str] = []

    def note_waiting(self, session, sentence):
        self.said.append(sentence)

    def is_needed(self, session, *, now):
        return self.needed_now if now else self.needed_now or self.needed_later


def light():
    with unit_of_work() as session:
        row = session.scalars(select(Observation)).one_or_none()
        return row and (row.is_well, row.sentence)


def alarm():
    """Whether each alarm is open, oldest first."""
    with unit_of_work() as session:
        rows = session.scalars(select(Alarm).order_by(Alarm.id))
        return [(row.cause, row.closed_at is None) for row in rows]


def test_a_system_that_goes_away_and_comes_back_has_its_light_and_one_alarm():
    system = Watched()
    system.note_answer()
    assert light() == (True, "It answered when it was last asked.")
    assert system.is_known_well
    system.note_away(AWAY)
    assert light() == (False, "the worklist does not answer.")
    assert not system.is_known_well
    assert alarm() == []
    system.now += 60
    system.note_away(AWAY)
    system.note_away(AWAY)
    assert alarm() == [("the worklist does not answer.", True)]
    system.note_answer()
    assert light() == (True, "It answered when it was last asked.")
    assert alarm() == [("the worklist does not answer.", False)]
    assert system.said[-2:] == ["the worklist does not answer.", ""]


def test_an_answer_that_changes_nothing_is_not_written():
    system = Watched()
    system.note_answer()
    system.note_answer()
    assert system.said == [""]


def test_the_light_is_recorded_again_once_it_is_old_and_opens_the_alarm_in_a_pause():
    system = Watched(alarm_seconds=12.0)
    system.record_if_due()
    assert light() is None  # nobody has asked it yet
    system.note_away(AWAY)
    system.now += LIGHT_SECONDS - 1
    system.record_if_due()
    assert len(system.said) == 1
    system.now += 1
    system.record_if_due()
    assert len(system.said) == 2
    assert alarm() == []
    system.now += LIGHT_SECONDS
    system.record_if_due()
    assert alarm() == [("the worklist does not answer.", True)]


def test_a_system_that_nobody_needs_has_a_light_and_no_alarm_until_somebody_does():
    system = Watched(alarm_seconds=0.0)
    system.needed_now = system.needed_later = False
    system.note_away(AWAY)
    assert light() == (False, "the worklist does not answer.")
    assert alarm() == []
    system.needed_later = True
    system.record()
    assert alarm() == []
    system.needed_now = True
    system.record()
    assert alarm() == [("the worklist does not answer.", True)]


def test_an_alarm_stays_while_work_waits_for_later_and_ends_where_none_is_left():
    system = Watched(alarm_seconds=0.0)
    system.note_away(AWAY)
    system.needed_now = False
    system.record()
    assert alarm() == [("the worklist does not answer.", True)]
    system.needed_later = False
    system.record()
    assert alarm() == [("the worklist does not answer.", False)]


def test_a_pause_for_another_reason_lets_the_next_answer_be_noted_anew():
    system = Watched()
    system.note_answer()
    system.pause(5.0)
    assert system.rest_seconds() == 5.0
    assert not system.is_known_well
    system.note_answer()
    assert system.rest_seconds() == 0.0
    assert system.said == ["", ""]


def test_a_fault_is_logged_once_and_turns_go_on(monkeypatch, caplog, capsys):
    monkeypatch.setattr(turns, "FIRST_PAUSE_SECONDS", 0.01)
    taken = []

    class Faulty(TurnThread):
        def take_turn(self):
            taken.append(1)
            raise ValueError("of the patient PLANTED")

    thread = Faulty("worklist-0", Watched())
    thread.start()
    try:
        eventually(lambda: len(taken) >= 5)
    finally:
        thread.stop()
        thread.join(30)
    assert not thread.is_alive()
    logged = capsys.readouterr()
    logged = logged.out + logged.err + caplog.text
    assert logged.count("a turn failed and is tried again") == 1
    assert "PLANTED" not in logged
