"""`nightdraft bench receive`: films a second that are taken in, beside other listeners.

The same films go to each listener in turns, over one association and over several: to ours, which
answers after fsync, hash and commit, and to DCMTK's, pynetdicom's and Orthanc's, those that are
installed, as they come. Each run starts a fresh listener on an empty folder, of ours as many
processes as there are associations and cores. Knows their commands.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from pydicom.uid import generate_uid
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nightdraft.bench.machine import machine_facts, summarise
from nightdraft.phantom_studies import FIRST_SEED
from nightdraft.station.embedded import EmbeddedServers, free_port
from nightdraft.station.processes import end_processes
from records.errors import PartError
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom

_STARTS_IN = 30.0
_SENDS_IN = 300.0


@dataclass(frozen=True)
class Receiver:
    """A listener to measure. command: by port and folder. program: what must be installed."""

    name: str
    program: str
    command: Callable[[int, Path], list[str]]
    promise: str  # what has happened when it answers success


def _orthanc(port: int, folder: Path) -> list[str]:
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "DicomPort": port,
                "HttpServerEnabled": False,
                "StorageDirectory": str(folder),
                "IndexDirectory": str(folder),
                "DicomAlwaysAllowStore": True,
                "Plugins": [],
            }
        )
    )
    return ["Orthanc", str(folder / "orthanc.json")]


RECEIVERS = (
    Receiver(
        "nightdraft listen",
        sys.executable,
        lambda *_: [sys.executable, "-m", "nightdraft", "listen"],
        "synced, hashed, committed",
    ),
    Receiver(
        "DCMTK storescp --fork",
        "/usr/bin/storescp",
        lambda port, folder: ["/usr/bin/storescp", "--fork", "-od", str(folder), str(port)],
        "written",
    ),
    Receiver(
        "pynetdicom storescp",
        sys.executable,
        lambda port, folder: [
            *(sys.executable, "-m", "pynetdicom", "storescp", str(port)),
            *("-ba", "127.0.0.1", "-od", str(folder), "--quiet"),
        ],
        "written",
    ),
    Receiver(
        "DCMTK storescp",
        "/usr/bin/storescp",
        lambda port, folder: ["/usr/bin/storescp", "-od", str(folder), str(port)],
        "written",
    ),
    Receiver("Orthanc", "Orthanc", _orthanc, "synced, hashed, in its index"),
)

OURS, FORK = RECEIVERS[:2]
RATIOS = {1: "ratio_one", 4: "ratio_four"}
"""By associations: our films a second over those of `storescp --fork`, which syncs nothing."""

DCMSEND = "/usr/bin/dcmsend"


def measure(
    films: int, mb: float, associations: Sequence[int], runs: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Send `films` films of `mb` MB to each listener `runs` times; plain words and numbers.

    Raises:
        PartError: a listener did not start, or did not take every film.
    """
    folder = Path(tempfile.mkdtemp(prefix="nightdraft-bench-"))
    folder.chmod(0o711)  # PostgreSQL's user passes through
    file_system = _file_system(folder)
    try:
        say(f"writing {films} films of {mb:g} MB")
        sent = _write_films(folder / "films", films, mb)
        there = [receiver for receiver in RECEIVERS if shutil.which(receiver.program)]
        seconds: dict[tuple[str, int], list[float]] = {}
        memory: dict[tuple[str, int], list[float]] = {}
        for run in range(runs):
            for at_once in associations:
                # Each is first as often as last: what one leaves in memory is the next one's luck.
                for receiver in there[:: -1 if run % 2 else 1]:
                    with _running(receiver, folder / "received", at_once) as (port, family):
                        took, peak = _send(sent, port, at_once, family)
                    key = (receiver.name, at_once)
                    seconds.setdefault(key, []).append(took)
                    memory.setdefault(key, []).append(peak)
                    say(
                        f"run {run + 1} of {runs}, {receiver.name}, {at_once} at once: "
                        f"{films / took:.1f} films a second"
                    )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "bench": "receive",
        "films": films,
        "mb_each": mb,
        "runs": runs,
        **_ratios(seconds),
        "file_system": file_system,
        "sender": "dcmsend" if Path(DCMSEND).exists() else "nightdraft send",
        "not_installed": [one.name for one in RECEIVERS if one not in there],
        "receivers": [
            {
                "name": receiver.name,
                "promise": receiver.promise,
                "associations": at_once,
                "processes": _processes(receiver, at_once),
                "films_per_second": summarise(
                    [films / took for took in seconds[receiver.name, at_once]]
                ),
                "memory_mb": summarise(memory[receiver.name, at_once]),
            }
            for at_once in associations
            for receiver in there
        ],
        **machine_facts(),
    }


def _ratios(seconds: dict[tuple[str, int], list[float]]) -> dict[str, float | None]:
    """The median of the runs' ratios; None without the other listener or without such a run."""
    found: dict[str, float | None] = {}
    for at_once, key in RATIOS.items():
        ours, fork = (seconds.get((one.name, at_once), []) for one in (OURS, FORK))
        pairs = [theirs / own for own, theirs in zip(ours, fork, strict=False)]
        found[key] = round(median(pairs), 3) if pairs else None
    return found


def _processes(receiver: Receiver, associations: int) -> int:
    return min(associations, os.cpu_count() or 1) if receiver is OURS else 1


def _file_system(folder: Path) -> str:
    """The kind of file system that all listeners write to."""
    mounts = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    return next((mounts[one] for one in (folder, *folder.parents) if one in mounts), "unknown")


def _write_films(folder: Path, films: int, mb: float) -> list[Path]:
    """Films of one study each, pixels of nothing: what is measured does not look at them."""
    folder.mkdir()
    (film, *_) = phantom_dicom(phantom(FIRST_SEED), size=64)
    side = max(1, int((mb * 1e6 / 2) ** 0.5))
    film.Rows = film.Columns = side
    film.PixelData = os.urandom(side * side * 2)
    written = []
    for number in range(films):
        film.StudyInstanceUID = generate_uid(prefix=None)
        film.SeriesInstanceUID = generate_uid(prefix=None)
        film.SOPInstanceUID = generate_uid(prefix=None)
        film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
        written.append(folder / f"{number}.dcm")
        film.save_as(written[-1], enforce_file_format=True)
    return written


@contextmanager
def _running(
    receiver: Receiver, folder: Path, associations: int
) -> Iterator[tuple[int, list[psutil.Process]]]:
    """The listener on an empty folder, its port and its processes; nothing is left of it."""
    folder.mkdir(mode=0o711)
    port = free_port()
    try:
        with ExitStack() as kept:
            env = dict(os.environ)
            if receiver is OURS:
                env = kept.enter_context(_own_database(folder, port))
            processes = []
            with (folder / "words.log").open("wb") as words:
                for _ in range(_processes(receiver, associations)):
                    process = subprocess.Popen(
                        receiver.command(port, folder), stdout=words, stderr=words, env=env
                    )
                    kept.callback(end_processes, [process], signal.SIGTERM, 20)
                    processes.append(process)
            for process in processes:
                _wait_for(process, port, receiver, folder / "words.log")
            yield port, [psutil.Process(process.pid) for process in processes]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_database(folder: Path, port: int) -> Iterator[dict[str, str]]:
    """The environment of our listener: a PostgreSQL that syncs, and nothing of the caller's."""
    import migrations
    from records.database.session import make_engine
    from records.settings import read_settings

    with EmbeddedServers(folder, valkey=False) as servers:
        address = read_settings(database_url=servers.database_url).address("database_url")
        made = make_engine(address)
        migrations.upgrade(made)
        made.dispose()
        env = {name: value for name, value in os.environ.items() if "NIGHTDRAFT_" not in name}
        yield env | {
            "NIGHTDRAFT_DATABASE_URL": servers.database_url,
            "NIGHTDRAFT_DATA_DIR": str(folder),
            "NIGHTDRAFT_LISTEN_PORT": str(port),
            "NIGHTDRAFT_LISTEN_SHARED": "true",
            "NIGHTDRAFT_LOG_LEVEL": "warning",
        }


def _wait_for(process: subprocess.Popen[bytes], port: int, receiver: Receiver, words: Path) -> None:
    until = time.monotonic() + _STARTS_IN
    while time.monotonic() < until and process.poll() is None:
        # Asking by a connection would tell of one of the processes on a port, not of each.
        with suppress(psutil.NoSuchProcess):
            open_ports = psutil.Process(process.pid).net_connections("tcp")
            if any(
                one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in open_ports
            ):
                return
        time.sleep(0.05)
    said = words.read_text(errors="replace").strip().splitlines() or ["no words"]
    raise PartError(f"{receiver.name} does not start: {said[-1]}")


def _send(
    films: Sequence[Path], port: int, associations: int, receivers: Sequence[psutil.Process]
) -> tuple[float, float]:
    """Seconds until every film was answered with success, and the receiver's peak in MB."""
    over, peak = threading.Event(), [0.0]
    watching = threading.Thread(target=_watch, args=(receivers, over, peak))
    senders: list[subprocess.Popen[bytes]] = []
    # Killed from beside: waiting with a limit would look only every 50 ms.
    late = threading.Timer(_SENDS_IN, _kill, [senders])
    watching.start()
    late.start()
    try:
        started = time.monotonic()
        for command in _senders(films, port, associations):
            senders.append(
                subprocess.Popen(
                    command,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | {"TCP_NODELAY": "1"},  # DCMTK would wait for more to send
                )
            )
        wrong = [sender for sender in senders if sender.wait()]
        took = time.monotonic() - started
    finally:
        late.cancel()
        over.set()
        watching.join()
    if wrong:
        raise PartError("a listener did not take every film")
    return took, peak[0]


def _kill(senders: Sequence[subprocess.Popen[bytes]]) -> None:
    for sender in senders:
        sender.kill()


def _senders(films: Sequence[Path], port: int, associations: int) -> Iterator[list[str]]:
    """Commands that send the films over so many associations together."""
    if not Path(DCMSEND).exists():
        send = [sys.executable, "-m", "nightdraft", "send", str(films[0].parent)]
        to = ["--host", "127.0.0.1", "--port", str(port), "--called", "NIGHTDRAFT"]
        yield [*send, *to, "--associations", str(associations)]
        return
    for start in range(associations):
        if lot := films[start::associations]:
            yield [DCMSEND, "-aec", "NIGHTDRAFT", "127.0.0.1", str(port), *map(str, lot)]


def _watch(receivers: Sequence[psutil.Process], over: threading.Event, peak: list[float]) -> None:
    """Note the most memory that a listener's processes and their children have together."""
    while True:
        with suppress(psutil.NoSuchProcess):
            family = [*receivers, *(kid for one in receivers for kid in one.children(True))]
            peak[0] = max(peak[0], sum(map(_mb, family)))
        # After looking: a few small films may all be through before the first wait ends.
        if over.wait(0.1):
            return


def _mb(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        return float(process.memory_info().rss) / 1e6
    return 0.0


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurements as a table."""
    table = Table(box=None, header_style="bold")
    for column in ("listener", "associations", "processes", "films a second", "MB at its peak"):
        table.add_column(column, justify="left" if column == "listener" else "right")
    table.add_column("when it answers success, a film is")
    for row in measured["receivers"]:
        table.add_row(
            row["name"],
            str(row["associations"]),
            str(row["processes"]),
            f"{row['films_per_second']['median']:.1f}",
            f"{row['memory_mb']['median']:.0f}",
            row["promise"],
        )
    absent = ", ".join(measured["not_installed"])
    ratios = ", ".join(
        f"{measured[key]:.2f} x storescp --fork at {at_once}"
        for at_once, key in RATIOS.items()
        if measured[key] is not None
    )
    return Group(
        Text(
            f"{measured['films']} films of {measured['mb_each']:g} MB by {measured['sender']}; "
            f"median of {measured['runs']} runs, in turns"
            + (f"; not installed: {absent}" if absent else "")
        ),
        table,
        Text(f"nightdraft listen: {ratios}" if ratios else ""),
    )
