"""`nightdraft doctor`: asks every part how it is, and says what to mend. Changes nothing."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nightdraft.station import checks
from nightdraft.station.station import PARTS, listener_address, page_address, read_addresses
from records.errors import NightdraftError, NotAllowed, PartError, safe_text
from records.settings import Settings

_IN_THE_DATABASE = frozenset({"tables", "alarms", *PARTS})
"""Questions that only the database can answer."""


@dataclass(frozen=True)
class Finding:
    """What was asked, what came out, and whether it must be mended."""

    what: str
    sentence: str
    wrong: bool = False
    warning: bool = False


def examine(settings: Settings, part: str | None = None) -> list[Finding]:
    """Ask everything, or only what one part on this host needs (for its health check).

    Raises:
        NotAllowed: there is no part of that name.
    """
    if part is not None and part not in PARTS:
        raise NotAllowed(f"{part!r} is no part: choose one of {', '.join(PARTS)}")
    questions: dict[str, Callable[[], str]] = {"database": partial(checks.check_database, settings)}
    if part is None:
        questions = {
            "data folder": partial(_data_folder, settings),
            "disk": partial(_disk, settings),
            **questions,
            "tables": checks.check_migrations,
            "broker": partial(checks.check_broker, settings),
            "bundle": partial(_bundle, settings),
            "alarms": _alarms,
        }
    for name in PARTS if part is None else (part,):
        questions[name] = partial(_runs, name, part is not None)
    if part in (None, "listener"):
        questions["listener answers"] = partial(_listener, settings)
    if part in (None, "api"):
        questions["pages answer"] = partial(_pages, settings)
    findings: list[Finding] = []
    for what, question in questions.items():
        down = any(finding.what == "database" and finding.wrong for finding in findings)
        findings.append(
            Finding(what, "not asked, for the database does not answer", warning=True)
            if down and what in _IN_THE_DATABASE
            else _ask(what, question)
        )
    return findings


def show_findings(findings: list[Finding]) -> RenderableType:
    """One line a finding."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        word, style = (
            ("WRONG", "bold red")
            if finding.wrong
            else ("warning", "yellow")
            if finding.warning
            else ("ok", "green")
        )
        table.add_row(Text(word, style=style), finding.what, Text(finding.sentence))
    return table


class _Warning(Exception):
    """Something that will have to be mended, and works as yet."""


def _ask(what: str, question: Callable[[], str]) -> Finding:
    try:
        return Finding(what, question())
    except _Warning as warning:
        return Finding(what, str(warning), warning=True)
    except NightdraftError as error:
        return Finding(what, str(error), wrong=True)
    except Exception as error:  # a question that fails is an answer; the others are still asked
        return Finding(what, f"unexpected: {safe_text(error)}", wrong=True)


def _data_folder(settings: Settings) -> str:
    folder = settings.data_dir
    if not folder.is_dir():
        raise PartError(
            f"{folder} is not there: start `nightdraft station`, which makes it, or set "
            "NIGHTDRAFT_DATA_DIR"
        )
    if problem := checks.folder_problem(folder):
        raise PartError(f"{folder} cannot be written to ({problem}): correct its owner or mode")
    blobs = folder / "blobs"
    if blobs.is_dir() and blobs.stat().st_mode & 0o077:
        raise _Warning(f"{blobs} holds patients' images and is open to others: chmod 700 {blobs}")
    return str(folder)


def _disk(settings: Settings) -> str:
    if warning := checks.check_disk(settings):
        raise _Warning(warning)
    return f"more than {settings.disk_warn_mb} MB are free"


def _bundle(settings: Settings) -> str:
    served = settings.bundle
    if not served:
        # Where a station runs, its own option may have named it.
        with suppress(PartError):
            served = str(read_addresses(settings.data_dir).get("bundle", ""))
    return checks.check_bundle(served)


def _alarms() -> str:
    from records.database.session import unit_of_work
    from records.operations import alarms

    with unit_of_work() as session:
        sentences = [f"{alarm.part}: {alarm.sentence}" for alarm in alarms.open_alarms(session)]
    if sentences:
        raise PartError(f"{'; '.join(sentences)}. Mend the cause, then `nightdraft resume`")
    return "none open"


def _runs(name: str, here: bool) -> str:
    from records.database.session import unit_of_work
    from records.operations import heartbeats

    host = socket.gethostname()
    with unit_of_work() as session:
        owners = [
            beat.owner
            for beat in heartbeats.running_parts(session)
            if beat.part == name and (not here or beat.owner.rpartition(":")[0] == host)
        ]
    if not owners:
        command = " ".join(PARTS[name])
        raise PartError(
            f"not seen for {heartbeats.SILENT_SECONDS:.0f} s: start `nightdraft station` or "
            f"`nightdraft {command}`"
        )
    return f"runs as {', '.join(owners)}"


def _listener(settings: Settings) -> str:
    """C-ECHO (PS3.4, annex A)."""
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification

    host, port = listener_address(settings)
    # Its own title calls it: where callers are on an allow list, a doctor has no other name.
    calling = settings.allowed_callers[0] if settings.allowed_callers else "NIGHTDRAFT_DOC"
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = 5
    ae.add_requested_context(Verification)
    association = ae.associate(host, port, ae_title=settings.ae_title)
    if not association.is_established:
        raise PartError(
            f"nobody answers C-ECHO at {host} port {port}: start `nightdraft listen`, or correct "
            "NIGHTDRAFT_LISTEN_PORT"
        )
    try:
        status = association.send_c_echo()
    finally:
        association.release()
    if not status or status.Status != 0:
        raise PartError(f"the listener at {host} port {port} does not answer C-ECHO with success")
    return f"C-ECHO answered at {host} port {port}"


def _pages(settings: Settings) -> str:
    host, port = page_address(settings)
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        raise PartError(
            f"nobody serves the pages at {host} port {port}: start `nightdraft serve`, or correct "
            "NIGHTDRAFT_SERVE_PORT"
        ) from None
    finally:
        connection.close()
    if answer.status != 200:
        raise PartError(f"http://{host}:{port}/readyz answers {answer.status}: see the lines above")
    return f"http://{host}:{port}/"
