"""The alarms of parts that do not run and of a Redis that does not answer."""

import pytest
from sqlalchemy import text

from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import BundleUnusable, DatabaseDown
from records.operations import alarms
from records.operations.heartbeats import DEAD_SECONDS
from records.states import TallyKind
from records.workflow import tallies
from tests.support.seeded_studies import EXPECTED_PARTS, seed_heartbeats
from worker import tasks
from worker.part_alarms import MISSING_SECONDS, REDIS_SECONDS, PartAlarms


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def open_kinds():
    with unit_of_work() as session:
        return {alarm.part: alarm.kind for alarm in alarms.open_alarms(session)}


def test_a_part_that_is_missing_for_long_opens_an_alarm_until_it_is_back(database, broker, clock):
    seed_heartbeats("listener", "sweep", "draft")
    part_alarms = PartAlarms(clock)
    part_alarms.settle()
    clock.now += MISSING_SECONDS - 1
    part_alarms.settle()
    assert open_kinds() == {}  # a restart takes no longer
    clock.now += 1
    part_alarms.settle()
    assert open_kinds() == {"part prepare": AlarmKind.PART_MISSING}
    seed_heartbeats("prepare")
    part_alarms.settle()
    assert open_kinds() == {}


def test_a_machine_that_is_expected_is_named(database, broker, setting, clock):
    setting(expected_parts="listener, draft@gpu-2")
    seed_heartbeats("listener", "draft")
    part_alarms = PartAlarms(clock)
    part_alarms.settle()
    clock.now += MISSING_SECONDS
    part_alarms.settle()
    with unit_of_work() as session:
        (alarm,) = alarms.open_alarms(session)
        assert alarm.part == "part draft@gpu-2"
        assert alarm.cause == "No draft part was seen for more than 60 s, on gpu-2."


def test_a_part_that_comes_and_goes_opens_none(database, broker, clock):
    seed_heartbeats(*EXPECTED_PARTS)
    part_alarms = PartAlarms(clock)
    for _ in range(3):
        clock.now += MISSING_SECONDS * 0.9
        with unit_of_work() as session:
            session.execute(text("DELETE FROM heartbeats WHERE part = 'draft'"))
        part_alarms.settle()
        seed_heartbeats("draft")
        part_alarms.settle()
    assert open_kinds() == {}


def test_a_redis_that_is_away_opens_an_alarm_until_it_answers(database, broker, setting, clock):
    seed_heartbeats(*EXPECTED_PARTS)
    with unit_of_work() as session:  # left open by a sweep that ended
        alarms.raise_alarm(session, AlarmKind.PART_MISSING, "part draft", "It was away.")
    part_alarms = PartAlarms(clock)
    setting(redis_url="redis://127.0.0.1:1/0")
    part_alarms.settle()
    assert open_kinds() == {}
    clock.now += REDIS_SECONDS
    part_alarms.settle()
    assert open_kinds() == {"redis": AlarmKind.REDIS_DOWN}
    setting(redis_url=broker)
    part_alarms.settle()
    assert open_kinds() == {}


def seed_silent_worker():
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO heartbeats (part, owner, seen_at)"
                " VALUES ('draft', 'gone:1', now() - interval '1 hour')"
            )
        )


def count_deaths():
    with unit_of_work() as session:
        return tallies.read_numbers(session, TallyKind.DEATHS)


def test_processes_that_ended_without_a_word_are_counted(database, broker, clock):
    seed_heartbeats(*EXPECTED_PARTS)
    part_alarms = PartAlarms(clock)
    part_alarms.settle()
    seed_silent_worker()
    clock.now += DEAD_SECONDS
    part_alarms.settle()
    part_alarms.settle()
    assert count_deaths() == {"draft": 1}


def test_nobody_counts_as_dead_for_a_database_that_was_away(database, broker, setting, clock):
    seed_heartbeats(*EXPECTED_PARTS)
    part_alarms = PartAlarms(clock)
    part_alarms.settle()
    setting(database_url="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseDown):
        part_alarms.settle()
    setting(database_url=database)
    seed_silent_worker()  # it lives, and could not write
    clock.now += DEAD_SECONDS
    part_alarms.settle()
    assert count_deaths() == {}


def test_alarms_of_others_stay_open(database, broker, clock):
    seed_heartbeats(*EXPECTED_PARTS)
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, "draft@gpu-3", "It is sick.")
    PartAlarms(clock).settle()
    assert open_kinds() == {"draft@gpu-3": AlarmKind.WORKER_STOPPED}


def test_a_bundle_that_cannot_be_used_is_an_alarm_until_it_can(database, setting):
    setting(sweep_seconds=0.001)
    works = {"well": False}

    def work():
        if not works["well"]:
            raise BundleUnusable("model.safetensors is not the file that the manifest lists")

    tasks._run("draft", work)
    with unit_of_work() as session:
        (alarm,) = alarms.open_alarms(session)
        assert alarm.kind == AlarmKind.BUNDLE_UNUSABLE
        assert alarm.cause == "model.safetensors is not the file that the manifest lists."
        assert "Copy the bundle again" in alarm.remedy
        # It is not the alarm of a worker that stopped itself, so claims go on by themselves.
        assert not alarms.open_alarms(session, "draft")
    works["well"] = True
    tasks.paused_until.clear()
    tasks._run("draft", work)
    assert open_kinds() == {}
