"""All of Nightdraft on one machine: the servers, then the parts, watched until somebody ends it.

Each part is a process of the same command (`nightdraft listen`, `nightdraft work draft`, ...), so
that one machine runs what many would. Knows how parts start and end, and nothing of their work.

    <data_dir>/run/addresses.json   where this station's servers, listener and page are; mode 0600
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nightdraft.checks import (
    check_broker,
    check_bundle,
    check_database,
    check_disk,
    check_port_free,
)
from nightdraft.embedded import Embedded, free_port, make_data_dir
from nightdraft.processes import Children, end, only_one
from records.errors import NightdraftError, PartError
from records.settings import ADDRESSES, Settings

PARTS: dict[str, tuple[str, ...]] = {
    "sweep": ("work", "sweep"),
    "prepare": ("work", "prepare"),
    "draft": ("work", "draft"),
    "api": ("serve",),
    "listener": ("listen",),
}
"""Each part, by the name of its heartbeat, and its command; started in this order."""

ENDING: tuple[tuple[str, ...], ...] = (("listener",), ("sweep", "prepare", "draft", "api"))
"""Who ends with whom: nothing comes in any more, then what is under way is given back."""

PATIENCE = 25.0
"""Seconds that a part may take to end before it is killed; its leases then run out."""

QUICK_DEATHS = 5
"""Deaths within `QUICK_SECONDS` after which a person is called."""
QUICK_SECONDS = 120.0
_LOOK = 0.2  # seconds between looks at the children
_LONGEST_PAUSE = 30.0


@dataclass
class _Part:
    """One supervised process."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    start_again_at: float = 0.0
    deaths: list[float] = field(default_factory=list)
    alarmed: bool = False


def run_station(
    settings: Settings, say: Callable[[str], None], *, logs: Path | None = None
) -> None:
    """Run everything until SIGTERM or Ctrl-C; when this returns, nothing is left running.

    say: gets one line for each thing that a person should know. logs: a folder for one log file
    a part; None lets the parts write to this process's standard error.

    To be called in the main thread: signals arrive there, and the kernel ends the children of a
    thread that ends.

    Raises:
        NightdraftError: something is missing or wrong; one line that says what.
    """
    check_bundle(settings.bundle)
    make_data_dir(settings.data_dir)
    if warning := check_disk(settings):
        say(f"warning: {warning}")
    with only_one(
        settings.data_dir / "run/station.lock",
        f"a station runs on {settings.data_dir} already: stop it, or choose another "
        "NIGHTDRAFT_DATA_DIR",
    ):
        file = settings.data_dir / ADDRESSES
        file.unlink(missing_ok=True)  # of a station that was killed
        ports = {
            "listen_port": settings.listen_port or free_port(),
            "serve_port": settings.serve_port or free_port(),
        }
        check_port_free("NIGHTDRAFT_LISTEN_PORT", settings.listen_host, ports["listen_port"])
        check_port_free("NIGHTDRAFT_SERVE_PORT", settings.serve_host, ports["serve_port"])
        with _signals() as asked_to_end, contextlib.ExitStack() as kept:
            children = Children(settings.data_dir / "run/parts.json")
            children.end_leftovers()
            servers = _servers(settings, kept)
            addresses = {
                "database_url": settings.database_url or (servers.database_url if servers else ""),
                "redis_url": settings.redis_url or (servers.redis_url if servers else ""),
            }
            if servers is not None:
                running = ", ".join(f"{name} {pid}" for name, pid in servers.pids().items())
                say(f"servers: {running}, under {settings.data_dir}")
            _migrate(addresses["database_url"])
            env = os.environ | {
                f"NIGHTDRAFT_{name.upper()}": str(value)
                for name, value in (addresses | ports | {"data_dir": settings.data_dir}).items()
            }
            station = _Station(settings, say, children, env, servers, logs)
            kept.callback(station.end)
            kept.callback(file.unlink, missing_ok=True)
            facts = {
                **addresses,
                **ports,
                "listen_host": settings.listen_host,
                "serve_host": settings.serve_host,
                "bundle": settings.bundle,
                "pid": os.getpid(),
            }
            _write_addresses(file, {**facts, "ready": False})
            station.start()
            station.watch(asked_to_end, lambda: _write_addresses(file, {**facts, "ready": True}))
            say("ending")
        say("ended; nothing is left running")


class _Station:
    """The parts of a running station."""

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None],
        children: Children,
        env: dict[str, str],
        servers: Embedded | None,
        logs: Path | None,
    ) -> None:
        self._settings = settings
        self._say = say
        self._children = children
        self._env = env
        self._servers = servers
        self._logs = logs
        self._parts = [
            _Part(name, [sys.executable, "-m", "nightdraft", *command])
            for name, command in PARTS.items()
        ]

    def start(self) -> None:
        """Start every part, with one line each."""
        if self._logs is not None:
            self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in self._parts:
            self._start(part, "wb")
            self._say(f"{part.name}: starting, process {part.process.pid if part.process else ''}")
        self._say(
            f"send films to {self._settings.listen_host} port {self._env['NIGHTDRAFT_LISTEN_PORT']}"
            f", called AE {self._settings.ae_title}"
        )
        self._say(f"read drafts at {self._page()}")

    def watch(self, asked_to_end: Callable[[], bool], when_ready: Callable[[], None]) -> None:
        """Start again what dies, until asked to end."""
        waiting_for = {part.name for part in self._parts}
        while not asked_to_end():
            self._mend_servers()
            for part in self._parts:
                self._look_at(part)
            if waiting_for:
                waiting_for -= self._ready(waiting_for)
                if not waiting_for:
                    self._say(f"ready: {self._page()}")
                    when_ready()
            time.sleep(_LOOK)

    def end(self) -> None:
        """End the parts in their order; those that do not end in time are killed."""
        for names in ENDING:
            group = [
                part.process
                for part in self._parts
                if part.name in names and part.process is not None
            ]
            end(group, signal.SIGTERM, PATIENCE)
        self._children.forget()

    def _page(self) -> str:
        host, port = page_address(self._settings)
        return f"http://{host}:{port}/"

    def _start(self, part: _Part, mode: str = "ab") -> None:
        with contextlib.ExitStack() as files:
            output = None
            if self._logs is not None:
                output = files.enter_context((self._logs / f"{part.name}.log").open(mode))
            part.process = self._children.start(part.command, env=self._env, output=output)
        part.started = time.monotonic()

    def _look_at(self, part: _Part) -> None:
        now = time.monotonic()
        if part.process is not None and part.process.poll() is not None:
            part.deaths = [at for at in part.deaths if now - at < QUICK_SECONDS] + [now]
            # The first death of a while is mended at once, later ones after longer and longer.
            pause = (
                0.0 if len(part.deaths) == 1 else min(_LONGEST_PAUSE, 2.0 ** (len(part.deaths) - 2))
            )
            part.start_again_at = now + pause
            self._say(
                f"{part.name}: ended ({_how(part.process.returncode)}), starts again"
                + (f" in {pause:.0f} s" if pause else "")
            )
            part.process = None
            if len(part.deaths) >= QUICK_DEATHS and not part.alarmed:
                part.alarmed = True
                self._alarm(part.name, len(part.deaths))
        if part.process is None and now >= part.start_again_at:
            self._start(part)
        if part.alarmed and now - part.started > QUICK_SECONDS:
            part.alarmed = False

    def _alarm(self, name: str, deaths: int) -> None:
        from records import parts
        from records.session import unit_of_work

        sentence = (
            f"{name} ended {deaths} times within {QUICK_SECONDS:.0f} s: read its last words above, "
            "or in its log; `nightdraft doctor` says what to mend"
        )
        self._say(f"ALARM: {sentence}")
        # Under a name of its own: an alarm of the stage itself would keep its worker from claiming.
        with contextlib.suppress(NightdraftError), unit_of_work() as session:
            parts.raise_alarm(session, f"station {name}", sentence)

    def _mend_servers(self) -> None:
        if self._servers is None:
            return
        for name in self._servers.mend():
            self._say(f"{name}: ended, started again at the same address")

    def _ready(self, names: set[str]) -> set[str]:
        """Those of `names` that say of themselves that they run."""
        from records import parts
        from records.session import unit_of_work

        pids = {part.name: part.process.pid for part in self._parts if part.process is not None}
        try:
            with unit_of_work() as session:
                seen = {(beat.part, beat.owner) for beat in parts.running(session)}
        except NightdraftError:
            return set()
        host = parts.owner().rpartition(":")[0]
        return {name for name in names if (name, f"{host}:{pids.get(name)}") in seen}


def _servers(settings: Settings, kept: contextlib.ExitStack) -> Embedded | None:
    """The embedded servers, unless the settings name both; what they name is checked."""
    if settings.database_url and settings.redis_url:
        check_database(settings)
        check_broker(settings)
        return None
    if settings.database_url:
        check_database(settings)
    if settings.redis_url:
        check_broker(settings)
    return kept.enter_context(
        Embedded(
            settings.data_dir, postgres=not settings.database_url, valkey=not settings.redis_url
        )
    )


def _migrate(database_url: str) -> None:
    """Bring the tables up to date; this process's own settings name the database from now on."""
    import migrations
    from records.session import engine, forget_engine
    from records.settings import settings

    os.environ["NIGHTDRAFT_DATABASE_URL"] = database_url
    settings.cache_clear()
    forget_engine()
    migrations.upgrade(engine())


def _write_addresses(file: Path, facts: dict[str, object]) -> None:
    """Write the file whole or not at all, for this user alone: it holds a password."""
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(facts))
    temporary.replace(file)


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM, SIGINT and SIGHUP ask to end; before the parts run they end the start itself."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)

    before = {
        number: signal.signal(number, note)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def read_addresses(data_dir: Path) -> dict[str, object]:
    """What the station that runs on this data folder says of itself.

    Raises:
        PartError: none runs there.
    """
    try:
        facts: dict[str, object] = json.loads((data_dir / ADDRESSES).read_text())
    except (OSError, ValueError):
        raise PartError(f"no station runs on {data_dir}: start `nightdraft station`") from None
    return facts


def listener_address(settings: Settings) -> tuple[str, int]:
    """Host and port of the listener here: the running station's, else the settings'."""
    return _address(settings, "listen")


def page_address(settings: Settings) -> tuple[str, int]:
    """Host and port of the pages here: the running station's, else the settings'."""
    return _address(settings, "serve")


def _address(settings: Settings, which: str) -> tuple[str, int]:
    try:
        facts = read_addresses(settings.data_dir)
    except PartError:
        facts = settings.model_dump()
    host = str(facts[f"{which}_host"])
    # A server that listens on every address is asked on this machine's own.
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    return shown, int(str(facts[f"{which}_port"]))
