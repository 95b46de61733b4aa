"""`nightdraft bench pipeline`: pace, and memory of each part, with everything but the model.

Many small studies go through a fresh station whose reporter looks at nothing. A few phantoms are
drawn once and sent again and again under new UIDs: drawing is not measured; writing the files to
send is, for it shares the machine. Knows parts by their commands.
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
from nightdraft.phantom_studies import draw_studies, read_studies, write_afresh
from nightdraft.station.child import StationProcess
from nightdraft.station.station import PARTS
from nightdraft.store_scu import Film, Outcome, find_films, send_films
from records.database.session import forget_engine, unit_of_work
from records.errors import PartError
from records.settings import settings
from records.states import ENDED, VisibleState
from records.workflow import worklist
from training.corpus.phantoms_dicom import SMALL_SIZE

DRAWN = 40
"""Phantoms drawn; their studies take turns."""
BATCH = 100
"""Studies written and sent at a time, then removed from the sender's side."""
GROWS = (1.2, 16.0)
"""A part's memory grows when it ends at more than this many times, and this many MB over, what
it had when a quarter of the studies had ended."""
_LOOK = 1.0  # seconds between looks at the memory
_STANDS_STILL = 180.0
_CURVE = 60  # points kept of each curve

SERVERS = ("postgres", "valkey")


def measure(studies: int, associations: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench on a temporary data folder; one object of plain words and numbers.

    Raises:
        PartError: a part failed, or nothing moved any more.
    """
    folder = Path(tempfile.mkdtemp(prefix="nightdraft-bench-"))
    folder.chmod(0o711)  # PostgreSQL's user passes through
    kept = dict(os.environ)
    try:
        say(f"drawing {min(DRAWN, studies)} phantoms")
        drawn = list(read_studies(draw_studies(folder / "drawn", min(DRAWN, studies), SMALL_SIZE)))
        for name in [name for name in os.environ if name.startswith("NIGHTDRAFT_")]:
            del os.environ[name]
        chosen = {
            "bundle": "null",
            "listen_port": 0,
            "serve_port": 0,
            "quiet_seconds": 1.0,
            "sweep_seconds": 1.0,
            "log_level": "warning",
        }
        with StationProcess(folder / "data", chosen) as station:
            os.environ["NIGHTDRAFT_DATA_DIR"] = str(station.data_dir)
            settings.cache_clear()
            forget_engine()
            return _run(station, drawn, folder / "to-send", studies, associations, say)
    finally:
        os.environ.clear()
        os.environ.update(kept)
        settings.cache_clear()
        forget_engine()
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    station: StationProcess,
    drawn: Sequence[Sequence[pydicom.Dataset]],
    folder: Path,
    studies: int,
    associations: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    sender = _Sender(station, drawn, folder, studies, associations)
    started = time.monotonic()
    curve: list[tuple[float, int, dict[str, float]]] = []
    quarter: dict[str, float] = {}
    changed, last, told = started, -1, 0
    first: float | None = None
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
            if ended and first is None:
                first = now
            if not quarter and ended >= studies / 4:
                quarter = memory
            if ended != last:
                changed, last = now, ended
            if ended * 10 // studies != told:
                told = ended * 10 // studies
                say(f"{now - started:.0f} s: {ended} of {studies} studies ended")
            if ended >= studies:
                break
            if sender.error or not station.alive or now - changed > _STANDS_STILL:
                raise PartError(
                    f"{ended} of {studies} studies ended, and no more came: "
                    f"{sender.error or 'nothing moves'}"
                )
            time.sleep(_LOOK)
    finally:
        sender.stop.set()
        thread.join()
    seconds = curve[-1][0]
    return {
        "bench": "pipeline",
        "studies": studies,
        "films": sender.films,
        "film_pixels": SMALL_SIZE,
        "associations": associations,
        "seconds": round(seconds, 2),
        "studies_per_minute": round(studies / seconds * 60, 1),
        "send_seconds": round(sender.seconds, 2),
        "films_per_second_received": round(sender.films / max(0.01, sender.seconds), 1),
        "ended": {state.value: counts[state] for state in VisibleState if counts[state]},
        "memory_mb": {
            part: summary
            for part in (*PARTS, *SERVERS)
            if (summary := _summary(part, quarter, curve))
        },
        "curve": [
            {"seconds": round(at, 1), "ended": ended, **memory}
            for at, ended, memory in _thinned(curve)
        ],
        **machine_facts(),
    }


class _Sender:
    """Writes studies afresh, a batch at a time, and sends them."""

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
        self.films = 0
        self.seconds = 0.0
        """Spent sending, writing not counted."""
        self.error = ""
        self.stop = threading.Event()

    def run(self) -> None:
        """Send all studies; what goes wrong is left in `error`."""
        try:
            for start in range(0, self._studies, BATCH):
                if self.stop.is_set():
                    return
                self._send(start, min(BATCH, self._studies - start))
        except Exception as error:  # told to the main thread, which ends the bench
            self.error = f"{type(error).__name__}: {error}"

    def _send(self, start: int, count: int) -> None:
        turn = (self._drawn[(start + n) % len(self._drawn)] for n in range(count))
        write_afresh(turn, self._folder, (f"B{start + n}" for n in range(count)))
        films = [film for film in find_films(self._folder) if isinstance(film, Film)]
        before = time.monotonic()
        sending = send_films(
            films,
            host=self._host,
            port=self._port,
            called="NIGHTDRAFT",
            calling="BENCH",
            associations=self._associations,
        )
        self.seconds += time.monotonic() - before
        self.films += len(sending.of(Outcome.SENT))
        if not sending.whole:
            raise PartError("; ".join(sending.lines()))
        shutil.rmtree(self._folder)


def memory_of(station: int) -> dict[str, float]:
    """MB of each part of a station, its child processes included: proportional set size.

    Pages that several processes share (PostgreSQL's buffers, a forked worker's code) are divided
    among them, so that a sum counts them once.
    """
    found: dict[str, float] = {}
    try:
        children = psutil.Process(station).children()
    except psutil.NoSuchProcess:
        return found
    for child in children:
        try:
            part = _part_of(child)
            if part:
                family = [child, *child.children(recursive=True)]
                found[part] = found.get(part, 0.0) + round(sum(map(_mb, family)), 1)
        except psutil.NoSuchProcess:
            continue
    return found


def _part_of(process: psutil.Process) -> str:
    name, command = process.name(), tuple(process.cmdline())
    if name == "postgres":
        return "postgres"
    if name.startswith("valkey"):
        return "valkey"
    for part, words in PARTS.items():
        if command[-len(words) :] == words:
            return part
    return ""


def _mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0
    except psutil.AccessDenied:
        return float(process.memory_info().rss) / 1e6


def _summary(
    part: str, quarter: dict[str, float], curve: Sequence[tuple[float, int, dict[str, float]]]
) -> dict[str, Any]:
    """A part's memory at a quarter of the studies, at the end, and at its peak."""
    values = [memory[part] for _, _, memory in curve if part in memory]
    if not values:
        return {}
    at_quarter = quarter.get(part, values[0])
    # The end is the middle of the last looks: one look may fall on a moment's peak.
    last = sorted(values[-5:])[len(values[-5:]) // 2]
    times, over = GROWS
    return {
        "at_quarter": at_quarter,
        "at_end": last,
        "peak": max(values),
        "grows": last > at_quarter * times and last - at_quarter > over,
    }


def _thinned(
    curve: Sequence[tuple[float, int, dict[str, float]]],
) -> Sequence[tuple[float, int, dict[str, float]]]:
    step = max(1, -(-len(curve) // _CURVE))
    return [*islice(curve, 0, None, step)]


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurements as a table."""
    table = Table(box=None, header_style="bold")
    for column in ("part", "MB at a quarter", "MB at the end", "MB at its peak", "grows"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part, memory in measured["memory_mb"].items():
        table.add_row(
            part,
            f"{memory['at_quarter']:.0f}",
            f"{memory['at_end']:.0f}",
            f"{memory['peak']:.0f}",
            "YES" if memory["grows"] else "no",
        )
    ended = ", ".join(f"{state} {count}" for state, count in measured["ended"].items())
    return Group(
        Text(
            f"{measured['studies']} studies of {measured['films']} films in "
            f"{measured['seconds']:.0f} s: {measured['studies_per_minute']:.0f} studies a minute, "
            f"{measured['films_per_second_received']:.0f} films a second received; {ended}"
        ),
        table,
    )
