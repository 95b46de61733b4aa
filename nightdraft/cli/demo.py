"""`make demo`: the whole system at work on two dozen studies, to be watched.

Starts a station with the demonstration model in a data folder of its own, sends it a backlog over
a real association, and shows how it is drafted. Knows what to show; the station does the work.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import count as count_up
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from model.manifest import read_manifest
from nightdraft.cli.send import find_with_progress, send_with_progress
from nightdraft.cli.status import show_counts, show_drafts
from nightdraft.phantom_studies import draw_studies, read_datasets, write_with_new_uids
from nightdraft.station.checks import check_port_free
from nightdraft.station.child import StationProcess
from nightdraft.store_scu import DicomFile, SendResult, find_dicom_files
from records.database.session import forget_engine, unit_of_work
from records.errors import NightdraftError, PartError, PortInUse
from records.operations.overview import MOVING, drafts_per_minute, seconds_left
from records.settings import settings
from records.states import HoldReason, VisibleState
from records.workflow import worklist

STUDIES = 24
SIZE = 768  # pixels a side: enough for eyes, and a tenth of a film's bytes
QUIET_SECONDS = 2.0
ENOUGH = (VisibleState.DRAFTED, VisibleState.SKIPPED)
"""How a study may end for the demo to have worked."""
_ANSWERED_BY = {
    HoldReason.CHEST_UNKNOWN: "NIGHTDRAFT_UNKNOWN_CHEST",
    HoldReason.VIEW_UNKNOWN: "NIGHTDRAFT_UNKNOWN_VIEW",
    HoldReason.AGE_UNKNOWN: "NIGHTDRAFT_UNKNOWN_AGE",
}
"""Questions that a setting can answer before they are asked."""
_LOOK = 0.4  # seconds
_STANDS_STILL = 300.0
"""Seconds without any change of state after which waiting ends."""


def run_demo(console: Console, films: Path | None, *, once: bool) -> bool:
    """Run the demo; whether every study was drafted or visibly skipped.

    films: a folder of the user's own DICOM, instead of phantoms. once: end by itself.

    Raises:
        NightdraftError: something is missing; one line that says what.
    """
    chosen = _chosen()
    data_dir = Path(str(chosen["data_dir"]))
    started = time.monotonic()
    found = find_with_progress(console, films.expanduser()) if films else _draw(console, data_dir)
    if notice := read_manifest(str(chosen["bundle"])).notice:
        console.print(f"the model: {notice}", style="yellow", markup=False)
    console.print(f"starting all parts, in {data_dir}")
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with StationProcess(data_dir, chosen) as station:
            _use(station)
            console.print(f"up after {time.monotonic() - started:.1f} s; worklist: {station.page}")
            summary = send_with_progress(
                console,
                found,
                host=station.addresses["listen_host"],
                port=station.addresses["listen_port"],
                called=settings().ae_title,
                calling="DEMO",
                associations=2,
            )
            for line in summary.lines():
                console.print(line, markup=False)
            rows = _watch(console, station, sorted(summary.accepted_studies))
            console.print(show_drafts(rows, plain=not console.is_terminal))
            worked = not summary.rejected_studies and all(row.state in ENOUGH for row in rows)
            console.print(_summary(rows, len(summary.rejected_studies)), markup=False)
            for hint in hints(rows):
                console.print(hint, markup=False)
            console.print(f"worklist: {station.page}")
            if not once:
                _stay(console, station)
            console.print("ending all parts")
        console.print("ended; nothing is left running")
    except KeyboardInterrupt:
        console.print("ended before it was done; nothing is left running")
        return False
    finally:
        signal.signal(signal.SIGTERM, before)
    return worked or not once


def _end(_: int, __: object) -> None:
    raise KeyboardInterrupt


def _stay(console: Console, station: StationProcess) -> None:
    """Stay up until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        console.print("Ctrl-C ends all of it")
        while station.alive:
            time.sleep(0.5)
        raise PartError(f"the station ended by itself: see {station.log_dir}")


def _chosen() -> dict[str, object]:
    """The demo's settings, where the environment says no others."""
    given = settings()
    wanted: dict[str, object] = {
        # Outside home folders, which PostgreSQL's user cannot enter; kept over a restart.
        "data_dir": Path(f"/var/tmp/nightdraft-demo-{os.geteuid()}"),  # noqa: S108
        "bundle": "demo",
        "quiet_seconds": QUIET_SECONDS,
        "sweep_seconds": 1.0,
        "log_level": "warning",
    }
    chosen = {
        name: value
        for name, value in wanted.items()
        if f"NIGHTDRAFT_{name.upper()}" not in os.environ
    }
    chosen.setdefault("data_dir", given.data_dir)
    chosen["bundle"] = given.bundle or "demo"
    for which in ("listen", "serve"):
        host, port = getattr(given, f"{which}_host"), getattr(given, f"{which}_port")
        try:
            check_port_free(which, host, port)
        except PortInUse:
            chosen[f"{which}_port"] = 0  # a free one
    _check_own(Path(str(chosen["data_dir"])))
    return chosen


def _check_own(folder: Path) -> None:
    """The folder lies where everybody may make one: it must be ours."""
    with suppress(FileNotFoundError):
        there = folder.lstat()
        if there.st_uid != os.geteuid() or folder.is_symlink():
            raise PartError(f"{folder} belongs to somebody else: set NIGHTDRAFT_DATA_DIR")


def _draw(console: Console, data_dir: Path) -> list[DicomFile | SendResult]:
    """Two dozen phantom studies under new UIDs, as files."""
    from nightdraft.station.embedded import make_data_dir

    make_data_dir(data_dir)
    place = data_dir / "demo"
    if not place.is_dir():
        console.print(f"drawing {STUDIES} phantom studies, once")
    drawn = list(draw_studies(place, STUDIES, SIZE))
    folder = place / "to-send"
    for old in folder.glob("*.dcm"):
        old.unlink()
    run = dt.datetime.now().astimezone().strftime("%m%d%H%M%S")
    write_with_new_uids(read_datasets(drawn), folder, (f"D{run}{n:02d}" for n in count_up(1)))
    return list(find_dicom_files(folder))


def _use(station: StationProcess) -> None:
    """Read the station's records in this process."""
    os.environ["NIGHTDRAFT_DATA_DIR"] = str(station.data_dir)
    os.environ["NIGHTDRAFT_DATABASE_URL"] = str(station.addresses["database_url"])
    settings.cache_clear()
    forget_engine()


def _watch(
    console: Console, station: StationProcess, uids: list[str]
) -> list[worklist.WorklistRow]:
    """Show the studies until each has ended or waits for a person."""
    started = changed = time.monotonic()
    last: Counter[VisibleState] = Counter()
    rows: list[worklist.WorklistRow] = []
    per_minute = 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while station.alive:
            with suppress(NightdraftError), unit_of_work() as session:
                rows = worklist.list_by_uids(session, uids)
                per_minute = drafts_per_minute(session)
            now = time.monotonic()
            counts = Counter(row.state for row in rows)
            if counts != last:
                changed, last = now, counts
                if not console.is_terminal:
                    console.print(f"{now - started:.0f} s: {_words(counts)}", markup=False)
            if console.is_terminal:
                shown = show_counts(counts, per_minute, seconds_left(counts, per_minute))
                drafts = [row for row in rows if row.state not in MOVING]
                # As many as the window has room for, and the newest of them.
                room = max(1, console.height - 9)
                live.update(Group(shown, show_drafts(drafts[-room:])), refresh=True)
            if len(rows) == len(uids) and not any(row.state in MOVING for row in rows):
                return rows
            if now - changed > _STANDS_STILL:
                console.print(f"nothing has moved for {_STANDS_STILL:.0f} s: see {station.log_dir}")
                return rows
            time.sleep(_LOOK)
    raise PartError(f"the station ended by itself: see {station.log_dir}")


def hints(rows: Sequence[worklist.WorklistRow]) -> list[str]:
    """What to do about studies that wait for a person, one line a question."""
    asked = {
        reason for row in rows if row.state is VisibleState.HELD for reason in row.hold_reasons
    }
    lines = []
    for reason in sorted(asked):
        setting = _ANSWERED_BY.get(HoldReason(reason))
        lines.append(
            f"HELD, {reason}: decide on the study's page"
            + (f", or answer for all by {setting}=draft" if setting else "")
        )
    return lines


def _words(counts: Counter[VisibleState]) -> str:
    return ", ".join(f"{state.value} {counts[state]}" for state in VisibleState if counts[state])


def _summary(rows: Sequence[worklist.WorklistRow], turned_away: int) -> str:
    words = _words(Counter(row.state for row in rows)) or "none"
    refused = f", turned away at the door {turned_away}" if turned_away else ""
    return f"{len(rows) + turned_away} studies: {words}{refused}"
