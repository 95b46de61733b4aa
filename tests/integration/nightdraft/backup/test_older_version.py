"""Backups of an older version, and the way back to it, while requests wait.

The records of version 0.2.0 were made by that version's own code.
"""

from __future__ import annotations

import io
import os
import tarfile
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import migrations
from intake.dicom import orphans
from model.reporter import load_reporter
from nightdraft.backup.archive import BackupWriter, End, Manifest
from nightdraft.backup.dump import DatabaseRestore, dump_database
from nightdraft.backup.restoring import restore
from nightdraft.backup.stream import EncryptingWriter
from records.blobs import Blobs
from records.database.session import engine, forget_engine, unit_of_work
from records.errors import BackupError
from records.operations import scrub
from records.retention import removal
from records.settings import settings
from records.states import Stage
from records.workflow import attempts, studies
from tests.conftest import _database
from tests.support.paths import ROOT
from tests.support.retention import draft_studies, older
from tests.support.stored_studies import phantom_images, store_image
from worker import drafting
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.preparing import prepare_ready

RECORDS = ROOT / "tests/data/records_0_2_0"
KEY = bytes(32)


@pytest.fixture
def old(empty_database, broker, data_dir, setting) -> None:
    """The records of version 0.2.0 and the files that it kept."""
    setting(bundle="null", lease_seconds=30, database_lock_seconds=30, quiet_seconds=0,
            retry_seconds=0, disk_stop_mb=0)  # fmt: skip
    with engine().begin() as connection:
        connection.connection.cursor().execute((RECORDS / "records.sql").read_text())
    with tarfile.open(RECORDS / "files.tar.xz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        archive.extractall(data_dir)


@pytest.fixture
def new_database(servers, setting):
    """`new_database()`: from now on the settings name another database, which is empty."""
    made: list[Any] = []

    def make() -> None:
        generator = _database(servers, setting, "template0")
        next(generator)
        forget_engine()
        made.append(generator)

    yield make
    for generator in made:
        for _ in generator:
            pass


@pytest.fixture(autouse=True)
def _another_process():
    """A worker remembers which requests it sent back; each upgrade has a process of its own."""
    drafting._sent_back.clear()


def query(sql: str, **values: object) -> list[Any]:
    with engine().begin() as connection:
        return [tuple(row) for row in connection.execute(text(sql), values)]


def dump() -> bytes:
    with engine().connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
        return b"".join(dump_database(settings().address("database_url"), snapshot))


STATES = "SELECT study_id, state, reason FROM draft_requests ORDER BY id"
DRAFTS = "SELECT id, text FROM drafts ORDER BY id"


def draft_on() -> None:
    """Everything that waits is drafted, whoever had begun with it."""
    query("UPDATE leases SET expires_at = now() - interval '1 second' RETURNING 1")
    with unit_of_work() as session:
        attempts.expire_leases(session, 3, 0.0)
    with unit_of_work() as session:
        studies.close_quiet(session, 0.0)
    for _ in range(3):  # what was prepared by the older version is prepared again
        prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE))
        draft_ready(load_reporter("null"), "d", 60, CircuitBreaker(Stage.DRAFT))
        query("UPDATE draft_requests SET not_before = NULL RETURNING 1")


def count_open() -> int:
    """Requests that could be drafted: nothing of their studies is held."""
    return int(
        query(
            "SELECT count(*) FROM draft_requests WHERE state IN ('WAITING', 'PREPARED')"
            " AND NOT EXISTS (SELECT FROM holds WHERE holds.study_id = draft_requests.study_id"
            " AND holds.decision IS NULL)"
        )[0][0]
    )


def test_a_backup_of_an_older_version_is_restored_and_drafted_on(
    old, new_database, short_folder, setting, tmp_path
):
    target = tmp_path / "backup"
    drafts, blobs = query(DRAFTS), Blobs(settings().data_dir)
    keys = [key for (key,) in query("SELECT blob FROM instances")]
    with target.open("wb") as file:
        stream = EncryptingWriter(file, KEY)
        writer = BackupWriter(stream)
        number = int(query("SELECT count(*) FROM studies")[0][0])
        writer.add_manifest(Manifest(uuid.uuid4().hex, "0.2.0", "0004", "2026-01-01", number))
        writer.add_dump_piece(dump())
        for key in keys:
            content = blobs.path(key).read_bytes()
            writer.add_file(f"blobs/{key}", io.BytesIO(content), len(content))
        writer.finish(End(len(keys), 1))
    waiting = count_open()
    assert waiting > 2
    new_database()
    setting(data_dir=short_folder())
    restored = restore(target, KEY, settings())
    assert restored.films == len(keys)
    assert query("SELECT version_num FROM alembic_version") == [(migrations.head(),)]
    assert count_open() == waiting
    assert query(DRAFTS) == drafts
    draft_on()
    assert count_open() == 0
    assert len(query(DRAFTS)) >= len(drafts) + waiting


def test_a_backup_of_a_newer_version_is_refused_before_anything_is_changed(
    old, new_database, short_folder, setting, tmp_path
):
    target = tmp_path / "backup"
    with target.open("wb") as file:
        writer = BackupWriter(EncryptingWriter(file, KEY))
        writer.add_manifest(Manifest(uuid.uuid4().hex, "99.0", "9999", "2040-01-01", 1))
        writer.add_dump_piece(b"PGDMP")
        writer.finish(End(0, 0))
    new_database()
    setting(data_dir=short_folder())
    with pytest.raises(BackupError, match=r"made by version 99.0, .* install that version"):
        restore(target, KEY, settings())
    assert not (settings().data_dir / "blobs").exists()


def test_going_back_keeps_what_waited_and_the_films_that_came_since(
    old, new_database, setting, short_folder
):
    """Upgrade, work, go back to the tables of before, and on to the new version once more."""
    before, states, drafts = dump(), query(STATES), query(DRAFTS)
    migrations.upgrade(engine())
    draft_on()
    image = phantom_images(77)[0]
    store_image(image)
    draft_on()
    assert len(query(DRAFTS)) > len(drafts)
    drafting._sent_back.clear()
    # Back: the older tables, and the films' files as they are now.
    new_database()
    running = DatabaseRestore(settings().address("database_url"))
    running.feed(before)
    running.finish()
    assert query("SELECT version_num FROM alembic_version") == [("0004",)]
    assert query(STATES) == states  # as the older version left it: what waited waits
    assert query(DRAFTS) == drafts
    # And on again: nothing is lost, and the film that came meanwhile gets its row back.
    migrations.upgrade(engine())
    blobs = Blobs(settings().data_dir)
    for path in (blobs.root / "instances").rglob("*.dcm"):
        os.utime(path, (1, 1))
    registered, failed = orphans.register_all(blobs, settings(), 1.0)
    assert (registered, failed) == (1, 0)
    draft_on()
    assert count_open() == 0
    uid = str(image.StudyInstanceUID)
    assert query(
        "SELECT draft_requests.state FROM draft_requests JOIN studies"
        " ON studies.request_id = draft_requests.id WHERE study_instance_uid = :uid",
        uid=uid,
    ) == [("DRAFTED",)]


def test_tables_go_one_version_down_and_up_while_requests_wait(database, broker, data_dir, setting):
    setting(bundle="null", quiet_seconds=0, retry_seconds=0, disk_stop_mb=0)
    for seed in (1, 2, 3):
        store_image(phantom_images(seed)[0])
    with unit_of_work() as session:
        assert len(studies.close_quiet(session, 0.0)) == 3
    prepare_ready("p", 0.0, CircuitBreaker(Stage.PREPARE))
    states = query(STATES)
    migrations.downgrade(engine(), "0037")
    assert query(STATES) == states
    migrations.upgrade(engine())
    assert query(STATES) == states
    draft_on()
    assert [state for _, state, _ in query(STATES)] == ["DRAFTED"] * 3


def test_a_file_that_was_removed_is_damage_to_a_version_that_knows_no_removal(
    database, data_dir, setting
):
    """Going down forgets that files were removed on purpose: the older version misses them."""
    setting(bundle="null", quiet_seconds=0)
    draft_studies(1)
    older(91)
    blobs = Blobs(Path(settings().data_dir))
    while removal.take_step(blobs, begin=True):
        pass
    migrations.downgrade(engine(), "0037")
    migrations.upgrade(engine())
    scrub.scrub_all(blobs)
    with unit_of_work() as session:
        assert scrub.read_scrub_state(session).damaged == 1
