"""Alarms and numbers about certificates of ours that end, or that cannot be renewed."""

from __future__ import annotations

import datetime as dt
import gc
import os
import time
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from api.app import make_app
from nightdraft.doctor import run_checks
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.operations import alarms, certificates
from records.operations.heartbeats import HeartbeatThread, this_process
from records.settings import settings
from records.tls.contexts import ServerFiles
from records.tls.watched import WatchedContext
from tests.support.certificates import Authority, Issued
from tests.support.seeded_studies import EXPECTED_PARTS, seed_heartbeats
from tests.support.waiting import eventually
from worker.part_alarms import PartAlarms

HOST = this_process().rpartition(":")[0]
PART = f"certificate of the listener on {HOST}"


@pytest.fixture(autouse=True)
def _parts(database: str, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()  # contexts of earlier tests
    monkeypatch.setattr("records.tls.watched.LOOK_SECONDS", 0)
    seed_heartbeats(*EXPECTED_PARTS)


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path)


def watched(issued: Issued) -> WatchedContext:
    names = ("NIGHTDRAFT_LISTEN_CERTIFICATE", "NIGHTDRAFT_LISTEN_CERTIFICATE_KEY", "")
    files = ServerFiles(str(issued.certificate), str(issued.key), "", "none", names)
    return WatchedContext(files, "the listener")


def look() -> list[str]:
    """The causes of the open alarms, after this process has written what it shows, and a look."""
    before = dt.datetime.now(dt.UTC)
    with HeartbeatThread("listener", dict, seconds=3600):
        eventually(lambda: shown_since(before))
        PartAlarms().settle()
    with unit_of_work() as session:
        opened = alarms.open_alarms(session)
        assert {(alarm.kind, alarm.part) for alarm in opened} <= {
            (AlarmKind.CERTIFICATE_ENDS, PART)
        }
        return [alarm.cause for alarm in opened]


def shown_since(before: dt.datetime) -> bool:
    from sqlalchemy import select

    from records.database.operation_tables import Heartbeat

    with unit_of_work() as session:
        seen = session.scalar(
            select(Heartbeat.seen_at).where(
                Heartbeat.part == "listener", Heartbeat.owner == this_process()
            )
        )
        return seen is not None and seen >= before


def renew(own: Issued, new: Issued) -> None:
    own.certificate.write_bytes(new.certificate.read_bytes())
    own.key.write_bytes(new.key.read_bytes())
    make_older(own)


def make_older(own: Issued) -> None:
    """As files are that nobody is renewing just now."""
    for path in (own.certificate, own.key):
        os.utime(path, (time.time() - 60,) * 2)


def test_one_that_ends_soon_opens_an_alarm_that_a_renewal_closes(authority: Authority) -> None:
    own = authority.issue("listener", days=(-1, 29))
    context = watched(own)
    (cause,) = look()
    assert cause.startswith(f"The certificate of the listener on {HOST} ends on ")
    assert look() == [cause]
    renew(own, authority.issue("listener", days=(-1, 90)))
    assert look() == []
    assert context.shown is not None


def test_one_that_has_ended_is_said_to_have(authority: Authority) -> None:
    context = watched(authority.issue("listener", days=(-90, -1)))
    (cause,) = look()
    assert " ended on " in cause
    assert context.shown is not None


def test_one_that_cannot_be_renewed_is_told_of_before_it_ends(authority: Authority) -> None:
    own = authority.issue("listener", days=(-1, 90))
    context = watched(own)
    assert look() == []
    own.key.write_text("no key")
    make_older(own)
    (cause,) = look()
    assert cause.startswith(f"New certificate files of the listener on {HOST} cannot be used")
    assert "NIGHTDRAFT_LISTEN_CERTIFICATE" in cause
    # While it lasts, the cause says what is worst of it.
    renew(own, authority.issue("listener", days=(-1, 3)))
    (cause,) = look()
    assert " ends on " in cause
    renew(own, authority.issue("listener", days=(-1, 90)))
    assert look() == []
    assert context.shown is not None


def test_the_alarm_of_a_part_that_ended_closes(authority: Authority) -> None:
    context = watched(authority.issue("listener", days=(-1, 3)))
    assert len(look()) == 1
    del context
    gc.collect()
    assert look() == []


def test_the_days_left_are_a_metric(
    authority: Authority, data_dir, setting: Callable[..., None]
) -> None:
    context = watched(authority.issue("listener", days=(-1, 12)))
    look()
    with unit_of_work() as session:  # `look` ends its heartbeat
        assert certificates.list_shown(session) == []
    thread = HeartbeatThread("listener", dict, seconds=3600)
    before = dt.datetime.now(dt.UTC)
    with thread, TestClient(make_app(settings()), base_url="http://localhost") as client:
        eventually(lambda: shown_since(before))
        (line,) = [
            one
            for one in client.get("/metrics").text.splitlines()
            if one.startswith("nightdraft_certificate_days_left{")
        ]
        foreign = client.get("/metrics", headers={"host": "elsewhere.example"}).text
    assert f'host="{HOST}",purpose="the listener"' in line
    assert 11.9 < float(line.rpartition(" ")[2]) < 12
    assert "the listener" not in foreign
    assert context.shown is not None


def test_doctor_names_the_file_of_ours_for_the_worklist(
    authority: Authority, data_dir, setting: Callable[..., None]
) -> None:
    ended = authority.issue("worklist", days=(-90, -1))
    setting(worklist_certificate_file=ended.certificate)
    line = next(one for one in run_checks(settings()) if one.name == "certificates")
    assert line.failed
    assert str(ended.certificate) in line.sentence
    soon = authority.issue("worklist", days=(-1, 12))
    setting(worklist_certificate_file=soon.certificate)
    line = next(one for one in run_checks(settings()) if one.name == "certificates")
    assert line.warning
    assert "the worklist until" in line.sentence
