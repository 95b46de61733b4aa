"""Runs a real PostgreSQL and a real Valkey from wheels, for one machine, under the data folder.

    with EmbeddedServers(data_dir) as servers:
        servers.database_url, servers.redis_url

Each listens on a Unix socket in a folder that its user alone can enter, and on no network. The
wheels' own starters are not used: they skip the clean-up on SIGTERM, and as root they make every
parent folder readable for all users.

    <data_dir>/postgres/    the cluster; where the station stays root it belongs to the system user
                            `nightdraft`, since PostgreSQL refuses to run as root
    <data_dir>/valkey/      the append-only file and the socket
    <data_dir>/run/         locks, process ids, Valkey's settings
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from nightdraft.station.data_folder import make_data_dir
from nightdraft.station.embedded_postgres import PostgresServer
from nightdraft.station.embedded_valkey import ValkeyServer
from nightdraft.station.processes import ChildProcesses, end_processes, exclusive_lock
from nightdraft.station.restarts import RestartDelay
from nightdraft.station.waits import Waits
from records.errors import PartError

_START_TIMEOUT = 60.0
"""Seconds that the servers may take where nobody else decides how long to wait."""

_POLL_SECONDS = 0.03

_SLOW_START_SECONDS = 10.0
"""A server that takes longer than this to start is something that a person should know of."""


class _Running:
    """One server: its process, whether it answers, and when it may be started again."""

    def __init__(self, server: PostgresServer | ValkeyServer) -> None:
        self.server = server
        self.process: subprocess.Popen[bytes] | None = None
        self.is_ready = False
        self.delay = RestartDelay()
        self.started_at = 0.0

    def advance(self, waits: Waits) -> bool:
        """Take the next step towards a server that answers, without waiting for it.

        Args:
            waits: Gets what is waited for.

        Returns:
            Whether the server answers since this step.

        Raises:
            PartError: Something is missing that does not come by itself.
        """
        title = self.server.title
        if self.process is not None and self.process.poll() is not None:
            seconds = self.delay.record_death()
            if not self.is_ready:
                waits.begin(
                    title,
                    f"{title} does not start, and is tried again: its log is {self.server.log}",
                )
            elif seconds:
                waits.begin(title, f"it ended again, and is started again: see {self.server.log}")
            self.process, self.is_ready = None, False
        if self.process is None and self.delay.is_over():
            try:
                self.process = self.server.start()
            except OSError as error:
                self.delay.record_death()
                waits.begin(title, f"it cannot be started ({error.strerror or error})")
            self.started_at = time.monotonic()
        if self.process is None or self.is_ready:
            return False
        self.is_ready = self.server.is_ready()
        if self.is_ready:
            waits.end(title)
        elif time.monotonic() - self.started_at > _SLOW_START_SECONDS:
            waits.begin(
                title,
                "it takes long to start; after a crash it repairs its files first: see "
                f"{self.server.log}",
            )
        return self.is_ready


class EmbeddedServers:
    """Both servers, running while the `with` block runs.

    Args:
        data_dir: The data folder; it is made where it is missing.
        durable: False leaves out fsync; for tests, whose data nobody keeps.
        postgres: False leaves PostgreSQL out, where the settings name another one.
        valkey: False leaves Valkey out, where the settings name a Redis.
        waits: Gets what is waited for; None keeps it nowhere.
        goes_on: Called while the servers start; once it returns false nothing more is waited for.
            None waits a minute.

    Raises:
        PartError: On entering: the wheels are not installed, another process uses the folder, or a
            server does not start in time; the text then names its log.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        durable: bool = True,
        postgres: bool = True,
        valkey: bool = True,
        waits: Waits | None = None,
        goes_on: Callable[[], bool] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._run = data_dir / "run"
        self._cleanup = contextlib.ExitStack()
        self._children = ChildProcesses(self._run / "servers.json")
        self._waits = waits or Waits(None, lambda _: None)
        self._goes_on = goes_on
        self._valkey = (
            _Running(ValkeyServer(data_dir, self._children, self._cleanup)) if valkey else None
        )
        self._postgres_server = (
            PostgresServer(data_dir, self._children, durable=durable, cleanup=self._cleanup)
            if postgres
            else None
        )
        self._postgres = _Running(self._postgres_server) if self._postgres_server else None

    @property
    def database_url(self) -> str:
        """Where PostgreSQL is for the running parts, as a URL; nothing where it is left out.

        The role in it is made by the first migration.
        """
        return self._postgres.server.url if self._postgres else ""

    @property
    def owner_url(self) -> str:
        """Where PostgreSQL is for whoever owns the tables; nothing where it is left out."""
        return self._postgres_server.owner_url if self._postgres_server else ""

    @property
    def redis_url(self) -> str:
        """Where Valkey is for the running parts, as a URL; nothing where it is left out."""
        return self._valkey.server.url if self._valkey else ""

    @property
    def owner_redis_url(self) -> str:
        """Where Valkey is for a user who may do everything; nothing where it is left out."""
        return self._valkey.server.owner_url if self._valkey else ""

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
            self.restart_dead()
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
        if self._postgres is not None and self._postgres.process is not None:
            end_processes([self._postgres.process], signal.SIGINT, 30)
            self._postgres.process = None
        if self._valkey is not None and self._valkey.process is not None:
            end_processes([self._valkey.process], signal.SIGTERM, 10)
            self._valkey.process = None
        self._children.clear()
        self._cleanup.close()

    def pids(self) -> dict[str, int]:
        """Return the servers' process ids by name."""
        return {
            entry.server.name: entry.process.pid
            for entry in self._all()
            if entry.process is not None
        }

    def keep_running(self) -> list[str]:
        """Take the next step with each server that died or still starts, without waiting for it.

        Returns:
            The names of the servers that answer again since this step.

        Raises:
            PartError: Something is missing that does not come by itself.
        """
        return [entry.server.name for entry in self._all() if entry.advance(self._waits)]

    def restart_dead(self) -> list[str]:
        """Restart the servers that have died, at the same addresses, and wait until they answer.

        Returns:
            The names of the servers that were started.

        Raises:
            PartError: A server does not answer in time, or something is missing.
        """
        started = []
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            started += self.keep_running()
            waiting = [entry for entry in self._all() if not entry.is_ready]
            if not waiting:
                return started
            if not (self._goes_on() if self._goes_on else time.monotonic() < deadline):
                titles = " and ".join(entry.server.title for entry in waiting)
                logs = " and ".join(str(entry.server.log) for entry in waiting)
                raise PartError(f"{titles} did not start: see {logs}")
            time.sleep(_POLL_SECONDS)

    def _all(self) -> list[_Running]:
        return [entry for entry in (self._valkey, self._postgres) if entry is not None]
