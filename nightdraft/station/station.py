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
from collections.abc import Callable, Mapping
from pathlib import Path

from nightdraft.station.checks import (
    check_broker,
    check_bundle,
    check_database,
    check_disk,
    check_port_free,
)
from nightdraft.station.data_folder import make_data_dir
from nightdraft.station.embedded import EmbeddedServers
from nightdraft.station.processes import ChildProcesses, exclusive_lock
from nightdraft.station.supervisor import (
    POLL_SECONDS,
    SupervisedProcess,
    Supervisor,
    draft_processes,
    stop_signals,
)
from nightdraft.station.waits import DISK, WAITS, Waits, WaitWatch
from nightdraft.station.wheels import free_port
from records.errors import (
    BundleUnusable,
    DatabaseDown,
    DiskFull,
    NightdraftError,
    PartError,
    safe_text,
)
from records.settings import ADDRESSES, Settings, read_settings

PARTS: dict[str, tuple[str, ...]] = {
    "sweep": ("work", "sweep"),
    "prepare": ("work", "prepare"),
    "draft": ("work", "draft"),
    "api": ("serve",),
    "listener": ("listen",),
}
"""Command of each part, by the name in its heartbeat. The parts start in this order; some run as
several processes."""

OPTIONAL_PARTS: dict[str, tuple[str, ...]] = {
    "query": ("query",),
    "retrieve": ("retrieve",),
    "hl7": ("listen", "--hl7"),
}
"""Command of each part that only runs where a setting asks for it; see `wanted_parts`."""

SHUTDOWN_ORDER: tuple[tuple[str, ...], ...] = (
    ("listener", "hl7"),
    ("sweep", "prepare", "draft", "api", "query", "retrieve"),
)
"""Groups of parts that end one after the other: the listeners first, so that nothing new comes in;
then the others, which give back the work that they have in hand."""


def run_station(
    settings: Settings, log: Callable[[str], None], *, log_dir: Path | None = None
) -> None:
    """Run everything until SIGTERM or Ctrl-C; when this returns, nothing is left running.

    It ends by itself only at the start, and only by what does not become well by waiting: a wrong
    setting, a port in use, a server of somebody else that does not answer. From then on it waits
    for whatever is missing, says for what, and goes on. A bundle that is missing or damaged keeps
    only the workers from starting, which raise an alarm: films are received meanwhile.

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
    log = _unbreakable(log)
    try:
        check_bundle(settings.bundle)
    except BundleUnusable as error:
        # A bundle can be copied again tomorrow. A film that nobody takes may be lost tonight.
        log(f"warning: {error}. Films are received, but none is drafted until that is mended")
    make_data_dir(settings.data_dir)
    with (
        exclusive_lock(
            settings.data_dir / "run/station.lock",
            f"a station runs on {settings.data_dir} already: stop it, or choose another "
            "NIGHTDRAFT_DATA_DIR",
        ),
        stop_signals() as stop_requested,
        contextlib.ExitStack() as cleanup,
    ):
        file = settings.data_dir / ADDRESSES
        file.unlink(missing_ok=True)  # a killed station may have left it
        ports = {
            "listen_port": settings.listen_port or free_port(),
            "serve_port": settings.serve_port or free_port(),
        }
        if settings.listen_plain:
            check_port_free("NIGHTDRAFT_LISTEN_PORT", settings.listen_host, ports["listen_port"])
        else:
            ports["listen_port"] = settings.listen_port
        if settings.listen_tls_port:
            port = settings.listen_tls_port
            check_port_free("NIGHTDRAFT_LISTEN_TLS_PORT", settings.listen_host, port)
        if settings.hl7_port:
            check_port_free("NIGHTDRAFT_HL7_PORT", settings.hl7_host, settings.hl7_port)
        check_port_free("NIGHTDRAFT_SERVE_PORT", settings.serve_host, ports["serve_port"])
        children = ChildProcesses(settings.data_dir / "run/parts.json")
        children.end_orphans()
        waits = Waits(settings.data_dir / WAITS, log)
        cleanup.callback(waits.close)
        _wait_for_room(settings, log, waits, stop_requested)
        servers = _start_servers(settings, cleanup, waits, lambda: not stop_requested())
        if stop_requested():
            log("ended before all was ready; nothing is left running")
            return
        own = {"redis_url": servers.redis_url} if servers and not settings.redis_url else {}
        if servers and not settings.database_url:
            own |= {
                "database_url": servers.database_url,
                "migration_database_url": servers.owner_url,
            }
        addresses = {"database_url": settings.database_url, "redis_url": settings.redis_url} | own
        if servers is not None:
            running = ", ".join(f"{name} {pid}" for name, pid in servers.pids().items())
            log(f"servers: {running}, under {settings.data_dir}")
        embedded = None if settings.database_url else servers
        migrate_tables(own, embedded, waits, stop_requested)
        if stop_requested():
            log("ended before all was ready; nothing is left running")
            return
        # The parts have no address of the tables' owner. Those of other servers they inherit.
        values = own | ports | {"data_dir": settings.data_dir}
        env = os.environ | {f"NIGHTDRAFT_{name.upper()}": str(values[name]) for name in values}
        for form in ("", "_FILE"):
            env.pop(f"NIGHTDRAFT_MIGRATION_DATABASE_URL{form}", None)
        supervisor = Supervisor(
            supervised_parts(settings), children, env, log, log_dir, waits=waits
        )
        cleanup.callback(supervisor.end, SHUTDOWN_ORDER)
        cleanup.callback(file.unlink, missing_ok=True)
        content: dict[str, object] = {
            **addresses,
            **ports,
            "listen_host": settings.listen_host,
            "serve_host": settings.serve_host,
            "serve_scheme": "https" if settings.serve_certificate else "http",
            "bundle": settings.bundle,
            "pid": os.getpid(),
        }
        watch = WaitWatch(
            waits,
            {
                DISK: lambda: _room_problem(settings),
                "PostgreSQL": lambda: _problem(lambda: check_database(read_settings(**addresses))),
                "Redis" if settings.redis_url else "Valkey": lambda: _problem(
                    lambda: check_broker(read_settings(**addresses))
                ),
            },
        )
        cleanup.callback(watch.stop)
        station = _Station(settings, log, supervisor, servers, file, content)
        station.start()
        watch.start()
        station.supervise(stop_requested)
        log("ending")
    log("ended; nothing is left running")


class _Station:
    """The parts of a running station."""

    def __init__(
        self,
        settings: Settings,
        log: Callable[[str], None],
        supervisor: Supervisor,
        servers: EmbeddedServers | None,
        file: Path,
        content: dict[str, object],
    ) -> None:
        self._settings = settings
        self._log = log
        self._supervisor = supervisor
        self._servers = servers
        self._file = file
        self._content = content
        self._errors: dict[str, str] = {}  # the last one of each step
        self._not_ready = {entry.label for entry in supervisor.supervised}
        self._is_written: bool | None = None  # whether the file says that all is ready

    def start(self) -> None:
        """Start every part, then log where to send and where to read."""
        self._attempt("write the addresses", self._write_addresses)
        self._supervisor.start()
        settings = self._settings
        ports = [str(self._content["listen_port"])] if settings.listen_plain else []
        ports += [f"{settings.listen_tls_port} (TLS)"] if settings.listen_tls_port else []
        self._log(
            f"send films to {settings.listen_host} port {' or '.join(ports)}"
            f", called AE {settings.ae_title}"
        )
        self._log(f"read drafts at {self._page()}")

    def supervise(self, stop_requested: Callable[[], bool]) -> None:
        """Restart what dies until a stop is requested, whatever happens meanwhile."""
        while not stop_requested():
            self._attempt("restart the servers", self._restart_servers)
            self._attempt("restart the parts", self._supervisor.restart_dead)
            self._attempt("look for the parts", self._look_for_parts)
            self._attempt("write the addresses", self._write_addresses)
            time.sleep(POLL_SECONDS)

    def _attempt(self, step: str, action: Callable[[], object]) -> None:
        """Take one step; what fails is logged once and tried again, for a station never ends so."""
        try:
            action()
            problem = ""
        except Exception as error:
            problem = safe_text(error)
            if isinstance(error, OSError) and error.errno:
                problem = f"{os.strerror(error.errno)}: {problem}"
            if problem != self._errors.get(step):
                self._log(f"the station could not {step}, and tries again: {problem}")
        self._errors[step] = problem

    def _page(self) -> str:
        host, port = page_address(self._settings)
        return f"{self._content['serve_scheme']}://{host}:{port}/"

    def _restart_servers(self) -> None:
        if self._servers is not None:
            for name in self._servers.keep_running():
                self._log(f"{name}: ended, restarted at the same address")

    def _look_for_parts(self) -> None:
        if self._not_ready:
            self._not_ready -= self._running(self._not_ready)
            if not self._not_ready:
                self._log(f"ready: {self._page()}")

    def _write_addresses(self) -> None:
        """Write the addresses file, once at the start and once when all parts run."""
        is_ready = not self._not_ready
        if self._is_written is not is_ready:
            _write_addresses(self._file, {**self._content, "ready": is_ready})
            self._is_written = is_ready

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


def _unbreakable(log: Callable[[str], None]) -> Callable[[str], None]:
    """A log that drops a line that cannot be written: the disk is full, or the terminal is gone."""

    def write(line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            log(line)

    return write


def _problem(check: Callable[[], object]) -> str:
    """What a check complains of, or nothing."""
    try:
        check()
    except NightdraftError as error:
        return str(error)
    return ""


def _room_problem(settings: Settings) -> str:
    """Why nothing can be kept for lack of room, or nothing; what is merely short is no wait."""
    return _problem(lambda: check_disk(settings))


def _wait_for_room(
    settings: Settings,
    log: Callable[[str], None],
    waits: Waits,
    stop_requested: Callable[[], bool],
) -> None:
    """Wait until the disk has room for a start.

    Raises:
        SettingsError: The disk is smaller than the room that is asked for.
    """
    while not stop_requested():
        try:
            warning = check_disk(settings)
        except DiskFull as error:
            waits.begin(DISK, str(error))
            time.sleep(POLL_SECONDS)
            continue
        waits.end(DISK)
        if warning:
            log(f"warning: {warning}")
        return


def wanted_parts(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The command of each part that is to run with these settings, by its name."""
    is_asked = {
        "query": bool(settings.worklist_host or settings.reports_url),
        "retrieve": bool(settings.pacs_file or settings.campaign_folders),
        "hl7": bool(settings.hl7_port),
    }
    return PARTS | {name: command for name, command in OPTIONAL_PARTS.items() if is_asked[name]}


def supervised_parts(settings: Settings) -> list[SupervisedProcess]:
    """The processes of every part; the draft workers are one for each GPU."""
    processes: list[SupervisedProcess] = []
    for name, command in wanted_parts(settings).items():
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


def _start_servers(
    settings: Settings,
    cleanup: contextlib.ExitStack,
    waits: Waits,
    goes_on: Callable[[], bool],
) -> EmbeddedServers | None:
    """Start the embedded servers that the settings do not replace, and check those that they name.

    Embedded servers are waited for as long as `goes_on` says so: after a crash PostgreSQL repairs
    its files first, and a disk that is full gets room again.

    Returns:
        None where the settings name both servers, or a stop was requested before all answered.
    """
    if settings.database_url:
        check_database(settings, "migration_database_url")
    if settings.redis_url:
        check_broker(settings)
    if not goes_on() or (settings.database_url and settings.redis_url):
        return None
    servers = EmbeddedServers(
        settings.data_dir,
        postgres=not settings.database_url,
        valkey=not settings.redis_url,
        waits=waits,
        goes_on=goes_on,
    )
    try:
        return cleanup.enter_context(servers)
    except PartError:
        if goes_on():
            raise
        return None


def migrate_tables(
    own: Mapping[str, str],
    servers: EmbeddedServers | None,
    waits: Waits,
    stop_requested: Callable[[], bool],
) -> None:
    """Bring the tables up to date; from now on this process's settings name the database, too.

    Args:
        own: The addresses of the station's own servers, by the name of the setting.
        servers: The embedded servers, where it is theirs: one that dies or hangs meanwhile is
            waited for, and the migration begins again.
        waits: Where that is noted.
        stop_requested: Whether the station is to end.

    Raises:
        DatabaseDown: A server of somebody else does not answer.
    """
    import migrations
    from records.database.roles import login_of_parts
    from records.database.session import forget_engine, make_engine
    from records.secret_files import set_variable
    from records.settings import settings

    for name, address in own.items():
        set_variable(name, address)
    settings.cache_clear()
    forget_engine()
    owner = make_engine(settings().address("migration_database_url"))
    login = login_of_parts(settings())

    def note(sentence: str) -> None:
        waits.begin("PostgreSQL", sentence)
        if stop_requested():
            raise DatabaseDown(sentence)

    try:
        while not stop_requested():
            try:
                migrations.upgrade(owner, on_wait=note, login=login)
            except DatabaseDown as error:
                if stop_requested():
                    return
                if servers is None:
                    raise
                waits.begin("PostgreSQL", str(error))
                time.sleep(POLL_SECONDS)
                servers.keep_running()
            else:
                waits.end("PostgreSQL")
                return
    finally:
        owner.dispose()


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


def loopback_of(host: str) -> str:
    """Where a server is reached on its own machine: on loopback if it listens on every address."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104


def _address(settings: Settings, server: str) -> tuple[str, int]:
    try:
        addresses = read_addresses(settings.data_dir)
    except PartError:
        addresses = settings.model_dump()
    host = str(addresses[f"{server}_host"])
    return loopback_of(host), int(str(addresses[f"{server}_port"]))
