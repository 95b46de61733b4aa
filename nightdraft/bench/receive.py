"""`nightdraft bench receive`: how many files a second listeners take, ours beside others.

Every listener gets the same files, in turns, over one association and over several: ours, which
answers after fsync, hash and commit; and DCMTK's, pynetdicom's and Orthanc's with their default
settings, where they are installed. Each run starts a fresh listener on an empty folder. Of ours,
as many processes run as there are associations, but not more than cores.
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
from nightdraft.station.embedded import EmbeddedServers
from nightdraft.station.processes import end_processes
from nightdraft.station.wheels import free_port
from records.errors import PartError
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom

_START_TIMEOUT = 30.0
_SEND_TIMEOUT = 300.0


@dataclass(frozen=True)
class Receiver:
    """A listener to measure.

    Args:
        name: The name in the table.
        program: The program that must be installed.
        command: Makes the command line from the port and the folder.
        promise: What has happened to a file when the listener answers success.
    """

    name: str
    program: str
    command: Callable[[int, Path], list[str]]
    promise: str


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

LISTENER, FORK = RECEIVERS[:2]
RATIOS = {1: "ratio_one", 4: "ratio_four"}
"""JSON key by number of associations: our files a second over those of `storescp --fork`, which
does not sync."""

DCMSEND = "/usr/bin/dcmsend"


def measure(
    files: int, mb: float, associations: Sequence[int], runs: int, log: Callable[[str], None]
) -> dict[str, Any]:
    """Send the same files to each installed listener, several times.

    Args:
        files: How many files each run sends.
        mb: MB of pixels in each file.
        associations: The numbers of associations to measure with.
        runs: How many runs; the median counts.
        log: Gets a line for each run.

    Returns:
        The measurements, as JSON has them.

    Raises:
        PartError: A listener did not start, or did not take every file.
    """
    folder = Path(tempfile.mkdtemp(prefix="nightdraft-bench-"))
    folder.chmod(0o711)  # PostgreSQL's user passes through
    file_system = _file_system(folder)
    try:
        log(f"writing {files} films of {mb:g} MB")
        paths = _write_files(folder / "films", files, mb)
        installed = [receiver for receiver in RECEIVERS if shutil.which(receiver.program)]
        seconds: dict[tuple[str, int], list[float]] = {}
        memory: dict[tuple[str, int], list[float]] = {}
        for run in range(runs):
            for count in associations:
                # Every other run has the opposite order, for a listener leaves files in the page
                # cache for the next one.
                for receiver in installed[:: -1 if run % 2 else 1]:
                    with _running(receiver, folder / "received", count) as (port, processes):
                        elapsed, peak = _send(paths, port, count, processes)
                    key = (receiver.name, count)
                    seconds.setdefault(key, []).append(elapsed)
                    memory.setdefault(key, []).append(peak)
                    log(
                        f"run {run + 1} of {runs}, {receiver.name}, {count} at once: "
                        f"{files / elapsed:.1f} films a second"
                    )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "bench": "receive",
        "films": files,
        "mb_each": mb,
        "runs": runs,
        **_ratios(seconds),
        "file_system": file_system,
        "sender": "dcmsend" if Path(DCMSEND).exists() else "nightdraft send",
        "not_installed": [receiver.name for receiver in RECEIVERS if receiver not in installed],
        "receivers": [
            {
                "name": receiver.name,
                "promise": receiver.promise,
                "associations": count,
                "processes": _process_count(receiver, count),
                "films_per_second": summarise(
                    [files / elapsed for elapsed in seconds[receiver.name, count]]
                ),
                "memory_mb": summarise(memory[receiver.name, count]),
            }
            for count in associations
            for receiver in installed
        ],
        **machine_facts(),
    }


def _ratios(seconds: dict[tuple[str, int], list[float]]) -> dict[str, float | None]:
    """The median of the runs' ratios; None without the other listener or without such a run."""
    medians: dict[str, float | None] = {}
    for count, key in RATIOS.items():
        own_runs, fork_runs = (
            seconds.get((receiver.name, count), []) for receiver in (LISTENER, FORK)
        )
        ratios = [
            fork_seconds / own_seconds
            for own_seconds, fork_seconds in zip(own_runs, fork_runs, strict=False)
        ]
        medians[key] = round(median(ratios), 3) if ratios else None
    return medians


def _process_count(receiver: Receiver, associations: int) -> int:
    return min(associations, os.cpu_count() or 1) if receiver is LISTENER else 1


def _file_system(folder: Path) -> str:
    """The kind of file system that all listeners write to."""
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[path] for path in (folder, *folder.parents) if path in mounts), "unknown")


def _write_files(folder: Path, files: int, mb: float) -> list[Path]:
    """Files of one study each, with random pixels, for no listener looks at pixels."""
    folder.mkdir()
    (ds, *_) = phantom_dicom(phantom(FIRST_SEED), size=64)
    side = max(1, int((mb * 1e6 / 2) ** 0.5))
    ds.Rows = ds.Columns = side
    ds.PixelData = os.urandom(side * side * 2)
    paths = []
    for number in range(files):
        ds.StudyInstanceUID = generate_uid(prefix=None)
        ds.SeriesInstanceUID = generate_uid(prefix=None)
        ds.SOPInstanceUID = generate_uid(prefix=None)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        paths.append(folder / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


@contextmanager
def _running(
    receiver: Receiver, folder: Path, associations: int
) -> Iterator[tuple[int, list[psutil.Process]]]:
    """Run the listener on an empty folder; yield its port and its processes; then remove both."""
    folder.mkdir(mode=0o711)
    port = free_port()
    try:
        with ExitStack() as cleanup:
            env = dict(os.environ)
            if receiver is LISTENER:
                env = cleanup.enter_context(_own_database(folder, port))
            processes = []
            with (folder / "output.log").open("wb") as log_file:
                for _ in range(_process_count(receiver, associations)):
                    process = subprocess.Popen(
                        receiver.command(port, folder), stdout=log_file, stderr=log_file, env=env
                    )
                    cleanup.callback(end_processes, [process], signal.SIGTERM, 20)
                    processes.append(process)
            for process in processes:
                _wait_for(process, port, receiver, folder / "output.log")
            yield port, [psutil.Process(process.pid) for process in processes]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_database(folder: Path, port: int) -> Iterator[dict[str, str]]:
    """Yield our listener's environment: a PostgreSQL that syncs, and no setting of the caller."""
    import migrations
    from records.config_file import without_settings
    from records.database.session import make_engine
    from records.settings import read_settings

    with EmbeddedServers(folder, valkey=False) as servers:
        address = read_settings(database_url=servers.owner_url).address("database_url")
        engine = make_engine(address)
        migrations.upgrade(engine)
        engine.dispose()
        yield without_settings(os.environ) | {
            "NIGHTDRAFT_DATABASE_URL": servers.owner_url,
            "NIGHTDRAFT_DATA_DIR": str(folder),
            "NIGHTDRAFT_USER": "root",  # where root measures: the folder is closed to others
            "NIGHTDRAFT_LISTEN_PORT": str(port),
            "NIGHTDRAFT_LISTEN_SHARED": "true",
            "NIGHTDRAFT_LOG_LEVEL": "warning",
        }


def _wait_for(
    process: subprocess.Popen[bytes], port: int, receiver: Receiver, log_file: Path
) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        # A connection would reach one of the processes that share the port, not each of them.
        with suppress(psutil.NoSuchProcess):
            sockets = psutil.Process(process.pid).net_connections("tcp")
            if any(
                socket.status == psutil.CONN_LISTEN and socket.laddr.port == port
                for socket in sockets
            ):
                return
        time.sleep(0.05)
    lines = log_file.read_text(errors="replace").strip().splitlines() or ["no message"]
    raise PartError(f"{receiver.name} does not start: {lines[-1]}")


def _send(
    paths: Sequence[Path], port: int, associations: int, receivers: Sequence[psutil.Process]
) -> tuple[float, float]:
    """Seconds until every file was answered with success, and the receiver's peak memory in MB."""
    finished, peak = threading.Event(), [0.0]
    watcher = threading.Thread(target=_watch_memory, args=(receivers, finished, peak))
    senders: list[subprocess.Popen[bytes]] = []
    # A timer kills late senders, for `wait` with a timeout checks only every 50 ms.
    timeout = threading.Timer(_SEND_TIMEOUT, _kill, [senders])
    watcher.start()
    timeout.start()
    try:
        started = time.monotonic()
        for command in _sender_commands(paths, port, associations):
            senders.append(
                subprocess.Popen(
                    command,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | {"TCP_NODELAY": "1"},  # else DCMTK waits for more to send
                )
            )
        failed = [sender for sender in senders if sender.wait()]
        elapsed = time.monotonic() - started
    finally:
        timeout.cancel()
        finished.set()
        watcher.join()
    if failed:
        raise PartError("a listener did not take every film")
    return elapsed, peak[0]


def _kill(senders: Sequence[subprocess.Popen[bytes]]) -> None:
    for sender in senders:
        sender.kill()


def _sender_commands(paths: Sequence[Path], port: int, associations: int) -> Iterator[list[str]]:
    """Yield the commands that together send the files over this many associations."""
    if not Path(DCMSEND).exists():
        send = [sys.executable, "-m", "nightdraft", "send", str(paths[0].parent)]
        target = ["--host", "127.0.0.1", "--port", str(port), "--called", "NIGHTDRAFT"]
        yield [*send, *target, "--associations", str(associations)]
        return
    for start in range(associations):
        if share := paths[start::associations]:
            yield [DCMSEND, "-aec", "NIGHTDRAFT", "127.0.0.1", str(port), *map(str, share)]


def _watch_memory(
    receivers: Sequence[psutil.Process], finished: threading.Event, peak: list[float]
) -> None:
    """Record the most memory that a listener's processes and their children have together."""
    while True:
        with suppress(psutil.NoSuchProcess):
            family = list(receivers)
            for receiver in receivers:
                family += receiver.children(recursive=True)
            peak[0] = max(peak[0], sum(map(_mb, family)))
        # Measured before waiting: a few small files may be sent before the first wait ends.
        if finished.wait(0.1):
            return


def _mb(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        return float(process.memory_info().rss) / 1e6
    return 0.0


def render(measurements: dict[str, Any]) -> RenderableType:
    """Render the measurements as a table."""
    table = Table(box=None, header_style="bold")
    for column in ("listener", "associations", "processes", "films a second", "MB at its peak"):
        table.add_column(column, justify="left" if column == "listener" else "right")
    table.add_column("when it answers success, a film is")
    for row in measurements["receivers"]:
        table.add_row(
            row["name"],
            str(row["associations"]),
            str(row["processes"]),
            f"{row['films_per_second']['median']:.1f}",
            f"{row['memory_mb']['median']:.0f}",
            row["promise"],
        )
    absent = ", ".join(measurements["not_installed"])
    ratios = ", ".join(
        f"{measurements[key]:.2f} x storescp --fork at {count}"
        for count, key in RATIOS.items()
        if measurements[key] is not None
    )
    return Group(
        Text(
            f"{measurements['films']} films of {measurements['mb_each']:g} MB "
            f"by {measurements['sender']}; "
            f"median of {measurements['runs']} runs, in turns"
            + (f"; not installed: {absent}" if absent else "")
        ),
        table,
        Text(f"nightdraft listen: {ratios}" if ratios else ""),
    )
