"""Heartbeats: seen while a process runs and gone when it ends, whatever the database does."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from records.database.session import forget_engine, unit_of_work
from records.operations import heartbeats
from records.operations.heartbeats import HeartbeatThread
from records.states import TallyKind
from records.workflow import tallies
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("database")

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def running():
    with unit_of_work() as session:
        return {beat.part: beat.facts for beat in heartbeats.running_parts(session)}


def test_a_part_is_seen_with_its_latest_facts_until_the_block_ends():
    counts = iter(range(100))
    with HeartbeatThread("sweep", lambda: {"count": next(counts)}, seconds=0.01):
        eventually(lambda: running().get("sweep", {}).get("count", 0) > 2)
    assert running() == {}


def test_the_row_goes_when_the_block_fails():
    def fail_in_the_block():
        with HeartbeatThread("draft", dict, seconds=0.01):
            eventually(lambda: "draft" in running())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_in_the_block()
    assert running() == {}


def test_a_database_that_is_away_is_logged_once_and_waited_for(setting, database):
    beats = []
    with capture_logs() as lines:
        setting(database_url=NOWHERE)
        with HeartbeatThread("api", dict, seconds=0.01, after_beat=lambda: beats.append(1)):
            eventually(lambda: len(beats) > 3)
            setting(database_url=database)
            eventually(lambda: "api" in running())
        assert running() == {}
    assert [line["event"] for line in lines] == ["a heartbeat failed"]
    assert "PostgreSQL does not answer" in lines[0]["error"]


def test_what_comes_after_a_beat_may_fail_too():
    def broken():
        raise OSError("no such folder")

    with capture_logs() as lines, HeartbeatThread("api", dict, seconds=0.01, after_beat=broken):
        eventually(lambda: lines and "api" in running())
    assert {line["event"] for line in lines} == {"a heartbeat failed"}


def test_one_that_never_started_ends_without_a_word():
    with capture_logs() as lines:
        HeartbeatThread("api", dict).stop()
    assert lines == []


def test_a_process_may_fork_while_its_heart_beats():
    with HeartbeatThread("prepare", dict, seconds=0.0):
        for _ in range(20):
            child = os.fork()
            if child == 0:
                forget_engine()
                with unit_of_work() as session:
                    heartbeats.record_heartbeat(session, "child")
                    heartbeats.end_heartbeat(session, "child")
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0


def test_who_ended_without_a_word_is_counted_once_and_forgotten():
    with unit_of_work() as session:
        heartbeats.record_heartbeat(session, "sweep")
        assert heartbeats.count_deaths(session) == 0
    assert "sweep" in running()
    for deaths in (1, 0):
        with unit_of_work() as session:
            assert heartbeats.count_deaths(session, silent_seconds=0.0) == deaths
    assert running() == {}
    with unit_of_work() as session:
        assert tallies.read_numbers(session, TallyKind.DEATHS) == {"sweep": 1}


def test_who_ends_in_order_is_no_death():
    with HeartbeatThread("draft", dict, seconds=0.01):
        eventually(lambda: "draft" in running())
    with unit_of_work() as session:
        assert heartbeats.count_deaths(session, silent_seconds=0.0) == 0


def test_the_age_of_a_part_is_that_of_its_newest_heartbeat():
    with unit_of_work() as session:
        heartbeats.record_heartbeat(session, "draft")
        session.execute(
            text(
                "INSERT INTO heartbeats (part, owner, seen_at)"
                " VALUES ('draft', 'other:1', now() - interval '50 s'),"
                " ('prepare', 'other:2', now() - interval '50 s')"
            )
        )
        ages = heartbeats.newest_ages(session)
    assert ages["draft"] < 10
    assert 50 <= ages["prepare"] < 60
    assert set(ages) == {"draft", "prepare"}
