"""Makes a backup while the system goes on working.

A snapshot of the database is taken first. Dump and list of films are of this snapshot, so the files
that are copied after it are those that its rows name: a film that comes later belongs to the next
backup. A file that retention removes meanwhile is named in the last entry, and the restored row
says that it was removed.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, text

from nightdraft.backup.archive import KEY_FILES, BackupWriter, End, Manifest
from nightdraft.backup.dump import dump_database
from nightdraft.backup.stream import EncryptingWriter
from records.actors import current_actor
from records.audit import trail
from records.blobs import Blobs
from records.database.session import engine, unit_of_work
from records.errors import BackupError
from records.failpoints import failpoint
from records.settings import Settings
from records.states import AuditAction

PART_SUFFIX = ".part"
"""What the name of an unfinished backup ends with; it is renamed when it is whole and synced."""

_KEYS_AT_ONCE = 5000

Progress = Callable[[str, int], None]
"""Gets what is copied now, and how many bytes of it were."""


@dataclass(frozen=True, slots=True)
class BackupResult:
    """What was backed up.

    Attributes:
        path: the backup.
        size: its bytes.
        dump: bytes of the database's dump.
        films: films' files, and their bytes.
        removed: films whose files were removed meanwhile, as retention or an erasure does.
        missing: films whose files are gone although their rows name them: damage.
    """

    path: Path
    size: int
    dump: int
    films: tuple[int, int]
    removed: int
    missing: int


def back_up(
    target: Path, key: bytes, config: Settings, progress: Progress = lambda *_: None
) -> BackupResult:
    """Write a backup to a file that is not there yet.

    Raises:
        BackupError: the file is there, cannot be written, or pg_dump failed; an unfinished file
            keeps its suffix.
        DatabaseDown: PostgreSQL does not answer.
    """
    if target.exists():
        raise BackupError(f"{target} is there already: a backup is never written over")
    part = target.with_name(target.name + PART_SUFFIX)
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb", buffering=1 << 20) as file:
            dump, end = _write(EncryptingWriter(file, key), config, progress)
            file.flush()
            os.fsync(file.fileno())
        failpoint("before-backup-is-named")
        part.rename(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise BackupError(
            f"the backup cannot be written to {part} ({error.strerror}): it is not whole"
        ) from None
    with unit_of_work() as session:
        trail.record(
            session,
            AuditAction.BACKUP,
            detail=f"a backup was made, with {end.files} films; {current_actor().kind.lower()}",
        )
    return BackupResult(
        target, target.stat().st_size, dump, (end.files, end.size), len(end.removed),
        len(end.missing),
    )  # fmt: skip


def _write(stream: EncryptingWriter, config: Settings, progress: Progress) -> tuple[int, End]:
    writer = BackupWriter(stream)
    blobs = Blobs(config.data_dir)
    with tempfile.TemporaryFile("w+", prefix="nightdraft-backup-") as keys:
        dump = 0
        with _snapshot() as (connection, snapshot):
            writer.add_manifest(_read_manifest(connection))
            for piece in dump_database(config.address("database_url"), snapshot):
                writer.add_dump_piece(piece)
                dump += len(piece)
                progress("database", len(piece))
            # Our keys alone, not a patient's: they wait here while the snapshot is given up.
            for key in _list_blobs(connection):
                keys.write(f"{key}\n")
        failpoint("after-dump")
        for name in KEY_FILES:
            with suppress(FileNotFoundError), (config.data_dir / name).open("rb") as file:
                writer.add_file(name, file, os.fstat(file.fileno()).st_size)
        keys.seek(0)
        number, size, gone = _copy_films(writer, blobs, keys, progress)
    removed, missing = _judge_gone(gone)
    end = End(number, size, removed, missing)
    writer.finish(end)
    return dump, end


def _copy_films(
    writer: BackupWriter, blobs: Blobs, keys: IO[str], progress: Progress
) -> tuple[int, int, list[str]]:
    """Copy the files; returns how many, their bytes, and the keys of those that are gone."""
    number = total = 0
    gone: list[str] = []
    for line in keys:
        key = line.strip()
        try:
            with blobs.path(key).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                writer.add_file(f"blobs/{key}", file, size)
        except FileNotFoundError:
            gone.append(key)
            continue
        number, total = number + 1, total + size
        progress("films", size)
        failpoint("while-copying-films")
    for path in sorted(blobs.lost_and_found.glob("*.dcm*")):
        with path.open("rb") as file:
            writer.add_file(f"blobs/lost+found/{path.name}", file, os.fstat(file.fileno()).st_size)
    return number, total, gone


def _judge_gone(keys: list[str]) -> tuple[list[str], list[str]]:
    """Divide the keys of files that are gone: what was removed or replaced, and what is damage."""
    removed: list[str] = []
    missing: list[str] = []
    with engine().connect() as connection:
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            named = set(
                connection.scalars(
                    text(
                        "SELECT blob FROM instances"
                        " WHERE blob = ANY (:keys) AND bytes_removed_at IS NULL"
                    ),
                    {"keys": some},
                )
            )
            missing += [key for key in some if key in named]
            removed += [key for key in some if key not in named]
    return removed, missing


@contextmanager
def _snapshot() -> Iterator[tuple[Connection, str]]:
    """A transaction that sees one moment, and the name by which pg_dump sees the same.

    Limits of time would end it while the dump goes on.
    """
    with engine().connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {limit} = 0"))
        name = connection.scalar(text("SELECT pg_export_snapshot()"))
        yield connection, str(name)
        connection.rollback()


def _read_manifest(connection: Connection) -> Manifest:
    revision, made_at, studies = connection.execute(
        text(
            "SELECT (SELECT version_num FROM alembic_version), now(),"
            " (SELECT count(*) FROM worklist_entries)"
        )
    ).one()
    return Manifest(
        uuid.uuid4().hex, version("nightdraft"), revision, made_at.isoformat(), int(studies)
    )


def _list_blobs(connection: Connection) -> Iterator[str]:
    rows = connection.execution_options(yield_per=_KEYS_AT_ONCE).scalars(
        text("SELECT blob FROM instances WHERE bytes_removed_at IS NULL ORDER BY blob")
    )
    yield from rows
