"""Readiness and metrics: what they say when a part is there, missing or slow."""

import re
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from api.app import _THREADS, make_app
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.operations import alarms, callers, heartbeats, refusals
from records.settings import settings
from records.workflow import worklist
from tests.support.seeded_studies import EXPECTED_PARTS, seed_heartbeats


def get(path):
    # Probes are answered to this machine without a look into the database.
    near = ("127.0.0.1", 50_000)
    with TestClient(make_app(settings()), base_url="http://localhost", client=near) as client:
        return client.get(path)


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
def test_a_probe_is_answered_while_every_thread_waits(
    path, database, data_dir, setting, monkeypatch
):
    setting(redis_url="redis://127.0.0.1:1/0")
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def read_slowly(*_, **__):
        waiting.release()
        assert go_on.wait(60)
        return worklist.WorklistPage([], None)

    monkeypatch.setattr(worklist, "read_page", read_slowly)
    with (
        TestClient(make_app(settings()), base_url="http://localhost") as client,
        ThreadPoolExecutor(_THREADS + 6) as browsers,
    ):
        try:
            calls = [browsers.submit(client.get, "/api/studies") for _ in range(_THREADS + 4)]
            for _ in range(_THREADS):
                assert waiting.acquire(timeout=60)
            assert browsers.submit(client.get, path).result(timeout=30).status_code == 200
        finally:
            go_on.set()
        assert {call.result().status_code for call in calls} == {200}


def test_ready_when_everything_is_there(database, broker, data_dir, setting):
    setting(bundle="demo", disk_stop_mb=1, disk_warn_mb=1)
    seed_heartbeats(*EXPECTED_PARTS)
    response = get("/readyz")
    assert response.json()["missing"] == []
    assert response.status_code == 200


def test_each_thing_that_is_missing_is_named(data_dir, setting):
    setting(
        database_url="postgresql://nobody@127.0.0.1:1/none",
        redis_url="redis://127.0.0.1:1/0",
        bundle=str(data_dir / "no-bundle"),
        disk_stop_mb=10**9,
    )
    shutil.rmtree(data_dir / "blobs" / "incoming")
    response = get("/readyz")
    assert response.status_code == 503
    assert response.json()["missing"] == ["database", "redis", "blobs", "disk", "parts", "bundle"]
    assert get("/healthz").status_code == 200


def test_a_part_that_is_not_seen_is_named(database, broker, data_dir, setting):
    setting(bundle="null", disk_stop_mb=1)
    seed_heartbeats("listener", "sweep", "draft")
    response = get("/readyz").json()
    assert response["missing"] == ["parts"]
    assert "prepare" in next(c["sentence"] for c in response["checks"] if c["name"] == "parts")


def test_little_disk_is_a_warning_first(database, broker, data_dir, setting):
    setting(bundle="null", disk_stop_mb=1, disk_warn_mb=10**9)
    seed_heartbeats(*EXPECTED_PARTS)
    response = get("/readyz")
    assert response.status_code == 200
    (disk,) = [check for check in response.json()["checks"] if check["name"] == "disk"]
    assert disk["ok"]
    assert disk["warning"]


def test_metrics_are_the_rows(client, broker, seeder):
    seeder.draft_study(1)
    (failed, _) = seeder.complete(2, 3)
    seeder.fail(failed)
    seed_heartbeats("draft")
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, "draft@gpu-3", "sick")
        refusals.record_refusal(
            session,
            calling_ae="X",
            sop_class_uid="1",
            sop_instance_uid="2",
            reason="sop_class",
            sentence="-",
        )
    # The application of `client` was made before the broker's address was set.
    metrics = get("/metrics").text
    for line in (
        'nightdraft_studies{state="DRAFTED"} 1.0',
        'nightdraft_studies{state="FAILED"} 1.0',
        'nightdraft_studies{state="WAITING"} 1.0',
        "nightdraft_drafts_total 1.0",
        'nightdraft_refusals_total{reason="sop_class"} 1.0',
        'nightdraft_queue_length{queue="draft"} 0.0',
        'nightdraft_parts_seen{part="draft"} 1.0',
        'nightdraft_parts_seen{part="listener"} 0.0',
        'nightdraft_alarms_open{kind="WORKER_STOPPED",part="draft@gpu-3"} 1.0',
        'nightdraft_up{part="database"} 1.0',
        'nightdraft_up{part="redis"} 1.0',
    ):
        assert line in metrics.splitlines()
    (waiting,) = re.findall(r"^nightdraft_oldest_waiting_seconds (\S+)$", metrics, re.MULTILINE)
    assert float(waiting) > 0
    assert "PHANTOM" not in metrics


def test_metrics_have_a_draft_workers_facts(database, client):
    facts = {"slots": 64, "occupancy": 0.91, "studies_per_second": 12.5, "reruns": 1}
    with unit_of_work() as session:
        heartbeats.record_heartbeat(session, "draft", facts)
        heartbeats.record_heartbeat(session, "prepare", {"processes": 2})
    metrics = get("/metrics").text
    worker = heartbeats.this_process()
    for line in (
        f'nightdraft_draft_slots{{worker="{worker}"}} 64.0',
        f'nightdraft_draft_occupancy{{worker="{worker}"}} 0.91',
        f'nightdraft_draft_studies_per_second{{worker="{worker}"}} 12.5',
        f'nightdraft_draft_reruns{{worker="{worker}"}} 1.0',
    ):
        assert line in metrics.splitlines()
    assert "nightdraft_draft_tokens_per_second{" not in metrics  # the worker did not report it


def test_metrics_say_that_a_part_is_down(data_dir, setting):
    setting(database_url="postgresql://nobody@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0")
    response = get("/metrics")
    assert response.status_code == 200
    assert 'nightdraft_up{part="database"} 0.0' in response.text
    assert 'nightdraft_up{part="redis"} 0.0' in response.text
    assert "nightdraft_studies" not in response.text


def test_by_a_name_that_is_not_ours_probes_name_no_machine_no_folder_and_no_device(
    database, data_dir, setting
):
    setting(
        redis_url="redis://redis.hospital.internal:1/0",
        bundle=str(data_dir / "no-bundle"),
        expected_parts="draft@gpu-7.hospital.internal",
    )
    seed_heartbeats("draft")
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, "gpu-7:4711", "It stopped.")
        callers.record_films(session, {"ED_CR": 1.0})
    hidden = (str(data_dir), "hospital.internal", "gpu-7", "ED_CR", socket.gethostname())
    ours = {path: get(path).text for path in ("/readyz", "/metrics")}
    assert all(any(word in text for text in ours.values()) for word in hidden[:4])
    with TestClient(make_app(settings()), base_url="http://rebound.example") as client:
        answers = {path: client.get(path) for path in ("/healthz", "/readyz", "/metrics")}
    assert {answer.status_code for answer in answers.values()} == {200, 503}
    for path, answer in answers.items():
        assert not [word for word in hidden if word in answer.text + str(answer.headers)], path
    assert "bundle" in answers["/readyz"].json()["missing"]
    assert 'nightdraft_alarms_open{kind="WORKER_STOPPED",part=""} 1.0' in answers["/metrics"].text
    assert "nightdraft_disk_free_bytes" in answers["/metrics"].text
