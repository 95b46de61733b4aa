"""Checks what the records say: of the database itself, and of what runs and was stored."""

from __future__ import annotations

import socket
from contextlib import suppress

import psutil

from nightdraft.doctor.results import CheckWarning
from nightdraft.station import checks
from nightdraft.station.station import OPTIONAL_PARTS, PARTS
from records.errors import PartError
from records.settings import Settings


def check_database(settings: Settings) -> str:
    """Check that the database answers, and how."""
    answer, problem = checks.look_at_database(settings)
    if problem:
        raise CheckWarning(f"{answer}: {problem}")
    return answer


def check_database_role() -> str:
    """Check that the parts' role can only use rows."""
    from records.database.roles import own_reach
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        role, reach = own_reach(session.connection())
    if reach:
        raise CheckWarning(
            f"{role}, the role of the running parts, {' and '.join(reach)}: a part that is made to "
            "send another statement than it should could change what is written once. Give "
            "migrations a role of their own by NIGHTDRAFT_MIGRATION_DATABASE_URL "
            "(docs/operate/secrets.md)"
        )
    return f"{role} uses rows, and owns no table"


def check_statistics() -> str:
    """Check that PostgreSQL has analysed the tables."""
    from records.database.session import unit_of_work
    from records.database.statistics import unanalysed_tables

    with unit_of_work() as session:
        tables = unanalysed_tables(session)
    if tables:
        raise CheckWarning(
            f"PostgreSQL never analysed {', '.join(tables)}, so claims and lists may take seconds: "
            "run ANALYZE in the database, and see that its autovacuum is on"
        )
    return "the planner knows the tables"


def check_alarms(settings: Settings) -> str:
    """Check that no alarm is open."""
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


def check_stored_files(settings: Settings) -> str:
    """Check that no stored file is known to be damaged or without a row."""
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
        raise CheckWarning(
            f"{len(aside)} in lost+found have no row: `nightdraft blobs orphans` lists them"
        )
    if not settings.scrub_days:
        return "none is known to be damaged; NIGHTDRAFT_SCRUB_DAYS is 0, so none is read again"
    return "none is known to be damaged"


def check_priorities() -> str:
    """Check whether priorities that senders want do not count, for nothing says who they are."""
    from records.database.session import unit_of_work
    from records.workflow import doubted_priorities

    with unit_of_work() as session:
        doubted = doubted_priorities.recent(session)
    since = f"of the last {doubted_priorities.RECENT_HOURS} hours"
    if doubted.count:
        raise CheckWarning(
            f"the priority that senders wanted does not count for {doubted.count} studies {since} "
            f"(from {', '.join(doubted.calling_aes)}): name these senders' addresses in "
            "NIGHTDRAFT_CALLER_ADDRESSES or their certificates in NIGHTDRAFT_CALLER_CERTIFICATES"
        )
    return f"the priority that senders wanted counts for every study {since}"


def check_heartbeat(part: str, this_host_only: bool) -> str:
    """Check that a part was seen lately, and does not run as root."""
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
        raise CheckWarning(
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
