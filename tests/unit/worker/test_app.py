"""Celery's settings do what they are for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from records.broker import celery_url
from worker.app import app, configuration


@pytest.fixture
def conf(setting):
    setting(redis_url="redis://127.0.0.1:6399/3", sweep_seconds=2)
    return configuration()


def test_messages_are_json_and_no_result_is_kept(conf):
    assert conf["accept_content"] == ["json"]
    assert conf["result_backend"] is None
    assert conf["task_ignore_result"]
    assert not conf["task_send_sent_event"]
    assert not conf["worker_send_task_events"]


def test_a_bell_is_delivered_at_most_once(conf):
    assert not conf["task_acks_late"]
    assert not conf["task_reject_on_worker_lost"]
    assert conf["broker_transport_options"]["ack_emulation"] is False
    assert conf["worker_prefetch_multiplier"] == 1


def test_the_sweep_is_rung_as_set_and_old_bells_expire(conf):
    sweep = conf["beat_schedule"]["sweep"]
    assert sweep["schedule"] == 2
    assert sweep["options"] == {"queue": "sweep", "expires": 10.0}


def test_every_setting_is_one_that_celery_knows(conf):
    from celery.app.defaults import NAMESPACES, flatten

    known = {name for name, _ in flatten(NAMESPACES)}
    assert set(conf) <= known


def test_the_three_tasks_are_the_three_queues(conf):
    import worker.tasks  # noqa: F401  # where they are made

    assert conf["task_routes"] == {name: {"queue": name} for name in ("sweep", "prepare", "draft")}
    own_tasks = {name for name in app.tasks if not name.startswith("celery.")}
    assert own_tasks == {"sweep", "prepare", "draft"}


def test_a_sockets_address_is_written_as_kombu_wants_it():
    assert celery_url("unix:///run/valkey.sock") == "redis+socket:///run/valkey.sock"
    assert (
        celery_url("unix://u:p@/run/v.sock?db=2") == "redis+socket://u:p@/run/v.sock?virtual_host=2"
    )
    assert celery_url("redis://h:1/0") == "redis://h:1/0"


@pytest.mark.slow
def test_importing_the_worker_reads_no_address_and_brings_no_torch():
    code = "import sys, worker.tasks, worker.running; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
