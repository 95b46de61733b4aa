"""`nightdraft demo`: the whole system at work on two dozen studies, for a person to watch.

It starts a station with the demonstration model in its own data folder, sends a backlog to it over
a real association, and shows how the drafts appear. Phantoms meet every end that a study can have;
whatever happens to them comes by C-STORE or REST, as it would from a department.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from model.manifest import read_manifest
from nightdraft.cli.demo_films import CheckedFolder, check_folder, render_pictures
from nightdraft.cli.demo_outcomes import read_outcomes, render_outcomes
from nightdraft.cli.demo_reader import open_worklist, program_token, reader_settings
from nightdraft.cli.send import send_with_progress
from nightdraft.cli.status import render_counts, render_drafts
from nightdraft.demo_messages import send_message
from nightdraft.demo_studies import COUNT, WrittenStudy, write_demo_studies
from nightdraft.film_files import FilmFile, SendResult, find_films
from nightdraft.phantom_studies import draw_studies, read_datasets
from nightdraft.station.checks import check_port_free
from nightdraft.station.child import StationProcess
from nightdraft.store_scu import SendSummary
from records.database.session import forget_engine, snapshot
from records.errors import NightdraftError, PartError, PortInUse
from records.operations.overview import MOVING, Pace, read_pace, read_parts
from records.secret_files import set_variable
from records.settings import settings
from records.states import HoldReason, VisibleState
from records.workflow import worklist_rows

SIZE = 768  # pixels a side: a person sees enough, with a tenth of a real image's bytes
QUIET_SECONDS = 2.0
SUCCESS_STATES = (VisibleState.DRAFTED, VisibleState.SKIPPED)
"""States in which every study of the user's own must end for the demo to have worked."""
_SETTING_BY_HOLD = {
    HoldReason.CHEST_UNKNOWN: "unknown_chest",
    HoldReason.VIEW_UNKNOWN: "unknown_view",
    HoldReason.AGE_UNKNOWN: "unknown_age",
}
"""Settings that answer a hold for all studies, so that it does not open."""
_AT_ONCE, _LATE = "to-send", "to-send-late"
"""The folders of the phantoms' files."""
_POLL_SECONDS = 0.4
_STALL_SECONDS = 300.0
"""Seconds without any change of state after which waiting ends."""


def run_demo(console: Console, films: Path | None, *, once: bool) -> bool:
    """Run the demo.

    Args:
        console: Where the demo shows what happens.
        films: A folder of the user's own films (DICOM, PNG, JPEG); None sends drawn phantoms.
        once: End when every study has ended, instead of running until Ctrl-C.

    Returns:
        Whether every phantom met what it must meet, or every study of the user's own was drafted
        or skipped. Without `once` it is true at a normal end.

    Raises:
        NightdraftError: Something is missing; its text is one line that says what.
    """
    overrides = settings_overrides()
    data_dir = Path(str(overrides["data_dir"]))
    started = time.monotonic()
    checked: CheckedFolder | None = None
    written: list[WrittenStudy] = []
    hl7_port = 0
    entries: Sequence[FilmFile | SendResult]
    if films:
        checked = check_folder(console, films.expanduser())
        entries = checked.films
        if checked.pictures and "unknown_chest" not in settings().model_fields_set:
            overrides["unknown_chest"] = "draft"
            console.print(
                "what does not name its body part is taken for a chest film "
                "(NIGHTDRAFT_UNKNOWN_CHEST=draft), and its draft says so"
            )
    else:
        written = _draw(console, data_dir)
        # What a person signs here can be trained on: no patient is behind it.
        if "training_consent" not in settings().model_fields_set:
            overrides["training_consent"] = True
        hl7_port = settings().hl7_port or _free_port(settings().hl7_host)
        overrides["hl7_port"] = hl7_port
        entries = list(find_films(_demo_folder(data_dir) / _AT_ONCE))
    if notice := read_manifest(str(overrides["bundle"])).notice:
        console.print(f"the model: {notice}", style="yellow", markup=False)
    console.print(f"starting all parts, in {data_dir}")
    if not once:
        overrides |= reader_settings(settings())
    previous_handler = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with StationProcess(data_dir, overrides) as station:
            _read_records_of(station)
            console.print(f"up after {time.monotonic() - started:.1f} s; worklist: {station.page}")
            if "demo_reader" in overrides:
                open_worklist(console, station.page)
            _send_messages(console, hl7_port, written, late=False)
            summary = _send(console, station, entries)
            for line in summary.lines():
                console.print(line, markup=False)
            uids = sorted(summary.accepted_studies)
            rows = _watch(console, station, uids)
            if written:
                _send_late_films(console, station)
                _send_messages(console, hl7_port, written, late=True)
                _withdraw_drafts(console, station, written)
                rows = _watch(console, station, uids)
            console.print(render_drafts(rows, plain=not console.is_terminal))
            if checked is None:
                succeeded = _compare(console, written, str(overrides["bundle"]))
            else:
                if checked.pictures:
                    plain = not console.is_terminal
                    console.print(render_pictures(checked.pictures, rows, plain=plain))
                if not checked.all_taken:
                    console.print("not every file that may be a film was sent: see above")
                succeeded = (
                    checked.all_taken
                    and not summary.rejected_studies
                    and all(row.state in SUCCESS_STATES for row in rows)
                )
            console.print(_final_line(rows, len(summary.rejected_studies)), markup=False)
            for line in hold_hints(rows):
                console.print(line, markup=False)
            console.print(f"worklist: {station.page}")
            if not once:
                _wait_for_interrupt(console, station)
            console.print("ending all parts")
        console.print("ended; nothing is left running")
    except KeyboardInterrupt:
        console.print("ended before it was done; nothing is left running")
        return False
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
    return succeeded or not once


def _send(
    console: Console, station: StationProcess, entries: Sequence[FilmFile | SendResult]
) -> SendSummary:
    return send_with_progress(
        console,
        entries,
        host=station.addresses["listen_host"],
        port=station.addresses["listen_port"],
        called=settings().ae_title,
        calling="DEMO",
        associations=2,
    )


def _send_late_films(console: Console, station: StationProcess) -> None:
    """Send the films that come after their study was drafted."""
    entries = list(find_films(_demo_folder(station.data_dir) / _LATE))
    console.print(f"{len(entries)} late film: it makes a second draft")
    _send(console, station, entries)


def _withdraw_drafts(
    console: Console, station: StationProcess, written: Sequence[WrittenStudy]
) -> None:
    """Withdraw the drafts of the studies that are for it, through REST.

    Raises:
        PartError: The server refuses it.
    """
    body = {"by": "the demo", "reason": "to show a draft that was withdrawn"}
    with program_token() as token:
        for study in written:
            if study.study.is_withdrawn:
                console.print(f"withdrawing the draft of {study.accession} through REST")
                _post(station, f"studies/{study.uid}/withdraw", body, token)


def _send_messages(
    console: Console, port: int, written: Sequence[WrittenStudy], *, late: bool
) -> None:
    """Send orders and reports by HL7, as a RIS would.

    Args:
        console: Where the demo shows what happens.
        port: Where the station listens for HL7.
        written: The studies.
        late: Send those that come after a first draft, or those that come before the films.

    Raises:
        PartError: The listener refuses one.
    """
    messages = [
        message
        for study in written
        for message in (study.late_messages if late else study.messages)
    ]
    if not messages:
        return
    after = ", after the draft: it makes a second one" if late else ""
    number = f"{len(messages)} HL7 message{'' if len(messages) == 1 else 's'}"
    console.print(f"sending {number} by MLLP{after}")
    for message in messages:
        send_message(settings().hl7_host, port, message)


def _post(station: StationProcess, path: str, body: object, token: str) -> None:
    """Send JSON to an address of REST, with a program's token unless it is empty.

    Raises:
        PartError: The server refuses it.
    """
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(  # noqa: S310
        f"{station.page}api/{path}", data=json.dumps(body).encode(), headers=headers
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
    except OSError as error:
        raise PartError(f"/api/{path} was refused: {error}") from None


def _compare(console: Console, written: Sequence[WrittenStudy], bundle: str) -> bool:
    """Show what was sent and what became of it; return whether all is as it must be."""
    with snapshot() as session:
        outcomes = read_outcomes(session, written, read_manifest(bundle))
    console.print(render_outcomes(outcomes, plain=not console.is_terminal))
    wrong = sum(bool(outcome.differences) for outcome in outcomes)
    met = ", ".join(sorted({study.study.state.value for study in written}))
    console.print(
        f"{wrong} of {len(written)} studies did not end as they must"
        if wrong
        else f"every study ended as it must; the ends that were met: {met}",
        style="bold red" if wrong else "green",
        markup=False,
    )
    return not wrong


def _interrupt(_: int, __: object) -> None:
    raise KeyboardInterrupt


def _wait_for_interrupt(console: Console, station: StationProcess) -> None:
    """Keep the station running until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        console.print("Ctrl-C ends all of it")
        while station.alive:
            time.sleep(0.5)
        raise PartError(f"the station ended by itself: see {station.log_dir}")


def settings_overrides() -> dict[str, object]:
    """Return the demo's own settings, where environment and named file do not set them."""
    current = settings()
    defaults: dict[str, object] = {
        # Outside home folders, which PostgreSQL's user cannot enter; kept over a restart.
        "data_dir": Path(f"/var/tmp/nightdraft-demo-{os.geteuid()}"),  # noqa: S108
        "bundle": "demo",
        "quiet_seconds": QUIET_SECONDS,
        "sweep_seconds": 1.0,
        "log_level": "warning",
    }
    overrides = {
        name: value for name, value in defaults.items() if name not in current.model_fields_set
    }
    overrides.setdefault("data_dir", current.data_dir)
    overrides["bundle"] = current.bundle or "demo"
    for server in ("listen", "serve"):
        host, port = getattr(current, f"{server}_host"), getattr(current, f"{server}_port")
        try:
            check_port_free(server, host, port)
        except PortInUse:
            overrides[f"{server}_port"] = 0  # any free port
    _check_owner(Path(str(overrides["data_dir"])))
    return overrides


def _check_owner(folder: Path) -> None:
    """Refuse a folder of another user: it may lie where every user can make one."""
    with suppress(FileNotFoundError):
        status = folder.lstat()
        if status.st_uid != os.geteuid() or folder.is_symlink():
            raise PartError(f"{folder} belongs to another user: set NIGHTDRAFT_DATA_DIR")


def _free_port(host: str) -> int:
    """Return a port of this machine that no program has; the demo's station listens there."""
    with socket.create_server((host, 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _demo_folder(data_dir: Path) -> Path:
    return data_dir / "demo"


def _draw(console: Console, data_dir: Path) -> list[WrittenStudy]:
    """Write two dozen phantom studies under new UIDs."""
    from nightdraft.station.data_folder import make_data_dir

    make_data_dir(data_dir)
    demo_folder = _demo_folder(data_dir)
    if not demo_folder.is_dir():
        console.print(f"drawing {COUNT} phantom studies, once")
    drawn = list(draw_studies(demo_folder, COUNT, SIZE))
    folder, late_folder = demo_folder / _AT_ONCE, demo_folder / _LATE
    for earlier_file in [*folder.glob("*.dcm"), *late_folder.glob("*.dcm")]:
        earlier_file.unlink()
    run = dt.datetime.now().astimezone().strftime("D%m%d%H%M%S")
    return write_demo_studies(read_datasets(drawn), folder, late_folder, run)


def _read_records_of(station: StationProcess) -> None:
    """Make this process read the station's records."""
    os.environ["NIGHTDRAFT_DATA_DIR"] = str(station.data_dir)
    set_variable("database_url", str(station.addresses["database_url"]))
    settings.cache_clear()
    forget_engine()


def _watch(
    console: Console, station: StationProcess, uids: list[str]
) -> list[worklist_rows.WorklistRow]:
    """Show the studies until each has ended or waits for a person."""
    started = last_change = time.monotonic()
    counts: Counter[VisibleState] = Counter()
    last_counts: Counter[VisibleState] = Counter()
    rows: list[worklist_rows.WorklistRow] = []
    pace = Pace(0.0, None)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while station.alive:
            with suppress(NightdraftError), snapshot() as session:
                rows = worklist_rows.list_by_uids(session, uids)
                counts = Counter(row.state for row in rows)
                pace = read_pace(session, counts, read_parts(session))
            now = time.monotonic()
            if counts != last_counts:
                last_change, last_counts = now, counts
                if not console.is_terminal:
                    console.print(f"{now - started:.0f} s: {_count_text(counts)}", markup=False)
            if console.is_terminal:
                overview = render_counts(counts, pace)
                drafts = [row for row in rows if row.state not in MOVING]
                # The newest ones, as many as the window has lines for.
                lines = max(1, console.height - 9)
                live.update(Group(overview, render_drafts(drafts[-lines:])), refresh=True)
            if len(rows) == len(uids) and not any(row.state in MOVING for row in rows):
                return rows
            if now - last_change > _STALL_SECONDS:
                console.print(
                    f"nothing has moved for {_STALL_SECONDS:.0f} s: see {station.log_dir}"
                )
                return rows
            time.sleep(_POLL_SECONDS)
    raise PartError(f"the station ended by itself: see {station.log_dir}")


def hold_hints(rows: Sequence[worklist_rows.WorklistRow]) -> list[str]:
    """Return one line for each reason of an open hold: how a person can answer it."""
    reasons = {
        reason for row in rows if row.state is VisibleState.HELD for reason in row.hold_reasons
    }
    lines = []
    for reason in sorted(reasons):
        setting = _SETTING_BY_HOLD.get(HoldReason(reason), "")
        # An age that contradicts itself is held under every setting but `skip`.
        answers = setting and getattr(settings(), setting) == "hold"
        lines.append(
            f"HELD, {reason}: decide on the study's page"
            + (f", or answer for all by NIGHTDRAFT_{setting.upper()}=draft" if answers else "")
        )
    return lines


def _count_text(counts: Counter[VisibleState]) -> str:
    return ", ".join(f"{state.value} {counts[state]}" for state in VisibleState if counts[state])


def _final_line(rows: Sequence[worklist_rows.WorklistRow], rejected: int) -> str:
    counts = _count_text(Counter(row.state for row in rows)) or "none"
    refused = f", refused by the listener {rejected}" if rejected else ""
    return f"{len(rows) + rejected} studies: {counts}{refused}"
