"""Runs the checks of `nightdraft doctor`, which say what to fix; they change nothing."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import ssl
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import psutil
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from api.operation_schemas import Readiness, ReadinessCheck
from nightdraft.station import checks
from nightdraft.station.privileges import reason_to_stay_root
from nightdraft.station.station import (
    OPTIONAL_PARTS,
    PARTS,
    listener_address,
    loopback_of,
    page_address,
    read_addresses,
    wanted_parts,
)
from nightdraft.station.waits import read_waits
from records.config_file import ConfigFileSource
from records.errors import NightdraftError, NotAllowed, PartError, safe_text
from records.settings import Settings
from records.settings_report import holds_secrets

_NEED_DATABASE = frozenset(
    {
        "tables",
        "database role",
        "statistics",
        "alarms",
        "stored files",
        "disk lasts",
        "priorities",
        "identity provider",
        *PARTS,
        *OPTIONAL_PARTS,
    }
)
"""Checks that cannot run without the database."""

DISK_WARN_DAYS = 7.0
"""A disk that is full sooner than that is a warning."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check; a failure must be fixed, a warning will have to be."""

    name: str
    sentence: str
    failed: bool = False
    warning: bool = False


def run_checks(settings: Settings, part: str | None = None) -> list[CheckResult]:
    """Run all checks, or those that one part on this host needs.

    Args:
        settings: The settings to check.
        part: The name of a part, for its health check; None for everything.

    Raises:
        NotAllowed: No part has that name.
    """
    names = (*PARTS, *OPTIONAL_PARTS)
    if part is not None and part not in names:
        raise NotAllowed(f"{part!r} is no part: choose one of {', '.join(names)}")
    results: list[CheckResult] = []
    for name, check in list_checks(settings, part).items():
        database_down = any(result.name == "database" and result.failed for result in results)
        results.append(
            CheckResult(name, "not checked, for the database does not answer", warning=True)
            if database_down and name in _NEED_DATABASE
            else _run(name, check)
        )
    return results


def list_checks(settings: Settings, part: str | None = None) -> dict[str, Callable[[], str]]:
    """The checks of everything or of one part, by the name of their line, in the lines' order.

    Each name is a heading in docs/operate/runbook.md.
    """
    checks_by_name: dict[str, Callable[[], str]] = {
        "database": partial(checks.check_database, settings)
    }
    if part is None:
        checks_by_name = {
            "user": partial(_user, settings),
            "settings": _settings,
            "data folder": partial(_data_folder, settings),
            "disk": partial(_disk, settings),
            "database": partial(_database, settings),
            "tables": checks.check_migrations,
            "database role": _database_role,
            "statistics": _statistics,
            "broker": partial(checks.check_broker, settings),
            "bundle": partial(_bundle, settings),
            "station": partial(_station, settings),
            "alarms": partial(_alarms, settings),
            "stored files": partial(_stored_files, settings),
            "disk lasts": partial(_disk_lasts, settings),
            "certificates": partial(_certificates, settings),
            "callers": partial(_callers, settings),
            "priorities": _priorities,
        }
        if settings.oidc_issuer or settings.fallback_account:
            checks_by_name["identity provider"] = partial(_identity_provider, settings)
    for name in wanted_parts(settings) if part is None else (part,):
        checks_by_name[name] = partial(_heartbeat, name, part is not None)
    if part in (None, "listener"):
        checks_by_name["listener answers"] = partial(_listener, settings)
    if part == "hl7" or (part is None and settings.hl7_port):
        checks_by_name["hl7 answers"] = partial(_hl7, settings)
    if part in (None, "api"):
        checks_by_name["pages answer"] = partial(_pages, settings)
    return checks_by_name


def readiness(results: list[CheckResult]) -> Readiness:
    """The results as REST gives those of `/readyz`."""
    return Readiness(
        ready=not any(result.failed for result in results),
        missing=[result.name for result in results if result.failed],
        checks=[
            ReadinessCheck(
                name=result.name,
                ok=not result.failed,
                warning=result.warning,
                sentence=result.sentence,
            )
            for result in results
        ],
    )


def render_results(results: list[CheckResult]) -> RenderableType:
    """Render one line for each result."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for result in results:
        verdict, style = (
            ("WRONG", "bold red")
            if result.failed
            else ("warning", "yellow")
            if result.warning
            else ("ok", "green")
        )
        table.add_row(Text(verdict, style=style), result.name, Text(result.sentence))
    return table


class _Warning(Exception):
    """Something works, but will have to be fixed."""


def _run(name: str, check: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, check())
    except _Warning as warning:
        return CheckResult(name, str(warning), warning=True)
    except NightdraftError as error:
        return CheckResult(name, str(error), failed=True)
    except Exception as error:  # a check that breaks has failed; the others still run
        return CheckResult(name, f"unexpected: {safe_text(error)}", failed=True)


def _user(settings: Settings) -> str:
    if os.geteuid() != 0:
        return f"not root (user id {os.geteuid()})"
    if reason := reason_to_stay_root(settings):
        raise _Warning(
            f"parts that root starts stay root, so root reads what strangers send: {reason}"
        )
    return "root; the parts that it starts become another user"


def _settings() -> str:
    file = ConfigFileSource(Settings)
    if file.path is None:
        return "no configuration file; environment and defaults"
    if holds_secrets(file.values) and file.path.stat().st_mode & stat.S_IROTH:
        raise _Warning(
            f"{file.path} holds a password and everybody on this machine may read it: "
            f"chmod o-r {file.path}"
        )
    return f"{file.path} sets {len(file.values)}; `nightdraft settings show` lists all"


def _data_folder(settings: Settings) -> str:
    folder = settings.data_dir
    if not folder.is_dir():
        raise PartError(
            f"{folder} does not exist: start `nightdraft station`, which makes it, or set "
            "NIGHTDRAFT_DATA_DIR"
        )
    blobs = folder / "blobs"
    written = blobs if blobs.is_dir() else folder
    if problem := checks.folder_problem(written):
        raise PartError(f"{written} cannot be written to ({problem}): correct its owner or mode")
    if blobs.is_dir() and blobs.stat().st_mode & 0o077:
        raise _Warning(f"{blobs} holds patients' images and is open to others: chmod 700 {blobs}")
    return str(folder)


def _disk(settings: Settings) -> str:
    if warning := checks.check_disk(settings):
        raise _Warning(warning)
    return f"more than {settings.disk_warn_mb} MB are free"


def _bundle(settings: Settings) -> str:
    bundle = settings.bundle
    if not bundle:
        # An option of the running station may have named the bundle.
        with suppress(PartError):
            bundle = str(read_addresses(settings.data_dir).get("bundle", ""))
    return checks.check_bundle(bundle)


def _station(settings: Settings) -> str:
    if waits := read_waits(settings.data_dir):
        raise PartError(
            "it waits, and goes on by itself: "
            + "; ".join(f"for {name}: {sentence}" for name, sentence in waits.items())
        )
    try:
        return f"runs as process {read_addresses(settings.data_dir)['pid']}, and waits for nothing"
    except PartError:
        return f"none runs on {settings.data_dir}"


def _database(settings: Settings) -> str:
    answer, problem = checks.look_at_database(settings)
    if problem:
        raise _Warning(f"{answer}: {problem}")
    return answer


def _database_role() -> str:
    from records.database.roles import own_reach
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        role, reach = own_reach(session.connection())
    if reach:
        raise _Warning(
            f"{role}, the role of the running parts, {' and '.join(reach)}: a part that is made to "
            "send another statement than it should could change what is written once. Give "
            "migrations a role of their own by NIGHTDRAFT_MIGRATION_DATABASE_URL "
            "(docs/operate/secrets.md)"
        )
    return f"{role} uses rows, and owns no table"


def _statistics() -> str:
    from records.database.session import unit_of_work
    from records.database.statistics import unanalysed_tables

    with unit_of_work() as session:
        tables = unanalysed_tables(session)
    if tables:
        raise _Warning(
            f"PostgreSQL never analysed {', '.join(tables)}, so claims and lists may take seconds: "
            "run ANALYZE in the database, and see that its autovacuum is on"
        )
    return "the planner knows the tables"


def _alarms(settings: Settings) -> str:
    from records.database.session import unit_of_work
    from records.operations import alarms

    with unit_of_work() as session:
        sentences = [
            f"{alarm.part} ({alarm.kind}): {alarm.cause} {alarm.remedy}".strip()
            for alarm in alarms.open_alarms(session)
        ]
    if sentences:
        raise PartError(f"{' '.join(sentences)} See {settings.pages_address()}/runbook#alarms")
    return "none open"


def _stored_files(settings: Settings) -> str:
    from records.blobs import Blobs
    from records.database.session import unit_of_work
    from records.operations.scrub import read_scrub_state

    with unit_of_work() as session:
        state = read_scrub_state(session)
    if state.damaged:
        raise PartError(
            f"{state.damaged} are gone or changed: `nightdraft blobs damaged` lists them. Let "
            "their senders send them again, or restore them from a backup"
        )
    if aside := Blobs(settings.data_dir).list_set_aside():
        raise _Warning(
            f"{len(aside)} in lost+found have no row: `nightdraft blobs orphans` lists them"
        )
    if not settings.scrub_days:
        return "none is known to be damaged; NIGHTDRAFT_SCRUB_DAYS is 0, so none is read again"
    return "none is known to be damaged"


def _disk_lasts(settings: Settings) -> str:
    from nightdraft.disk_outlook import read_disk
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        disk = read_disk(session, settings)
    if disk.days_left is not None and disk.days_left < DISK_WARN_DAYS:
        raise _Warning(
            f"{disk.sentence} Make room, or let films go sooner: `nightdraft retention show`"
        )
    return disk.sentence


def _certificates(settings: Settings) -> str:
    """Check the certificates that this machine shows."""
    from records import tls
    from records.pacs import read_pacs_file

    sentences: list[str] = []
    ending: list[str] = []
    found: list[tuple[str, str]] = []
    for name, files in (
        ("the listener", tls.listener_files(settings)),
        ("the HL7 listener", tls.hl7_files(settings)),
        ("the pages", tls.pages_files(settings)),
    ):
        if files is None:
            continue
        files.make_context()
        found.append((name, files.certificate))
    found.append(("the worklist", settings.worklist_certificate_file))
    for pacs in read_pacs_file(settings.pacs_file).values():
        if pacs.certificate_file:
            pacs.tls_files().make_context()
            found.append((f"the PACS {pacs.name}", pacs.certificate_file))
    for name, path in found:
        if not path:
            continue
        certificate = tls.CertificateFile.read(path)
        days = certificate.days_left()
        if days < 0:
            raise PartError(f"that of {name} ended on {certificate.ends:%Y-%m-%d}: renew {path}")
        sentence = f"{name} until {certificate.ends:%Y-%m-%d}"
        (ending if days < tls.SOON_DAYS else sentences).append(sentence)
    if ending:
        raise _Warning(f"renew soon: {', '.join(ending)}")
    return ", ".join(sentences) or "none is set: DICOM, HL7 and the pages are served without TLS"


def _identity_provider(settings: Settings) -> str:
    """Check that people can log in at the identity provider, and what is left while they cannot."""
    from api.oidc.config import read_config
    from api.oidc.provider import Provider
    from records.accounts import local_logins, provider_accounts
    from records.database.session import unit_of_work

    config = read_config(settings)
    with unit_of_work() as session:
        local_logins.check_fallback_account(session)
        if config is not None:
            provider_accounts.check_sites(session)
    if config is None:
        return "none is set"
    metadata = Provider(config).metadata()
    sentence = f"{config.name} answers, and is {config.issuer}"
    if not metadata.end_session:
        raise _Warning(f"{sentence}; it has no page for logouts, so people stay logged in there")
    return sentence


def _callers(settings: Settings) -> str:
    """Check that urgent AE titles are tied to devices: else nobody has their priority, or all."""
    from intake.dicom.caller_proof import CallerProof

    proof = CallerProof(settings)
    name_them = (
        "name their addresses in NIGHTDRAFT_CALLER_ADDRESSES or their certificates in "
        "NIGHTDRAFT_CALLER_CERTIFICATES"
    )
    if titles := proof.claimable():
        raise _Warning(
            f"every sender may claim the priority of {', '.join(titles)}: {name_them}, or set "
            "NIGHTDRAFT_UNPROVEN_CALLERS=local"
        )
    if titles := proof.ignored():
        raise _Warning(
            f"the priority of {', '.join(titles)} does not count, for nothing says who the senders "
            f"are: {name_them}"
        )
    told = "no urgent priority goes by an AE title alone"
    if settings.unproven_callers == "believe":
        told += (
            ", and the STAT of a film's header counts from every title that is not listed "
            "(NIGHTDRAFT_UNPROVEN_CALLERS=believe)"
        )
    return told


def _priorities() -> str:
    """Check whether priorities that senders want do not count, for nothing says who they are."""
    from records.database.session import unit_of_work
    from records.workflow import doubted_priorities

    with unit_of_work() as session:
        doubted = doubted_priorities.recent(session)
    since = f"of the last {doubted_priorities.RECENT_HOURS} hours"
    if doubted.count:
        raise _Warning(
            f"the priority that senders wanted does not count for {doubted.count} studies {since} "
            f"(from {', '.join(doubted.calling_aes)}): name these senders' addresses in "
            "NIGHTDRAFT_CALLER_ADDRESSES or their certificates in NIGHTDRAFT_CALLER_CERTIFICATES"
        )
    return f"the priority that senders wanted counts for every study {since}"


def _served_pin(host: str, port: int) -> str:
    """SHA-256 of the certificate that is shown on a port; "" where TLS wants one of ours first.

    Raises:
        OSError: nobody answers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is compared with the file
    try:
        with (
            socket.create_connection((host, port), timeout=5) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
    except ssl.SSLError:
        return ""


def _tls_port(settings: Settings) -> str:
    """Check that the listener shows the certificate of its file."""
    from records.tls import CertificateFile

    host, port = loopback_of(settings.listen_host), settings.listen_tls_port
    try:
        pin = _served_pin(host, port)
    except OSError:
        raise PartError(
            f"nobody takes DICOM over TLS at {host} port {port}: start `nightdraft listen`, or "
            "correct NIGHTDRAFT_LISTEN_TLS_PORT"
        ) from None
    if pin and pin != CertificateFile.read(settings.listen_certificate).pin:
        raise _Warning(
            f"the listener shows another certificate than {settings.listen_certificate} has: its "
            "log says why it was not read again"
        )
    return f"TLS answered at {host} port {port}"


def _heartbeat(part: str, this_host_only: bool) -> str:
    from records.database.session import unit_of_work
    from records.operations import heartbeats

    host = socket.gethostname()
    with unit_of_work() as session:
        owners = [
            beat.owner
            for beat in heartbeats.running_parts(session)
            if beat.part == part and (not this_host_only or beat.owner.rpartition(":")[0] == host)
        ]
    if not owners:
        command = " ".join((PARTS | OPTIONAL_PARTS)[part])
        raise PartError(
            f"not seen for {heartbeats.SILENT_SECONDS:.0f} s: start `nightdraft station` or "
            f"`nightdraft {command}`"
        )
    if of_root := [owner for owner in owners if _is_of_root(owner)]:
        raise _Warning(
            f"runs as {', '.join(of_root)} and as root, so root reads what strangers send: the "
            "line `user` or the part's log says why"
        )
    return f"runs as {', '.join(owners)}"


def _is_of_root(owner: str) -> bool:
    """Whether a part of this host, named by host and process id, runs as root."""
    host, _, process_id = owner.rpartition(":")
    with suppress(psutil.Error, ValueError):
        return host == socket.gethostname() and psutil.Process(int(process_id)).uids()[1] == 0
    return False


def _listener(settings: Settings) -> str:
    """Check that the listener answers C-ECHO (PS3.4, annex A)."""
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification

    over_tls = _tls_port(settings) if settings.listen_tls_port else ""
    if not settings.listen_plain:
        return over_tls
    host, port = listener_address(settings)
    # Where only listed callers are allowed, the check uses a title of the list.
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
    answered = f"C-ECHO answered at {host} port {port}"
    return f"{answered}; {over_tls}" if over_tls else answered


def _hl7(settings: Settings) -> str:
    """Check that the HL7 listener takes connections; a message would be kept."""
    host, port = settings.hl7_host, settings.hl7_port
    try:
        with socket.create_connection((loopback_of(host), port), timeout=5):
            pass
    except OSError:
        raise PartError(
            f"nobody takes HL7 messages at {host} port {port}: start `nightdraft listen --hl7`, or "
            "correct NIGHTDRAFT_HL7_PORT"
        ) from None
    return f"connections are taken at {host} port {port}"


def _pages(settings: Settings) -> str:
    from records.tls import CertificateFile

    host, port = page_address(settings)
    is_https = bool(settings.serve_certificate)
    connection = http.client.HTTPConnection(host, port, timeout=5)
    if is_https:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # `_served_pin` compares it with the file
        connection = http.client.HTTPSConnection(host, port, timeout=5, context=context)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        raise PartError(
            f"nobody serves the pages at {host} port {port}: start `nightdraft serve`, or correct "
            "NIGHTDRAFT_SERVE_PORT"
        ) from None
    finally:
        connection.close()
    address = f"{'https' if is_https else 'http'}://{host}:{port}"
    if response.status != 200:
        raise PartError(f"{address}/readyz answers {response.status}: see the lines above")
    if is_https:
        with suppress(OSError):
            if _served_pin(host, port) != CertificateFile.read(settings.serve_certificate).pin:
                raise _Warning(
                    f"the pages show another certificate than {settings.serve_certificate} has: "
                    "the log of `nightdraft serve` says why it was not read again"
                )
    return f"{address}/"
