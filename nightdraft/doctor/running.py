"""Runs the checks of `nightdraft doctor`, which say what to fix; they change nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nightdraft.doctor import connections, database, machine
from nightdraft.doctor.results import CheckResult, CheckWarning
from nightdraft.station import checks
from nightdraft.station.station import OPTIONAL_PARTS, PARTS, wanted_parts
from records.errors import NightdraftError, NotAllowed, safe_text
from records.settings import Settings

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
            "user": partial(machine.check_user, settings),
            "settings": machine.check_settings,
            "data folder": partial(machine.check_data_folder, settings),
            "disk": partial(machine.check_disk, settings),
            "database": partial(database.check_database, settings),
            "tables": checks.check_migrations,
            "database role": database.check_database_role,
            "statistics": database.check_statistics,
            "broker": partial(checks.check_broker, settings),
            "bundle": partial(machine.check_bundle, settings),
            "station": partial(machine.check_station, settings),
            "alarms": partial(database.check_alarms, settings),
            "stored files": partial(database.check_stored_files, settings),
            "disk lasts": partial(machine.check_disk_lasts, settings),
            "certificates": partial(connections.check_certificates, settings),
            "callers": partial(connections.check_callers, settings),
            "priorities": database.check_priorities,
        }
        if settings.oidc_issuer or settings.fallback_account:
            checks_by_name["identity provider"] = partial(
                connections.check_identity_provider, settings
            )
    for name in wanted_parts(settings) if part is None else (part,):
        checks_by_name[name] = partial(database.check_heartbeat, name, part is not None)
    if part in (None, "listener"):
        checks_by_name["listener answers"] = partial(connections.check_listener, settings)
    if part == "hl7" or (part is None and settings.hl7_port):
        checks_by_name["hl7 answers"] = partial(connections.check_hl7, settings)
    if part in (None, "api"):
        checks_by_name["pages answer"] = partial(connections.check_pages, settings)
    return checks_by_name


def _run(name: str, check: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, check())
    except CheckWarning as warning:
        return CheckResult(name, str(warning), warning=True)
    except NightdraftError as error:
        return CheckResult(name, str(error), failed=True)
    except Exception as error:  # a check that breaks has failed; the others still run
        return CheckResult(name, f"unexpected: {safe_text(error)}", failed=True)
