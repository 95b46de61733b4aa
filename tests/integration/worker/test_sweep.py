"""The sweep: what it closes, takes back and rings for, with Redis and database coming and going."""

from __future__ import annotations

import json

import pytest
import redis
from sqlalchemy import text

from records.alarm_kinds import AlarmKind
from records.database.draft_tables import DraftRequest
from records.database.session import unit_of_work
from records.database.tables import Study
from records.errors import BrokerDown
from records.operations import alarms
from records.states import Comparison, Stage, VisibleState
from records.workflow import leases, requests
from tests.support.stored_studies import (
    PLANTED_NAME,
    close_studies,
    phantom_images,
    store_image,
    store_studies,
    visible_state,
)
from worker import bells, sweep
from worker.circuit_breaker import CircuitBreaker
from worker.sweep import SweepResult


@pytest.fixture
def queue(night, broker):
    with redis.Redis.from_url(broker) as connection:
        yield connection


def claim(stage=Stage.PREPARE, limit=10, seconds=60.0):
    with unit_of_work() as session:
        return leases.claim(session, stage, "w", limit, seconds)


def test_quiet_studies_are_closed_however_many(queue, monkeypatch):
    monkeypatch.setattr(sweep, "CLOSE_AT_ONCE", 2)
    ids = store_studies(1, 2, 3, 4, 5)
    assert sweep.sweep() == SweepResult(closed=5, expired=0, rung=5)
    assert {visible_state(study) for study in ids} == {VisibleState.WAITING}


def test_bells_are_rung_between_turns(queue, monkeypatch):
    monkeypatch.setattr(sweep, "CLOSE_AT_ONCE", 2)
    monkeypatch.setattr(sweep, "EXPIRE_AT_ONCE", 2)
    store_studies(1, 2, 3, 4, 5)
    rung = []
    take_turn = sweep._take_turn

    def count_bells(result):
        rung.append(queue.llen("prepare"))
        return take_turn(result)

    monkeypatch.setattr(sweep, "_take_turn", count_bells)
    sweep.sweep()
    assert rung == [0, 2, 4]
    claim(seconds=0.0)
    assert sweep.sweep().expired == 5


def test_what_waited_for_its_time_is_woken_and_rung_for(queue):
    store_studies(1)
    close_studies()
    with unit_of_work() as session:
        session.execute(text("UPDATE draft_requests SET not_before = now() + interval '1 hour'"))
    assert sweep.sweep() == SweepResult()
    with unit_of_work() as session:
        session.execute(text("UPDATE draft_requests SET not_before = now() - interval '1 s'"))
    assert sweep.sweep() == SweepResult(woken=1, rung=1)


def test_two_kills_of_a_healthy_worker_are_no_sickness(queue, night):
    night(retry_seconds=3600, sick_after=3)
    store_studies(*range(1, 9))
    close_studies()
    claim(limit=4, seconds=0.0)  # all processes are killed
    sweep.sweep()
    for _ in range(4):  # and killed again, each with a suspect
        assert len(claim(seconds=0.0)) == 1
    (other,) = claim(limit=1)  # those that replace them go on, long before the sweep looks
    with unit_of_work() as session:
        assert requests.skip(session, other, "test", "test")
    assert sweep.sweep().expired == 4
    with unit_of_work() as session:
        assert alarms.open_alarms(session) == []


def test_a_trial_that_kills_its_process_costs_no_attempt_and_the_next_takes_another_study(
    queue, night
):
    night(sick_after=3, trial_seconds=300)
    (first, second) = store_studies(1, 2)
    close_studies()
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, "prepare@w", "sick")
        session.execute(text("UPDATE draft_requests SET suspect = true"))
        session.execute(text("UPDATE alarms SET opened_at = now() - interval '1 hour'"))
    with unit_of_work() as session:
        (trial,) = CircuitBreaker(Stage.PREPARE).claim(session, "w:1", 10)
        session.execute(text("UPDATE leases SET expires_at = now() - interval '1 s'"))
    assert trial.study_id == first
    assert sweep.sweep().expired == 1
    with unit_of_work() as session:
        row = session.get(DraftRequest, trial.request_id)
        assert (row.attempts, row.not_before is not None) == (0, True)
        assert len(alarms.open_alarms(session, "prepare@w")) == 1
        assert CircuitBreaker(Stage.PREPARE).claim(session, "w:2", 10) == []
        session.execute(text("UPDATE alarms SET tried_at = now() - interval '1 hour'"))
    with unit_of_work() as session:
        (trial,) = CircuitBreaker(Stage.PREPARE).claim(session, "w:2", 10)
    assert trial.study_id == second


def test_a_message_holds_a_requests_id_and_nothing_else(queue):
    (study,) = store_studies(1)
    sweep.sweep()
    (message,) = queue.lrange("prepare", 0, -1)
    with unit_of_work() as session:
        request_id = str(session.get(Study, study).request_id)
    envelope = json.loads(message)
    from base64 import b64decode

    args, kwargs, _ = json.loads(b64decode(envelope["body"]))
    assert (args, kwargs) == ([request_id], {})
    assert envelope["headers"]["argsrepr"] == f"['{request_id}']"
    assert PLANTED_NAME not in str(envelope) + str(queue.keys("*"))


def test_bells_never_pile_up(queue, night):
    night(bells_ahead=3)
    store_studies(*range(1, 7))
    assert [sweep.sweep().rung for _ in range(3)] == [3, 0, 0]
    assert queue.llen("prepare") == 3
    queue.lpop("prepare")
    assert sweep.sweep().rung == 1


def test_an_emptied_redis_costs_one_sweep(queue):
    store_studies(1, 2)
    assert sweep.sweep().rung == 2
    queue.flushall()
    assert sweep.sweep().rung == 2
    assert queue.llen("prepare") == 2


def test_what_is_worked_on_is_not_rung_for(queue):
    store_studies(1, 2)
    close_studies()
    claim(limit=1)
    assert sweep.sweep().rung == 1


def test_leases_that_ran_out_are_taken_back_and_rung_for(queue):
    (study,) = store_studies(1)
    close_studies()
    claim(seconds=0.0)
    assert sweep.sweep() == SweepResult(closed=0, expired=1, rung=1)
    assert visible_state(study) is VisibleState.WAITING


def test_workers_that_die_on_one_study_after_the_other_raise_the_alarm(queue, night):
    night(retry_seconds=3600, sick_after=3)
    ids = store_studies(1, 2, 3, 4)
    close_studies()
    claim(seconds=0.0)  # one worker dies with all of them in a batch, then one with each alone
    sweep.sweep()
    for _ in range(3):
        assert len(claim(seconds=0.0)) == 1
        sweep.sweep()
    with unit_of_work() as session:
        (alarm,) = alarms.open_alarms(session, "prepare")
        rows = [session.get(DraftRequest, session.get(Study, s).request_id) for s in ids]
    assert "3 different studies" in alarm.cause
    assert [row.attempts for row in rows] == [0, 0, 0, 0]
    queue.flushall()
    assert sweep.sweep().rung == 0
    with unit_of_work() as session:
        alarms.close_alarms(session)
    assert sweep.sweep().rung == 4
    # Deaths before the alarm do not count again: the next one starts a new count.
    claim(seconds=0.0)
    sweep.sweep()
    with unit_of_work() as session:
        assert not alarms.open_alarms(session)


def test_without_redis_the_rows_move_and_nothing_is_lost(queue, night, broker):
    (study,) = store_studies(1)
    night(redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(BrokerDown, match="next sweep"):
        sweep.sweep()
    assert visible_state(study) is VisibleState.WAITING
    night(redis_url=broker)
    assert sweep.sweep().rung == 1


def test_ringing_again_stays_under_the_limit(queue, night):
    night(bells_ahead=2)
    store_studies(1, 2, 3)
    close_studies()
    with unit_of_work() as session:
        ids = list(leases.claimable_ids(session, Stage.PREPARE, 10))
    assert bells.ring(Stage.DRAFT, ids) == 2
    assert bells.ring(Stage.DRAFT, ids) == 0
    assert bells.count_waiting(Stage.DRAFT) == 2


def test_films_whose_pixels_are_to_be_compared_ring_for_a_prepare_worker(queue):
    image = phantom_images(1)[0]
    study = store_image(image)
    store_image(image, sha256="another encoding", compare=lambda _: Comparison.UNDECIDED)
    sweep.sweep()
    assert queue.llen("prepare") == 2  # one for the study, one for the film
    assert visible_state(study) is VisibleState.WAITING
