"""A backup of a system that goes on working, and a restore into an empty machine: it drafts on.

The databases are real, and so are pg_dump and pg_restore.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from model.reporter import load_reporter
from nightdraft.backup import backing_up
from nightdraft.backup.stream import make_key
from nightdraft.cli.main import app
from records.audit import trail
from records.blobs import Blobs
from records.database.session import engine, unit_of_work
from records.errors import BackupError, SettingsError
from records.operations import scrub
from records.retention import removal
from records.settings import settings
from records.states import AuditAction, Stage, VisibleState
from tests.conftest import _database
from tests.support.paths import ROOT
from tests.support.retention import draft_studies, files_of, instances_of, older, sign
from tests.support.stored_studies import close_studies, store_studies, visible_state
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.preparing import prepare_ready


@pytest.fixture
def key(tmp_path: Path, setting) -> Path:
    path = tmp_path / "backup.key"
    make_key(path)
    setting(backup_key_file=path, bundle="null", quiet_seconds=0, retry_seconds=0)
    return path


@pytest.fixture
def busy(database, broker, data_dir, key):
    """Studies in each state: signed, drafted, prepared, waiting, receiving."""
    signed, drafted = draft_studies(1, 2)
    sign(signed)
    (waiting,) = store_studies(3)
    close_studies()
    (receiving,) = store_studies(4)
    with unit_of_work() as session:
        trail.record(session, AuditAction.VIEW, study_ids=[signed])
    return {"signed": signed, "drafted": drafted, "waiting": waiting, "receiving": receiving}


@pytest.fixture
def other_machine(servers, setting, short_folder):
    """`other_machine()`: from now on the settings name an empty database and data folder."""
    made: list[Any] = []

    def make() -> Path:
        generator = _database(servers, setting, "template0")
        next(generator)
        folder = short_folder()
        setting(data_dir=folder)
        made.append(generator)
        return folder

    yield make
    for generator in made:
        for _ in generator:
            pass


def call(*arguments: object, status: int = 0) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == status, done.output
    return json.loads(done.stdout)


def dump_rows() -> dict[str, list[str]]:
    with engine().connect() as connection:
        tables = connection.scalars(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        ).all()
        return {
            table: sorted(connection.scalars(text(f'SELECT t::text FROM "{table}" AS t')))
            for table in tables
        }


def is_empty() -> bool:
    films = list((settings().data_dir / "blobs").rglob("*.dcm"))
    return not dump_rows() and not films


def test_a_restored_machine_has_everything_and_drafts_on(busy, tmp_path, other_machine):
    rows = dump_rows()
    films = {study: files_of(study)[0].read_bytes() for study in busy.values()}
    target = tmp_path / "backup"
    made = call("backup", target)
    assert made["films"][0] == 4
    assert made["missing"] == made["removed"] == 0
    assert target.stat().st_mode & 0o777 == 0o600
    content = target.read_bytes()
    assert not any(word in content for word in (b"ZEPPELIN", b"DICM", b"PGDMP"))
    assert call("restore", target, "--check")["films"] == 4
    folder = other_machine()
    restored = call("restore", target)
    assert restored["films"] == 4
    new = dump_rows()
    assert new.pop("audit_entries") != rows.pop("audit_entries")  # one line for the restore
    assert new == rows
    assert {study: files_of(study)[0].read_bytes() for study in busy.values()} == films
    assert all(path.stat().st_mode & 0o77 == 0 for path in folder.rglob("*.dcm"))
    assert scrub.scrub_all(Blobs(folder)) == 4
    with unit_of_work() as session:
        assert scrub.read_scrub_state(session).damaged == 0
        trail.record(session, AuditAction.VIEW, study_ids=[busy["signed"]])  # the key came along
    # It goes on where it was: what waited is prepared and drafted.
    close_studies()
    prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE))
    draft_ready(load_reporter("null"), "d", 60, CircuitBreaker(Stage.DRAFT))
    assert {visible_state(study) for study in busy.values()} == {VisibleState.DRAFTED}


def test_what_happens_meanwhile_is_of_the_next_backup(busy, tmp_path, other_machine, monkeypatch):
    """After the snapshot a film comes, one is removed by retention, and one is lost."""
    blobs = Blobs(settings().data_dir)
    older(95)
    lost = files_of(busy["waiting"])[0]
    dump = backing_up.dump_database

    def dump_and_go_on(address: str, snapshot: str) -> Any:
        yield from dump(address, snapshot)
        store_studies(9)
        while removal.take_step(blobs, begin=True):
            pass
        lost.unlink()

    monkeypatch.setattr(backing_up, "dump_database", dump_and_go_on)
    target = tmp_path / "backup"
    made = call("backup", target)
    assert made["films"][0] == 1  # the one that is being received
    assert (made["removed"], made["missing"]) == (2, 1)
    other_machine()
    restored = call("restore", target)
    assert (restored["removed"], restored["missing"]) == (2, 1)
    assert len(dump_rows()["studies"]) == 4
    gone = {name: instances_of(study)[0].bytes_removed_at for name, study in busy.items()}
    assert {name for name, at in gone.items() if at} == {"signed", "drafted"}
    scrub.scrub_all(Blobs(settings().data_dir))
    with unit_of_work() as session:
        assert scrub.read_scrub_state(session).damaged == 1


@pytest.mark.parametrize("harm", ["another key", "a changed byte", "cut", "cut at its beginning",
                                  "no backup", "not there"])  # fmt: skip
def test_what_is_wrong_is_named_before_anything_is_changed(busy, tmp_path, other_machine, harm):
    target = tmp_path / "backup"
    call("backup", target)
    arguments: list[object] = []
    content = bytearray(target.read_bytes())
    problem = "damaged or was cut"
    match harm:
        case "another key":
            make_key(tmp_path / "other.key")
            arguments, problem = ["--backup-key-file", tmp_path / "other.key"], "not the one"
        case "a changed byte":
            content[len(content) // 2] ^= 1
        case "cut":
            del content[-1000:]
        case "cut at its beginning":
            del content[20:]
            problem = "interrupted at its beginning"
        case "no backup":
            content[:5] = b"PK\3\4\5"
            problem = "no backup of Nightdraft"
        case "not there":
            target = tmp_path / "nowhere"
            problem = "cannot be read"
    if harm != "not there":
        target.write_bytes(content)
    other_machine()
    with pytest.raises(BackupError, match=problem):
        call("restore", target, *arguments)
    assert is_empty()


def test_a_backup_is_written_over_nothing_and_needs_a_key(busy, tmp_path, setting):
    target = tmp_path / "backup"
    target.write_text("something")
    with pytest.raises(BackupError, match="never written over"):
        call("backup", target)
    with pytest.raises(BackupError, match="cannot be written"):
        call("backup", tmp_path / "nowhere" / "backup")
    with pytest.raises(BackupError, match="needs a file"):
        call("backup")
    setting(backup_key_file="")
    with pytest.raises(SettingsError, match="--new-key FILE"):
        call("backup", tmp_path / "other")
    made = call("backup", "--new-key", tmp_path / "new.key")
    assert len(made["key"]) == 16


def test_a_machine_that_is_not_empty_is_left_alone(busy, tmp_path, other_machine, setting):
    target = tmp_path / "backup"
    call("backup", target)
    rows = dump_rows()
    with pytest.raises(BackupError, match="the database is not empty"):
        call("restore", target)
    assert dump_rows() == rows
    films = settings().data_dir
    other_machine()
    setting(data_dir=films)
    with pytest.raises(BackupError, match="it holds films"):
        call("restore", target)
    assert not dump_rows()


def run_killed(point: str, mark: Path, *arguments: object) -> None:
    environment = os.environ | {"NIGHTDRAFT_KILL_AT": point, "NIGHTDRAFT_KILL_MARK": str(mark)}
    killed = subprocess.run(
        [sys.executable, "-m", "nightdraft", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -9, killed.stderr
    assert mark.exists()


@pytest.mark.parametrize("point", ["after-dump", "while-copying-films", "before-backup-is-named"])
def test_an_interrupted_backup_is_known_as_one(busy, tmp_path, other_machine, point):
    target = tmp_path / "backup"
    run_killed(point, tmp_path / "killed", "backup", target)
    assert not target.exists()
    assert (tmp_path / "backup.part").exists()
    with pytest.raises(BackupError, match="was interrupted, and is no backup"):
        call("restore", target, "--check")
    if point != "before-backup-is-named":
        with pytest.raises(BackupError, match=r"interrupted|cut"):
            call("restore", tmp_path / "backup.part", "--check")
    assert call("backup", target)["films"][0] == 4  # the next one is whole
    assert call("restore", target, "--check")["films"] == 4


@pytest.mark.parametrize("point", ["while-restoring-films", "before-restore-commit"])
def test_a_killed_restore_is_begun_again(busy, tmp_path, other_machine, point):
    target = tmp_path / "backup"
    call("backup", target)
    rows = dump_rows()
    other_machine()
    run_killed(point, tmp_path / "killed", "restore", target)
    assert not dump_rows()
    assert call("restore", target)["films"] == 4
    new = dump_rows()
    del new["audit_entries"], rows["audit_entries"]
    assert new == rows
    assert scrub.scrub_all(Blobs(settings().data_dir)) == 4
    with unit_of_work() as session:
        assert scrub.read_scrub_state(session).damaged == 0


def test_a_full_disk_leaves_no_backup_of_that_name(busy, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], check=False,
        capture_output=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("this user cannot mount a file system")
    try:
        with pytest.raises(BackupError, match="No space left"):
            call("backup", mount / "backup")
        assert not (mount / "backup").exists()
    finally:
        subprocess.run(["umount", str(mount)], check=True)
    shutil.rmtree(mount)


def test_no_password_and_no_patient_is_on_a_command_line(busy, tmp_path, monkeypatch):
    seen: list[list[str]] = []
    started = subprocess.Popen.__init__

    def record(self: Any, arguments: Any, *rest: Any, **more: Any) -> None:
        seen.append([str(one) for one in arguments])
        started(self, arguments, *rest, **more)

    monkeypatch.setattr(subprocess.Popen, "__init__", record)
    call("backup", tmp_path / "backup")
    (dump,) = [command for command in seen if command[0].endswith("pg_dump") and len(command) > 2]
    assert not any("postgresql" in argument or "password" in argument for argument in dump)
