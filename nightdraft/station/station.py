"""All of Nightdraft on one machine: the servers, then the parts, watched until somebody ends it.

Each part is a process of the same command (`nightdraft listen`, `nightdraft work draft`, ...), so
that one machine runs what many would. Knows how parts start and end, and nothing of their work.

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
from nightdraft.station.embedded import Embedded, free_port, make_data_dir
from nightdraft.station.processes import Children, only_one
from nightdraft.station.supervisor import LOOK, Several, Watched, draft_processes, signals
from records.errors import NightdraftError, PartError
from records.settings import ADDRESSES, Settings

PARTS: dict[str, tuple[str, ...]] = {
    "sweep": ("work", "sweep"),
    "prepare": ("work", "prepare"),
    "draft": ("work", "draft"),
    "api": ("serve",),
    "listener": ("listen",),
}
"""Each part, by the name of its heartbeat, and its command; started in this order. Some run as
several processes."""

ENDING: tuple[tuple[str, ...], ...] = (("listener",), ("sweep", "prepare", "draft", "api"))
"""Who ends with whom: nothing comes in any more, then what is under way is given back."""


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
        with signals() as asked_to_end, contextlib.ExitStack() as kept:
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
            several = Several(_processes(settings), children, env, say, logs)
            station = _Station(settings, say, several, ports["listen_port"], servers)
            kept.callback(several.end, ENDING)
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
        several: Several,
        listen_port: object,
        servers: Embedded | None,
    ) -> None:
        self._settings = settings
        self._say = say
        self._several = several
        self._listen_port = listen_port
        self._servers = servers

    def start(self) -> None:
        """Start every part, with one line each."""
        self._several.start()
        self._say(
            f"send films to {self._settings.listen_host} port {self._listen_port}"
            f", called AE {self._settings.ae_title}"
        )
        self._say(f"read drafts at {self._page()}")

    def watch(self, asked_to_end: Callable[[], bool], when_ready: Callable[[], None]) -> None:
        """Start again what dies, until asked to end."""
        waiting_for = {one.label for one in self._several.watched}
        while not asked_to_end():
            self._mend_servers()
            self._several.look()
            if waiting_for:
                waiting_for -= self._ready(waiting_for)
                if not waiting_for:
                    self._say(f"ready: {self._page()}")
                    when_ready()
            time.sleep(LOOK)

    def _page(self) -> str:
        host, port = page_address(self._settings)
        return f"http://{host}:{port}/"

    def _mend_servers(self) -> None:
        if self._servers is None:
            return
        for name in self._servers.mend():
            self._say(f"{name}: ended, started again at the same address")

    def _ready(self, labels: set[str]) -> set[str]:
        """Those of `labels` that say of themselves that they run."""
        from records.database.session import unit_of_work
        from records.operations import heartbeats

        try:
            with unit_of_work() as session:
                seen = {(beat.part, beat.owner) for beat in heartbeats.running(session)}
        except NightdraftError:
            return set()
        host = heartbeats.owner().rpartition(":")[0]
        return {
            one.label
            for one in self._several.watched
            if one.label in labels
            and one.process is not None
            and (one.part, f"{host}:{one.process.pid}") in seen
        }


def _processes(settings: Settings) -> list[Watched]:
    """Every part's process, the draft workers one a GPU."""
    found: list[Watched] = []
    for name, command in PARTS.items():
        if name == "draft":
            found += draft_processes(settings)
        elif name == "listener":
            found += _listeners(settings)
        else:
            found.append(Watched(name, command))
    return found


def _listeners(settings: Settings) -> list[Watched]:
    """Listeners on the one port; where there are several, the system spreads connections."""
    count = settings.listen_processes or os.cpu_count() or 1
    if count == 1:
        return [Watched("listener", PARTS["listener"])]
    shared = {"NIGHTDRAFT_LISTEN_SHARED": "true"}
    return [
        Watched("listener", PARTS["listener"], f"listener {number}", shared)
        for number in range(count)
    ]


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
    from records.database.session import engine, forget_engine
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
