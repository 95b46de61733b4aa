"""Outcomes: the sweep rings for them, the bell completes them, and a few at a time."""

import pytest

from records.database.session import unit_of_work
from records.operations import alarms
from records.quality import outcomes
from records.states import Role
from tests.support.accounts import make_account, run_sql
from tests.support.decided_drafts import decide, fill_quality
from worker import bells, quality_alarm, sweep, tasks
from worker import outcomes as worker_outcomes
from worker.outcomes import complete_outcomes


@pytest.fixture(autouse=True)
def _night(night):
    night()


@pytest.fixture
def rung(monkeypatch):
    found = []
    monkeypatch.setattr(bells, "ring", lambda stage, ids: found.extend(ids) or len(ids))
    monkeypatch.setattr(quality_alarm, "_looked_at", None)
    return found


def test_the_sweep_rings_until_they_are_complete(rung):
    decide(make_account("ada", Role.READER))
    ((study_id,),) = run_sql("SELECT study_id FROM reviews")
    sweep.sweep()
    assert rung == [study_id]
    tasks.prepare(str(study_id))
    with unit_of_work() as session:
        assert outcomes.find_waiting(session) is None
    rung.clear()
    sweep.sweep()
    assert rung == []


def test_a_long_list_is_completed_a_part_at_a_time(monkeypatch):
    ada = make_account("ada", Role.READER)
    for _ in range(5):
        decide(ada)
    monkeypatch.setattr(worker_outcomes, "AT_ONCE", 2)
    assert [complete_outcomes() for _ in range(4)] == [2, 2, 1, 0]
    assert complete_outcomes(lambda: True) == 0


def test_the_sweep_opens_the_alarm_and_looks_once_an_hour(rung):
    fill_quality(make_account("ada", Role.READER))
    sweep.sweep()
    with unit_of_work() as session:
        (alarm,) = alarms.open_alarms(session)
        assert (alarm.kind, alarm.part) == ("QUALITY_DRIFT", "model bundle-1 at default")
        alarms.close_alarms(session)
    sweep.sweep()
    with unit_of_work() as session:
        assert alarms.open_alarms(session) == []
