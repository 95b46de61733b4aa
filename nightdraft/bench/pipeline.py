"""`nightdraft bench pipeline`: pace, and memory of each part, with everything but the model.

Many small studies go through a fresh station whose reporter looks at no image. A few phantoms are
drawn once and sent again and again under new UIDs. The time of drawing is not in the result; the
time of writing the files to send is, for the sender shares the machine with the station.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pydicom
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nightdraft.bench.machine import machine_facts
from nightdraft.film_files import FilmFile, SendOutcome, find_films
from nightdraft.phantom_studies import draw_studies, read_datasets, write_with_new_uids
from nightdraft.station.child import StationProcess
from nightdraft.station.station import PARTS
from nightdraft.store_scu import send_files
from records.config_file import without_settings
from records.database.session import forget_engine, unit_of_work
from records.errors import PartError
from records.settings import settings
from records.states import ENDED, VisibleState
from records.workflow import worklist
from training.corpus.phantoms_dicom import SMALL_SIZE

DRAWN_STUDIES = 40
"""Phantom studies that are drawn; they are sent in turns."""
BATCH = 100
"""Studies that are written and sent at a time; then their files are removed."""
GROWTH_LIMITS = (1.2, 16.0)
"""A part's memory counts as growing if, from a quarter of the studies to the end, it grew by more
than this factor and by more than this many MB."""
_POLL_SECONDS = 1.0  # between two measurements of the memory
_STALL_SECONDS = 180.0
_CURVE_POINTS = 60

SERVERS = ("postgres", "valkey")


def measure(studies: int, associations: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench on a temporary data folder.

    Args:
        studies: How many studies are sent.
        associations: How many associations send them at the same time.
        log: Gets a line for each step.

    Returns:
        The measurements, as JSON has them.

    Raises:
        PartError: A part failed, or no study ended any more.
    """
    folder = Path(tempfile.mkdtemp(prefix="nightdraft-bench-"))
    folder.chmod(0o711)  # PostgreSQL's user passes through
    environment = dict(os.environ)
    try:
        log(f"drawing {min(DRAWN_STUDIES, studies)} phantoms")
        drawn = list(
            read_datasets(draw_studies(folder / "drawn", min(DRAWN_STUDIES, studies), SMALL_SIZE))
        )
        os.environ.clear()
        os.environ.update(without_settings(environment))
        overrides = {
            "bundle": "null",
            "listen_port": 0,
            "serve_port": 0,
            "quiet_seconds": 1.0,
            "sweep_seconds": 1.0,
            "log_level": "warning",
        }
        with StationProcess(folder / "data", overrides) as station:
            os.environ["NIGHTDRAFT_DATA_DIR"] = str(station.data_dir)
            settings.cache_clear()
            forget_engine()
            return _run(station, drawn, folder / "to-send", studies, associations, log)
    finally:
        os.environ.clear()
        os.environ.update(environment)
        settings.cache_clear()
        forget_engine()
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    station: StationProcess,
    drawn: Sequence[Sequence[pydicom.Dataset]],
    folder: Path,
    studies: int,
    associations: int,
    log: Callable[[str], None],
) -> dict[str, Any]:
    sender = _Sender(station, drawn, folder, studies, associations)
    started = time.monotonic()
    curve: list[tuple[float, int, dict[str, float]]] = []
    processor_at_start = processor_seconds_of(int(station.addresses["pid"]))
    at_quarter: dict[str, float] = {}
    last_change, last_ended, last_tenth = started, -1, 0
    thread = threading.Thread(target=sender.run, name="send")
    thread.start()
    try:
        while True:
            with unit_of_work() as session:
                counts = worklist.count_by_state(session)
            ended = sum(counts[state] for state in ENDED)
            now = time.monotonic()
            memory = memory_of(int(station.addresses["pid"]))
            curve.append((now - started, ended, memory))
            if not at_quarter and ended >= studies / 4:
                at_quarter = memory
            if ended != last_ended:
                last_change, last_ended = now, ended
            if ended * 10 // studies != last_tenth:
                last_tenth = ended * 10 // studies
                log(f"{now - started:.0f} s: {ended} of {studies} studies ended")
            if ended >= studies:
                break
            if sender.error or not station.alive or now - last_change > _STALL_SECONDS:
                raise PartError(
                    f"only {ended} of {studies} studies ended: "
                    f"{sender.error or 'nothing moves any more'}"
                )
            time.sleep(_POLL_SECONDS)
    finally:
        sender.stop.set()
        thread.join()
    seconds = curve[-1][0]
    processor = processor_seconds_of(int(station.addresses["pid"]))
    return {
        "bench": "pipeline",
        "studies": studies,
        "films": sender.files,
        "film_pixels": SMALL_SIZE,
        "associations": associations,
        "seconds": round(seconds, 2),
        "studies_per_minute": round(studies / seconds * 60, 1),
        "send_seconds": round(sender.seconds, 2),
        "films_per_second_received": round(sender.files / max(0.01, sender.seconds), 1),
        "ended": {state.value: counts[state] for state in VisibleState if counts[state]},
        "memory_mb": {
            part: summary
            for part in (*PARTS, *SERVERS)
            if (summary := _memory_summary(part, at_quarter, curve))
        },
        "processor_ms_a_study": {
            part: round((used - processor_at_start.get(part, 0.0)) / studies * 1000, 1)
            for part, used in processor.items()
        },
        "curve": [
            {"seconds": round(at, 1), "ended": ended, **memory}
            for at, ended, memory in _thinned(curve)
        ],
        **machine_facts(),
    }


class _Sender:
    """Writes studies under new UIDs, a batch at a time, and sends them."""

    def __init__(
        self,
        station: StationProcess,
        drawn: Sequence[Sequence[pydicom.Dataset]],
        folder: Path,
        studies: int,
        associations: int,
    ) -> None:
        self._host = str(station.addresses["listen_host"])
        self._port = int(station.addresses["listen_port"])
        self._drawn, self._folder = drawn, folder
        self._studies, self._associations = studies, associations
        self.files = 0
        self.seconds = 0.0
        """Time of sending, without the time of writing the files."""
        self.error = ""
        self.stop = threading.Event()

    def run(self) -> None:
        """Send all studies; an error's text is left in `error`."""
        try:
            for start in range(0, self._studies, BATCH):
                if self.stop.is_set():
                    return
                self._send(start, min(BATCH, self._studies - start))
        except Exception as error:  # the main thread reads it and ends the bench
            self.error = f"{type(error).__name__}: {error}"

    def _send(self, start: int, count: int) -> None:
        drawn = (self._drawn[(start + n) % len(self._drawn)] for n in range(count))
        write_with_new_uids(drawn, self._folder, (f"B{start + n}" for n in range(count)))
        files = [file for file in find_films(self._folder) if isinstance(file, FilmFile)]
        started = time.monotonic()
        summary = send_files(
            files,
            host=self._host,
            port=self._port,
            called="NIGHTDRAFT",
            calling="BENCH",
            associations=self._associations,
        )
        self.seconds += time.monotonic() - started
        self.files += len(summary.of_outcome(SendOutcome.SENT))
        if not summary.complete:
            raise PartError("; ".join(summary.lines()))
        shutil.rmtree(self._folder)


def memory_of(station: int) -> dict[str, float]:
    """Return the memory of each part of a station and its child processes, in MB.

    It is the proportional set size: pages that several processes share (PostgreSQL's buffers, a
    forked worker's code) are divided among them, so that a sum counts them once.

    Args:
        station: The station's process id.
    """
    return _sum_by_part(station, _mb)


def processor_seconds_of(station: int) -> dict[str, float]:
    """Return the processor time of each part of a station and its child processes, in seconds.

    Children that have ended and were waited for count; so PostgreSQL's closed connections do.

    Args:
        station: The station's process id.
    """
    return _sum_by_part(station, _processor_seconds)


def _sum_by_part(station: int, of: Callable[[psutil.Process], float]) -> dict[str, float]:
    sums: dict[str, float] = {}
    try:
        children = psutil.Process(station).children()
    except psutil.NoSuchProcess:
        return sums
    for child in children:
        try:
            part = _part_of(child)
            if part:
                family = [child, *child.children(recursive=True)]
                sums[part] = round(sums.get(part, 0.0) + sum(map(of, family)), 2)
        except psutil.NoSuchProcess:
            continue
    return sums


def _part_of(process: psutil.Process) -> str:
    name, command = process.name(), tuple(process.cmdline())
    if name == "postgres":
        return "postgres"
    if name.startswith("valkey"):
        return "valkey"
    for part, arguments in PARTS.items():
        if command[-len(arguments) :] == arguments:
            return part
    return ""


def _mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0
    except psutil.AccessDenied:
        return float(process.memory_info().rss) / 1e6


def _processor_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _memory_summary(
    part: str, at_quarter: dict[str, float], curve: Sequence[tuple[float, int, dict[str, float]]]
) -> dict[str, Any]:
    """A part's memory after a quarter of the studies, at the end, and at its peak, in MB."""
    values = [memory[part] for _, _, memory in curve if part in memory]
    if not values:
        return {}
    quarter_mb = at_quarter.get(part, values[0])
    # A single measurement may fall on a short peak, so the end is the median of the last five.
    end_mb = sorted(values[-5:])[len(values[-5:]) // 2]
    ratio, difference = GROWTH_LIMITS
    return {
        "at_quarter": quarter_mb,
        "at_end": end_mb,
        "peak": max(values),
        "grows": end_mb > quarter_mb * ratio and end_mb - quarter_mb > difference,
    }


def _thinned(
    curve: Sequence[tuple[float, int, dict[str, float]]],
) -> Sequence[tuple[float, int, dict[str, float]]]:
    step = max(1, -(-len(curve) // _CURVE_POINTS))
    return [*islice(curve, 0, None, step)]


def render(measurements: dict[str, Any]) -> RenderableType:
    """Render the measurements as a table."""
    table = Table(box=None, header_style="bold")
    for column in (
        "part",
        "MB at a quarter",
        "MB at the end",
        "MB at its peak",
        "grows",
        "ms a study",
    ):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part, memory in measurements["memory_mb"].items():
        table.add_row(
            part,
            f"{memory['at_quarter']:.0f}",
            f"{memory['at_end']:.0f}",
            f"{memory['peak']:.0f}",
            "YES" if memory["grows"] else "no",
            f"{measurements['processor_ms_a_study'].get(part, 0.0):.1f}",
        )
    ended = ", ".join(f"{state} {count}" for state, count in measurements["ended"].items())
    return Group(
        Text(
            f"{measurements['studies']} studies of {measurements['films']} films in "
            f"{measurements['seconds']:.0f} s: "
            f"{measurements['studies_per_minute']:.0f} studies a minute, "
            f"{measurements['films_per_second_received']:.0f} films a second received; {ended}"
        ),
        table,
    )
