"""Runs all of Nightdraft on one machine: the servers, then the parts, supervised until the end.

Each part is a process of the same command (`nightdraft listen`, `nightdraft work draft`, ...), so
one machine runs exactly what several machines would run.

    <data_dir>/run/addresses.json   where this station's servers, listener and page are; mode 0600
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from nightdraft.station.checks import (
    check_broker,
    check_bundle,
    check_database,
    check_disk,
    check_port_free,
)
from nightdraft.station.embedded import EmbeddedServers, free_port, make_data_dir
from nightdraft.station.processes import ChildProcesses, exclusive_lock
from nightdraft.station.supervisor import (
    POLL_SECONDS,
    SupervisedProcess,
    Supervisor,
    draft_processes,
    stop_signals,
)
from records.errors import NightdraftError, PartError
from records.settings import ADDRESSES, Settings

PARTS: dict[str, tuple[str, ...]] = {
    "sweep": ("work", "sweep"),
    "prepare": ("work", "prepare"),
    "draft": ("work", "draft"),
    "api": ("serve",),
    "listener": ("listen",),
}
"""Command of each part, by the name in its heartbeat. The parts start in this order; some run as
several processes."""

SHUTDOWN_ORDER: tuple[tuple[str, ...], ...] = (("listener",), ("sweep", "prepare", "draft", "api"))
"""Groups of parts that end one after the other: the listener first, so that nothing new comes in;
then the others, which give back the work that they have in hand."""


def run_station(
    settings: Settings, log: Callable[[str], None], *, log_dir: Path | None = None
) -> None:
    """Run everything until SIGTERM or Ctrl-C; when this returns, nothing is left running.

    It must be called in the main thread: signals arrive there, and the kernel ends the children of
    a thread that ends.

    Args:
        settings: Where to listen and serve, which bundle to draft with, and so on.
        log: Gets one line for each thing that a person should know.
        log_dir: A folder for one log file a part; None lets the parts write to this process's
            standard error.

    Raises:
        NightdraftError: Something is missing or wrong; its text is one line that says what.
    """
    check_bundle(settings.bundle)
    make_data_dir(settings.data_dir)
    if warning := check_disk(settings):
        log(f"warning: {warning}")
    with exclusive_lock(
        settings.data_dir / "run/station.lock",
        f"a station runs on {settings.data_dir} already: stop it, or choose another "
        "NIGHTDRAFT_DATA_DIR",
    ):
        file = settings.data_dir / ADDRESSES
        file.unlink(missing_ok=True)  # a killed station may have left it
        ports = {
            "listen_port": settings.listen_port or free_port(),
            "serve_port": settings.serve_port or free_port(),
        }
        check_port_free("NIGHTDRAFT_LISTEN_PORT", settings.listen_host, ports["listen_port"])
        check_port_free("NIGHTDRAFT_SERVE_PORT", settings.serve_host, ports["serve_port"])
        with stop_signals() as stop_requested, contextlib.ExitStack() as cleanup:
            children = ChildProcesses(settings.data_dir / "run/parts.json")
            children.end_orphans()
            servers = _start_servers(settings, cleanup)
            addresses = {
                "database_url": settings.database_url or (servers.database_url if servers else ""),
                "redis_url": settings.redis_url or (servers.redis_url if servers else ""),
            }
            if servers is not None:
                running = ", ".join(f"{name} {pid}" for name, pid in servers.pids().items())
                log(f"servers: {running}, under {settings.data_dir}")
            _migrate(addresses["database_url"])
            env = os.environ | {
                f"NIGHTDRAFT_{name.upper()}": str(value)
                for name, value in (addresses | ports | {"data_dir": settings.data_dir}).items()
            }
            supervisor = Supervisor(_supervised_parts(settings), children, env, log, log_dir)
            station = _Station(settings, log, supervisor, ports["listen_port"], servers)
            cleanup.callback(supervisor.end, SHUTDOWN_ORDER)
            cleanup.callback(file.unlink, missing_ok=True)
            content = {
                **addresses,
                **ports,
                "listen_host": settings.listen_host,
                "serve_host": settings.serve_host,
                "bundle": settings.bundle,
                "pid": os.getpid(),
            }
            _write_addresses(file, {**content, "ready": False})
            station.start()
            station.supervise(
                stop_requested, lambda: _write_addresses(file, {**content, "ready": True})
            )
            log("ending")
        log("ended; nothing is left running")


class _Station:
    """The parts of a running station."""

    def __init__(
        self,
        settings: Settings,
        log: Callable[[str], None],
        supervisor: Supervisor,
        listen_port: object,
        servers: EmbeddedServers | None,
    ) -> None:
        self._settings = settings
        self._log = log
        self._supervisor = supervisor
        self._listen_port = listen_port
        self._servers = servers

    def start(self) -> None:
        """Start every part, then log where to send and where to read."""
        self._supervisor.start()
        self._log(
            f"send films to {self._settings.listen_host} port {self._listen_port}"
            f", called AE {self._settings.ae_title}"
        )
        self._log(f"read drafts at {self._page()}")

    def supervise(self, stop_requested: Callable[[], bool], on_ready: Callable[[], None]) -> None:
        """Restart what dies until a stop is requested; call `on_ready` once all parts run."""
        not_ready = {entry.label for entry in self._supervisor.supervised}
        while not stop_requested():
            self._restart_servers()
            self._supervisor.restart_dead()
            if not_ready:
                not_ready -= self._running(not_ready)
                if not not_ready:
                    self._log(f"ready: {self._page()}")
                    on_ready()
            time.sleep(POLL_SECONDS)

    def _page(self) -> str:
        host, port = page_address(self._settings)
        return f"http://{host}:{port}/"

    def _restart_servers(self) -> None:
        if self._servers is None:
            return
        for name in self._servers.restart_dead():
            self._log(f"{name}: ended, restarted at the same address")

    def _running(self, labels: set[str]) -> set[str]:
        """Those of `labels` whose heartbeat says that they run."""
        from records.database.session import unit_of_work
        from records.operations import heartbeats

        try:
            with unit_of_work() as session:
                running = {(beat.part, beat.owner) for beat in heartbeats.running_parts(session)}
        except NightdraftError:
            return set()
        host = heartbeats.this_process().rpartition(":")[0]
        return {
            entry.label
            for entry in self._supervisor.supervised
            if entry.label in labels
            and entry.process is not None
            and (entry.part, f"{host}:{entry.process.pid}") in running
        }


def _supervised_parts(settings: Settings) -> list[SupervisedProcess]:
    """The processes of every part; the draft workers are one for each GPU."""
    processes: list[SupervisedProcess] = []
    for name, command in PARTS.items():
        if name == "draft":
            processes += draft_processes(settings)
        elif name == "listener":
            processes += _listeners(settings)
        else:
            processes.append(SupervisedProcess(name, command))
    return processes


def _listeners(settings: Settings) -> list[SupervisedProcess]:
    """Listeners on one port; where there are several, the kernel spreads connections over them."""
    count = settings.listen_processes or os.cpu_count() or 1
    if count == 1:
        return [SupervisedProcess("listener", PARTS["listener"])]
    shared = {"NIGHTDRAFT_LISTEN_SHARED": "true"}
    return [
        SupervisedProcess("listener", PARTS["listener"], f"listener {number}", shared)
        for number in range(count)
    ]


def _start_servers(settings: Settings, cleanup: contextlib.ExitStack) -> EmbeddedServers | None:
    """Start the embedded servers that the settings do not replace, and check those that they name.

    Returns:
        None where the settings name both servers.
    """
    if settings.database_url and settings.redis_url:
        check_database(settings)
        check_broker(settings)
        return None
    if settings.database_url:
        check_database(settings)
    if settings.redis_url:
        check_broker(settings)
    return cleanup.enter_context(
        EmbeddedServers(
            settings.data_dir, postgres=not settings.database_url, valkey=not settings.redis_url
        )
    )


def _migrate(database_url: str) -> None:
    """Bring the tables up to date; from now on this process's settings name the database, too."""
    import migrations
    from records.database.session import engine, forget_engine
    from records.settings import settings

    os.environ["NIGHTDRAFT_DATABASE_URL"] = database_url
    settings.cache_clear()
    forget_engine()
    migrations.upgrade(engine())


def _write_addresses(file: Path, content: dict[str, object]) -> None:
    """Write the file whole or not at all; only this user may read it, for it holds a password."""
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(content))
    temporary.replace(file)


def read_addresses(data_dir: Path) -> dict[str, object]:
    """Return the content of the addresses file of the station that runs on this data folder.

    Raises:
        PartError: No station runs there.
    """
    try:
        content: dict[str, object] = json.loads((data_dir / ADDRESSES).read_text())
    except (OSError, ValueError):
        raise PartError(f"no station runs on {data_dir}: start `nightdraft station`") from None
    return content


def listener_address(settings: Settings) -> tuple[str, int]:
    """Host and port of this machine's listener: the running station's, else the settings'."""
    return _address(settings, "listen")


def page_address(settings: Settings) -> tuple[str, int]:
    """Host and port of this machine's pages: the running station's, else the settings'."""
    return _address(settings, "serve")


def _address(settings: Settings, server: str) -> tuple[str, int]:
    try:
        addresses = read_addresses(settings.data_dir)
    except PartError:
        addresses = settings.model_dump()
    host = str(addresses[f"{server}_host"])
    # A server that listens on every address is reached on loopback.
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    return reachable, int(str(addresses[f"{server}_port"]))
