"""From the records of version 0.2.0 to these, while others wait, and what does not fit together.

The records were made by that version's own code (tests/data/records_0_2_0/make.py).
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

import migrations
from api.app import make_app
from model.reporter import load_reporter
from nightdraft.station.checks import check_migrations
from records.blobs import Blobs
from records.database.session import engine, unit_of_work
from records.errors import DatabaseDown, PartError
from records.settings import settings
from records.states import WARNING, Stage
from records.workflow import attempts, requests, studies, worklist
from tests.support.dicom_senders import make_image, open_association, start_listener
from tests.support.paths import ROOT
from tests.support.waiting import eventually
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.preparing import prepare_ready

RECORDS = ROOT / "tests/data/records_0_2_0"
OLD = "0004"

KEPT = ("studies", "series", "instances", "draft_requests", "drafts", "holds", "reviews")
"""Tables of 0.2.0 whose rows are all still there after an upgrade."""

STATES = {
    "DRAFTED": 4,
    "SKIPPED": 1,
    "FAILED": 1,
    "HELD": 2,
    "CANCELLED": 1,
    "PREPARED": 1,
    "DRAFTING": 1,
    "WAITING": 1,
    "PREPARING": 1,
    "RECEIVING": 2,
}
"""The studies by the state that a person saw."""


@pytest.fixture
def old(empty_database, data_dir, setting) -> None:
    """The records of version 0.2.0 and the files that it kept."""
    setting(bundle="null", lease_seconds=30, database_lock_seconds=30)
    with engine().begin() as connection:
        connection.connection.cursor().execute((RECORDS / "records.sql").read_text())
    with tarfile.open(RECORDS / "files.tar.xz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        archive.extractall(data_dir)


def query(sql: str, **values: object) -> list[Any]:
    with engine().begin() as connection:
        return [tuple(row) for row in connection.execute(text(sql), values)]


def count_rows() -> dict[str, int]:
    return {table: query(f"SELECT count(*) FROM {table}")[0][0] for table in KEPT}


def count_states() -> dict[str, int]:
    with unit_of_work() as session:
        return {str(state): n for state, n in worklist.count_by_state(session).items() if n}


DRAFTS = "SELECT id, study_id, text, superseded_at, created_at FROM drafts ORDER BY id"
REVIEWS = "SELECT id, draft_id, decision, findings, impression, reader FROM reviews ORDER BY id"


def test_everything_is_there_after_the_upgrade(old):
    rows, drafts, reviews = count_rows(), query(DRAFTS), query(REVIEWS)
    assert rows["drafts"] >= 6
    assert len(reviews) == 2
    migrations.upgrade(engine())
    assert count_rows() == rows
    assert query(DRAFTS) == drafts
    assert query(REVIEWS) == reviews
    assert count_states() == STATES
    blobs = Blobs(settings().data_dir)
    for key, size, digest in query("SELECT blob, size, sha256 FROM instances"):
        assert blobs.find_damage(key, size, digest) is None
    leases = query("SELECT owner, stage, expires_at < now() FROM leases ORDER BY owner")
    assert [lease[:2] for lease in leases] == [("gpu-1:4711", "draft"), ("gpu-1:4712", "prepare")]


def test_what_waited_before_the_upgrade_is_drafted_after_it(old, broker):
    drafts = query(DRAFTS)
    migrations.upgrade(engine())
    query("UPDATE leases SET expires_at = now() - interval '1 second' RETURNING 1")
    with unit_of_work() as session:
        assert len(attempts.expire_leases(session, 3, 0.0)) == 2
    with unit_of_work() as session:
        assert len(studies.close_quiet(session, 0.0)) == 2
    prepare, draft = CircuitBreaker(Stage.PREPARE), CircuitBreaker(Stage.DRAFT)
    reporter = load_reporter("null")
    for _ in range(3):  # what was prepared by the older version is prepared again
        prepare_ready("p", 60, prepare)
        draft_ready(reporter, "d", 60, draft)
        query("UPDATE draft_requests SET not_before = NULL RETURNING 1")
    ended = {"PREPARED", "DRAFTING", "WAITING", "PREPARING", "RECEIVING"}
    assert count_states() == {
        **{state: n for state, n in STATES.items() if state not in ended},
        "DRAFTED": STATES["DRAFTED"] + 6,
    }
    assert {row[:3] for row in drafts} <= {row[:3] for row in query(DRAFTS)}
    assert all(row[2].startswith(WARNING) for row in query(DRAFTS))
    # What failed then can be tried again now, and the film that is held is still held.
    with unit_of_work() as session:
        assert requests.retry(session) == 1


@contextmanager
def upgrading(waits: list[str]) -> Iterator[Future[None]]:
    """The upgrade in a thread of its own, while the block runs."""
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(migrations.upgrade, engine(), "head", waits.append)


def waiting_for_locks() -> int:
    return int(
        query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
              " AND datname = current_database()")[0][0]
    )  # fmt: skip


def test_it_waits_for_a_transaction_that_is_open_and_lets_others_through(old, monkeypatch):
    """A film is being filed by the older version: its row is locked and its commit is to come."""
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "300ms")
    monkeypatch.setattr(migrations, "_PAUSE_SECONDS", 0.3)
    waits: list[str] = []
    with engine().connect() as filing:
        study = filing.execute(text("SELECT id FROM studies LIMIT 1 FOR UPDATE")).scalar_one()
        filing.execute(
            text("INSERT INTO events (study_id, kind, detail) VALUES (:study, 'ARRIVED', 'late')"),
            {"study": study},
        )
        with upgrading(waits) as done:
            eventually(lambda: len(waits) >= 2, 30)
            # Another one is not queued behind the migration for ever: it reads in a pause.
            assert query("SELECT version_num FROM alembic_version") == [(OLD,)]
            assert query("SELECT count(*) FROM studies")[0][0] == sum(STATES.values())
            filing.commit()
            done.result(60)
    assert query("SELECT detail FROM events WHERE detail = 'late'") == [("late",)]
    assert check_migrations().endswith(migrations.head())


def test_requests_and_films_that_come_meanwhile_wait_and_are_answered(old, monkeypatch, tmp_path):
    """The migration stands in its midst, and all that comes waits for it."""
    listener = start_listener(tmp_path)
    try:
        with engine().connect() as holder, open_association(listener.port) as association:

            def send(sop: str) -> int:
                return int(association.send_c_store(make_image(sop=sop)).Status)

            # The listener of this version keeps nothing in tables that it does not know.
            assert send("1.2.9") == 0xA700
            holder.execute(text("SELECT count(*) FROM reviews"))  # the migration needs it late
            with upgrading([]) as done, TestClient(make_app(settings())) as client:
                eventually(lambda: waiting_for_locks() == 1, 30)
                with ThreadPoolExecutor(2) as executor:
                    page = executor.submit(client.get, "http://localhost/api/studies?limit=100")
                    film = executor.submit(send, "1.2.10")
                    # Each waits for the migration, or is told at once that tables are missing.
                    eventually(lambda: waiting_for_locks() + page.done() + film.done() >= 3, 30)
                    assert not page.done() or page.result().status_code == 503
                    assert not film.done() or film.result() == 0xA700
                    holder.rollback()
                    done.result(60)
                    assert page.result(60).status_code in (200, 503)
                    assert film.result(60) in (0x0000, 0xA700)
                # Whatever it was told, its sender sends again what was not taken.
                for sop in ("1.2.9", "1.2.10"):
                    assert send(sop) == 0x0000
                answer = client.get("http://localhost/api/studies?limit=100")
    finally:
        listener.stop()
    assert answer.status_code == 200
    assert len(answer.json()["studies"]) == sum(STATES.values()) + 1
    assert query("SELECT count(*) FROM instances WHERE sop_instance_uid LIKE '1.2.%'") == [(2,)]


def test_what_is_busy_all_the_time_ends_the_upgrade_with_nothing_changed(old, monkeypatch):
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "100ms")
    monkeypatch.setattr(migrations, "RETRY_SECONDS", 0.0)
    with engine().connect() as busy:
        busy.execute(text("LOCK TABLE studies IN ROW EXCLUSIVE MODE"))
        with pytest.raises(DatabaseDown, match="stop what uses the database"):
            migrations.upgrade(engine())
    assert query("SELECT version_num FROM alembic_version") == [(OLD,)]


def test_two_upgrades_at_once_are_one(old):
    command = [sys.executable, "-m", "nightdraft", "migrate"]
    for upgrade in [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]:
        output, _ = upgrade.communicate(timeout=120)
        assert upgrade.returncode == 0
        assert output.decode().strip().endswith(f"tables at revision {migrations.head()}")


def test_this_version_refuses_older_tables_and_says_what_to_do(old):
    with pytest.raises(PartError) as caught:
        check_migrations()
    assert f"revision {OLD}" in str(caught.value)
    assert "make a backup, and run `nightdraft migrate`" in str(caught.value)
    with pytest.raises(DatabaseDown, match="run `nightdraft migrate` if they are older"):
        count_states()


@pytest.mark.parametrize("start", [check_migrations, lambda: migrations.upgrade(engine())])
def test_an_older_version_refuses_newer_tables_and_says_what_to_do(database, start):
    query("UPDATE alembic_version SET version_num = '9999' RETURNING 1")
    with pytest.raises(PartError) as caught:
        start()
    assert "of a newer version (revision 9999" in str(caught.value)
    assert "go back to the backup" in str(caught.value)
    assert query("SELECT version_num FROM alembic_version") == [("9999",)]
