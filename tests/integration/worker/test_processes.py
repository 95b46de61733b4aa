"""The worker as it runs at night: real processes, real servers, killed at any point."""

from __future__ import annotations

import signal

import psutil
import pytest
import redis

from records.alarm_kinds import AlarmKind
from records.database.draft_tables import DraftRequest
from records.database.session import unit_of_work
from records.database.tables import Study
from records.operations import alarms, heartbeats
from records.states import VisibleState
from records.workflow import drafts
from tests.support.sentinels import MASTER, running_sentinels
from tests.support.stored_studies import PLANTED_NAME, close_studies, store_studies, visible_state
from tests.support.waiting import eventually

DRAFTED = VisibleState.DRAFTED


def drafted(studies):
    return all(visible_state(study) is DRAFTED for study in studies)


def running_parts():
    with unit_of_work() as session:
        return {beat.part for beat in heartbeats.running_parts(session)}


def test_from_arrival_to_draft_and_nothing_of_a_patient_on_the_way(night, run_part, broker):
    night(prepare_processes=2)
    ids = store_studies(1, 2, 3, 4)
    running = [run_part(part) for part in ("sweep", "prepare", "draft")]
    eventually(lambda: drafted(ids), 60)
    later_studies = store_studies(5)
    eventually(lambda: drafted(later_studies), 30)
    assert running_parts() == {"sweep", "prepare", "draft"}
    with redis.Redis.from_url(broker) as connection:
        assert not [key for key in connection.keys("*") if PLANTED_NAME in key.decode()]
    assert [part.end() for part in running] == [0, 0, 0]
    for part in running:
        assert "[info" in part.read_log()
        assert PLANTED_NAME not in part.read_log()
        assert "Traceback" not in part.read_log()
    assert running_parts() == set()


def test_a_preparing_process_needs_no_torch(night, run_part):
    night(prepare_processes=1)
    part = run_part("prepare")
    eventually(lambda: running_parts() == {"prepare"}, 30)
    for process in [psutil.Process(part.process.pid), *part.children()]:
        assert not [m.path for m in process.memory_maps() if "libtorch" in m.path]


@pytest.mark.parametrize(
    "point", ["while-preparing", "while-drafting", "before-draft-commit", "after-draft-commit"]
)
def test_killed_at_any_point_every_study_has_one_draft(
    night, run_part, point, tmp_path, monkeypatch
):
    monkeypatch.setenv("NIGHTDRAFT_KILL_AT", point)
    monkeypatch.setenv("NIGHTDRAFT_KILL_MARK", str(tmp_path / "killed"))
    night(prepare_processes=1, lease_seconds=1.5)
    ids = store_studies(1, 2, 3)
    running = {part: run_part(part) for part in ("sweep", "prepare", "draft")}

    def supervised():
        # A process that died is started again, as a supervisor does.
        for name, part in running.items():
            if part.process.poll() is not None:
                running[name] = run_part(name)
        return drafted(ids)

    eventually(supervised, 60)
    assert (tmp_path / "killed").exists()
    with unit_of_work() as session:
        for study in ids:
            (draft,) = drafts.list_by_study(session, study)
            assert draft.superseded_at is None
            assert session.get(DraftRequest, session.get(Study, study).request_id).attempts == 0


def test_redis_emptied_and_killed_while_all_runs(night, run_part, broker, servers):
    night(prepare_processes=1)
    running = [run_part(part) for part in ("sweep", "prepare", "draft")]
    first = store_studies(1)
    eventually(lambda: drafted(first), 60)
    more = store_studies(2, 3)
    with redis.Redis.from_url(broker) as connection:
        for _ in range(20):
            connection.flushall()
    eventually(lambda: drafted(more), 30)
    with redis.Redis.from_url(broker) as connection:
        valkey = psutil.Process(connection.info("server")["process_id"])
    valkey.kill()
    eventually(lambda: not valkey.is_running() or valkey.status() == psutil.STATUS_ZOMBIE)
    later_studies = store_studies(4, 5)
    assert servers.restart_dead()
    eventually(lambda: drafted(later_studies), 60)
    assert [part.process.poll() for part in running] == [None, None, None]


@pytest.mark.parametrize("part", ["sweep", "draft"])
def test_sigterm_ends_a_worker_whose_database_hangs(night, run_part, database_proxy, part):
    night(database_url=database_proxy.url, database_statement_seconds=1)
    running = run_part(part)
    eventually(lambda: running_parts() == {part}, 60)
    database_proxy.swallow()
    running.signal_to_end()
    running.process.wait(timeout=60)


def test_workers_follow_the_redis_that_sentinels_name(night, run_part, short_folder):
    with running_sentinels(short_folder()) as group:
        night(redis_url=group.url, redis_master=MASTER, prepare_processes=1)
        for part in ("sweep", "prepare"):
            run_part(part)
        ids = store_studies(1)
        eventually(lambda: visible_state(ids[0]) is VisibleState.PREPARED, 60)
        group.master.kill()
        more = store_studies(2)
        eventually(lambda: visible_state(more[0]) is VisibleState.PREPARED, 120)


def test_a_killed_parent_leaves_no_children(night, run_part):
    night(prepare_processes=2)
    part = run_part("prepare")
    eventually(lambda: len(part.children()) >= 2, 30)
    eventually(lambda: running_parts() == {"prepare"}, 30)
    part.end(signal.SIGKILL)


def test_a_sick_worker_stops_itself_and_does_no_harm_when_restarted(night, run_part, data_dir):
    night(prepare_processes=1, retry_seconds=3600)
    ids = store_studies(1, 2, 3)
    for path in data_dir.glob("blobs/instances/**/*.dcm"):
        path.rename(path.with_suffix(".hidden"))
    close_studies()
    sweep = run_part("sweep")
    assert run_part("prepare").process.wait(timeout=60) == 1
    with unit_of_work() as session:
        assert alarms.open_alarms(session, "prepare")
    for path in data_dir.glob("blobs/instances/**/*.hidden"):
        path.rename(path.with_suffix(".dcm"))
    restarted = run_part("prepare")
    eventually(lambda: running_parts() == {"sweep", "prepare"}, 30)
    assert {visible_state(study) for study in ids} == {VisibleState.WAITING}
    with unit_of_work() as session:
        alarms.close_alarms(session)
    eventually(lambda: {visible_state(study) for study in ids} == {VisibleState.PREPARED}, 30)
    assert restarted.process.poll() is None
    assert sweep.process.poll() is None


@pytest.mark.parametrize(
    ("part", "wrong", "message"),
    [
        ("sweep", {"database_url": "postgresql://x@127.0.0.1:1/x"}, "PostgreSQL does not answer"),
        ("sweep", {"redis_url": "redis://127.0.0.1:1/0"}, "Redis does not answer"),
        ("prepare", {"bundle": ""}, "NIGHTDRAFT_BUNDLE is not set"),
        ("draft", {"bundle": "/nowhere"}, "there is no bundle at /nowhere"),
        ("prepare", {"indication_sources": "tealeaves"}, "no such source: tealeaves"),
    ],
)
def test_what_is_missing_at_the_start_is_one_line(night, run_part, part, wrong, message):
    night(**wrong)
    started = run_part(part)
    assert started.process.wait(timeout=60) == 1
    *alarm_lines, line = started.read_log().strip().splitlines()
    assert message in line
    assert len(alarm_lines) == ("bundle" in wrong)
    if "bundle" in wrong:
        assert "an alarm opens alarm=BUNDLE_UNUSABLE" in alarm_lines[0]
        with unit_of_work() as session:
            (alarm,) = alarms.open_alarms(session)
        assert (alarm.kind, message in alarm.cause) == (AlarmKind.BUNDLE_UNUSABLE, True)
