"""Restores a backup into an empty machine: everything is checked before anything is changed.

The backup is read to its end first. Then the films are written, and at last the database, which is
one transaction: a restore that is killed leaves an empty database, and is begun again.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

import migrations
from nightdraft.backup.archive import BackupReader, End, Entry, Manifest
from nightdraft.backup.backing_up import PART_SUFFIX, Progress
from nightdraft.backup.dump import APPLICATION, DatabaseRestore
from records.audit import trail
from records.blobs import Blobs
from records.database.session import engine, unit_of_work
from records.errors import BackupError
from records.failpoints import failpoint
from records.settings import Settings
from records.states import AuditAction

_MARK = "restore-begun"
"""In the blob folder: the id of the backup of which a restore was begun and is not done."""

_PATIENCE_SECONDS = 600.0
"""How long an earlier pg_restore is waited for that lost its parent."""

_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = :name"
)

_ROOM = 200_000_000
"""Bytes that stay free beside the films."""


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What was restored: of which backup, and how many films' files.

    Attributes:
        manifest: what the backup is of.
        films: files that were written, or were there from a restore that was interrupted.
        removed: films whose files were removed while the backup was made; their rows say so.
        missing: films whose files were missing when the backup was made.
    """

    manifest: Manifest
    films: int
    removed: int
    missing: int


def check_backup(
    source: Path, key: bytes, progress: Progress = lambda *_: None
) -> tuple[Manifest, End]:
    """Read a backup to its end and change nothing.

    Raises:
        BackupError: the file is not there, is no backup, was made with another key, is damaged, or
            was interrupted.
    """
    with _opened(source, key) as reader:
        for entry in reader.entries():
            while piece := entry.content.read(1 << 20):
                progress("checked", len(piece))
        assert reader.end is not None
        return reader.manifest, reader.end


def restore(
    source: Path, key: bytes, config: Settings, progress: Progress = lambda *_: None
) -> RestoreResult:
    """Restore a backup into an empty database and an empty data folder.

    Raises:
        BackupError: see `check_backup`; the database or the folder is not empty, there is no room,
            or the tables are of a newer version. Nothing was changed then. Or pg_restore failed:
            the database is as it was, and the restore can be begun again.
        DatabaseDown: PostgreSQL does not answer.
    """
    manifest, end = check_backup(source, key, progress)
    _check_version(manifest)
    blobs = Blobs(config.data_dir)
    mark = blobs.root / _MARK
    begun = mark.exists() and mark.read_text() == manifest.id
    is_in_database = _check_database(manifest, begun=begun)
    _check_folder(blobs, end, begun=begun)
    blobs.make_folders()
    mark.write_text(manifest.id)
    films = 0
    with _opened(source, key) as reader:
        _check_same(reader, manifest)
        for entry in reader.entries():
            if entry.kind in ("blob", "key"):
                _write_file(config.data_dir / entry.path, entry)
            if entry.kind == "blob":
                films += 1
                progress("films", entry.size)
                failpoint("while-restoring-films")
    os.sync()
    if not is_in_database:
        _restore_database(source, key, config, manifest, progress)
    migrations.upgrade(engine())
    with engine().begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(
            text(
                "UPDATE instances SET bytes_removed_at = now()"
                " WHERE blob = ANY (:keys) AND bytes_removed_at IS NULL"
            ),
            {"keys": end.removed},
        )
    with unit_of_work() as session:
        trail.record(
            session, AuditAction.BACKUP, detail=f"restored from a backup of {manifest.made_at}"
        )
    mark.unlink()
    return RestoreResult(manifest, films, len(end.removed), len(end.missing))


def _restore_database(
    source: Path, key: bytes, config: Settings, manifest: Manifest, progress: Progress
) -> None:
    running = DatabaseRestore(config.address("database_url"))
    try:
        with _opened(source, key) as reader:
            _check_same(reader, manifest)
            for entry in reader.entries():
                if entry.kind != "database":
                    break  # the dump stands before all else, and was read to its end before
                while piece := entry.content.read(1 << 20):
                    running.feed(piece)
                    progress("database", len(piece))
        failpoint("before-restore-commit")
        running.finish()
    except BaseException:
        running.abandon()
        raise


@contextmanager
def _opened(source: Path, key: bytes) -> Iterator[BackupReader]:
    try:
        file = source.open("rb")
    except OSError as error:
        unfinished = source.with_name(source.name + PART_SUFFIX)
        hint = f"; {unfinished} was interrupted, and is no backup" * unfinished.exists()
        raise BackupError(f"{source} cannot be read ({error.strerror}){hint}") from None
    with file:
        yield BackupReader(file, key)


def _check_same(reader: BackupReader, manifest: Manifest) -> None:
    if reader.manifest != manifest:
        raise BackupError("the file was exchanged while it was restored")


def _check_version(manifest: Manifest) -> None:
    known = migrations.known_revisions()
    if manifest.revision not in known:
        raise BackupError(
            f"the backup was made by version {manifest.version}, whose tables (revision "
            f"{manifest.revision}) this version does not know: install that version"
        )


def _check_database(manifest: Manifest, *, begun: bool) -> bool:
    """Check that the database is empty, or that a restore of this backup has filled it.

    Args:
        manifest: of the backup.
        begun: whether a restore of it was begun here and is not done.

    Returns:
        Whether it is filled: the process was killed after pg_restore had committed.
    """
    with engine().connect() as connection:
        # A pg_restore that lost its parent has all it needs, or fails; either is soon.
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while connection.scalar(_OTHERS, {"name": APPLICATION}) and time.monotonic() < deadline:
            connection.rollback()
            time.sleep(0.2)
        tables = connection.scalars(
            text(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
                " ORDER BY table_name"
            )
        ).all()
        if not tables:
            return False
        if begun and "worklist_entries" in tables:
            studies = connection.scalar(text("SELECT count(*) FROM worklist_entries"))
            if studies == manifest.studies:
                return True
    raise BackupError(
        f"the database is not empty: it has {len(tables)} tables. Restore into a new one, and "
        "start the station or `nightdraft migrate` afterwards"
    )


def _check_folder(blobs: Blobs, end: End, *, begun: bool) -> None:
    films = next(blobs.root.glob("instances/*/*/*"), None) if blobs.root.is_dir() else None
    if films is not None and not begun:
        raise BackupError(
            f"{blobs.root} is not empty: it holds films. Restore into a new data folder"
        )
    place = next(path for path in (blobs.root, *blobs.root.parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    needed = end.size + _ROOM
    if not begun and free < needed:
        raise BackupError(
            f"{place} has {free // 1_000_000} MB free, and the films need {needed // 1_000_000} MB"
        )


def _write_file(path: Path, entry: Entry) -> None:
    """Write a file whole; one of the same size is there from a restore that was interrupted.

    Raises:
        BackupError: another key is there already.
    """
    if path.exists():
        if entry.kind == "key" and path.read_bytes() != entry.content.read():
            raise BackupError(
                f"{path} is there already and is another key than the one of the backup: move it "
                "away, and restore again"
            )
        if path.stat().st_size == entry.size:
            return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(entry.content, file, 1 << 20)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
