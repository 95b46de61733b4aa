"""Runs the part `query`: asks each other system that the settings name, until it is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pydicom.config
from pynetdicom import _config

from intake.queries.asking import Asker, OtherSystem
from intake.queries.report_server import ReportServer
from intake.queries.worklist import Worklist
from intake.turns import run_turns
from records.database.session import database_time, unit_of_work
from records.errors import SettingsError, safe_text
from records.settings import Settings
from records.telemetry import logger

PART = "query"


def make_systems(config: Settings) -> list[OtherSystem]:
    """The systems that the settings name.

    Raises:
        SettingsError: none is named, or a setting cannot be used.
    """
    systems: list[OtherSystem] = []
    if config.worklist_host:
        systems.append(Worklist(config))
    if config.reports_url:
        systems.append(ReportServer(config))
    if not systems:
        raise SettingsError(
            "there is nobody to ask: set NIGHTDRAFT_WORKLIST_HOST or NIGHTDRAFT_REPORTS_URL"
        )
    return systems


def run_queries(config: Settings, ready: Callable[[], None] | None = None) -> None:
    """Ask until SIGTERM or SIGINT; a question that is being asked is ended first.

    Args:
        config: whom to ask, and how often.
        ready: called once the questions are asked.

    Raises:
        SettingsError: as `make_systems`.
        DatabaseDown: PostgreSQL does not answer at the start. Later it is waited for.
    """
    systems = make_systems(config)
    with unit_of_work() as session:
        database_time(session)
    _set_up_pynetdicom()
    askers = [Asker(system) for system in systems]
    run_turns(PART, askers, lambda: {asker.name: asker.asked for asker in askers}, ready)


def _set_up_pynetdicom() -> None:
    """Keep what others sent out of the log; values are checked where they are used."""
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    threading.excepthook = _log_thread_error


def _log_thread_error(hook_args: threading.ExceptHookArgs) -> None:
    """Log that a thread died; Python's own hook would print the error's message."""
    if hook_args.exc_value is not None:
        logger().error("a thread died", error=safe_text(hook_args.exc_value))
