"""Logs without patients: one line for each event, with our own texts and ids only.

Every line of a process has one form, whoever wrote it: our own code, a library, a warning, an error
that nobody caught. Only fields of an allow list are logged, so a patient's name cannot get into a
line by a new keyword. The libraries that log what they receive are turned down. Metrics are read
from rows by the API.

A study's trace id is its own id without hyphens. So every part knows the trace of a study that it
knows, and neither a message nor a row has to carry one (docs/develop/decisions/013).
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TextIO
from uuid import UUID

import structlog
from structlog.typing import EventDict, WrappedLogger

from records.errors import safe_text

FIELDS = frozenset(
    {
        "event", "level", "timestamp", "part", "pid", "library", "request_id", "trace_id", "error",
        "study", "draft_request", "hold", "draft", "instance", "owner", "stage",
        "outcome", "reason", "count", "seconds", "bytes", "free_mb", "port", "host",
        "calling_ae", "sop_class", "transfer_syntax", "status", "signal", "exit_status",
        "bundle", "device", "model", "batch", "queue", "path", "url", "attempt", "per_minute",
        "method", "route", "alarm", "worker",
    }
)  # fmt: skip
"""The fields that a log line may hold, as our code names them.

study, draft_request and instance are our own ids. request_id: the association, the call of REST or
of a page, the task of a worker, or our id of the message that the line belongs to.
"""

JSON_NAMES = {"timestamp": "time", "event": "message"}
"""Names in JSON of fields that structlog names otherwise."""

_FIRST_IN_JSON = ("timestamp", "level", "part", "pid", "event")
"""What every JSON line has, and begins with."""

_NOISY = (
    "pynetdicom",
    "pydicom",
    "sqlalchemy",
    "alembic",
    "kombu",
    "amqp",
    "PIL",
    "httpx",
    "httpx2",
    "transformers",
    "opentelemetry",
)

_ID_LENGTH = 36
"""Characters of an id of ours, with its hyphens."""

_part = ""
"""The running part of this process; threads do not inherit a context variable."""

_is_json = False

_studies_seen: ContextVar[list[UUID] | None] = ContextVar("studies_seen", default=None)


def _only_known_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Leave out the fields that are not on the allow list, and say so in the line."""
    if event.keys() <= FIELDS:
        return event
    unknown = sorted(set(event) - FIELDS)
    known = {key: value for key, value in event.items() if key in FIELDS}
    known["event"] = f"{known.get('event', '')} [fields left out: {', '.join(unknown)}]"
    return known


def _add_part(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if _part:
        event.setdefault("part", _part)
    return event


def _add_trace_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the trace: the one that a caller gave, else the study's, else the request's own."""
    if "trace_id" not in event:
        source = str(event.get("study") or event.get("request_id") or "")
        if len(source) == _ID_LENGTH:
            event["trace_id"] = source.replace("-", "")  # as `trace_id`, without reading the id
    return event


def _without_repeated_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Leave the trace id out for people where it is the request's id once more."""
    if event.get("trace_id") == str(event.get("request_id", "")).replace("-", ""):
        event.pop("trace_id", None)
    return event


def _in_json_form(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Name and order the fields as JSON lines have them."""
    event.setdefault("part", "")
    event["pid"] = event.get("pid", os.getpid())
    first = {JSON_NAMES.get(name, name): event.pop(name, "") for name in _FIRST_IN_JSON}
    return {**first, **event}


class _LibraryHandler(logging.Handler):
    """Gives the lines of other libraries the form of our own.

    Their tracebacks are left out, for a traceback quotes values.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if record.exc_info and (error := record.exc_info[1]) is not None:
            message = safe_text(error)
        elif record.exc_info:
            message = "error"
        else:
            message = " ".join(record.getMessage().split())
        level = logging.getLevelName(max(10, min(50, record.levelno // 10 * 10)))
        getattr(logger(), level.lower())(message, library=record.name)


class _StandardError:
    """Writes lines to standard error as it is at that moment; one that cannot be written is lost.

    A full disk or a terminal that is gone must not break the work that a line tells of.
    """

    def msg(self, line: str) -> None:
        """Write one line."""
        with suppress(OSError, ValueError):
            # One write, so that lines of several processes or threads do not mix.
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


# A command that runs no part sets up no logs: its lines are for standard error, too, for standard
# output is what it was asked for.
structlog.configure(logger_factory=lambda *_: _StandardError())


def set_up_logs(form: str = "text", level: str = "info", part: str = "") -> None:
    """Send all logs of this process to standard error.

    Args:
        form: "text" for people, "json" for collectors.
        level: the lowest level that is logged: "debug", "info", "warning" or "error".
        part: the running part, which each line then names.
    """
    global _part, _is_json
    _part, _is_json = part, form == "json"
    threshold = logging.getLevelName(level.upper())
    form_processors: list[structlog.typing.Processor] = (
        [_add_trace_id, _only_known_fields, _in_json_form, structlog.processors.JSONRenderer()]
        if _is_json
        else [
            _without_repeated_id,
            _only_known_fields,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_part,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *form_processors,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    logging.basicConfig(
        level=max(threshold, logging.INFO), handlers=[_LibraryHandler()], force=True
    )
    for name in _NOISY:
        # pydicom warns with the values it finds odd; pynetdicom's debug log prints data sets.
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.showwarning = _log_warning
    warnings.filterwarnings("ignore", module=r"pydicom|pynetdicom")
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_warning(
    message: Warning | str,  # noqa: ARG001
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Log a warning's kind and place; its text may quote a value."""
    logger().debug("a library warns", error=f"{category.__name__} at {filename}:{lineno}")


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger().critical("an error ended the process", error=safe_text(error))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        logger().critical("an error ended a thread", error=safe_text(args.exc_value))


def logger() -> Any:
    """The logger, as in `logger().info("an image was kept", study=..., bytes=...)`."""
    return structlog.get_logger()


def trace_id(study_id: UUID) -> str:
    """The trace of a study, as log lines and spans carry it: 32 hexadecimal digits."""
    return study_id.hex


def log_sentence(sentence: str) -> None:
    """Log a sentence of the station, whose beginning says how grave it is."""
    for beginning, log in (("warning: ", logger().warning), ("ALARM: ", logger().error)):
        if sentence.startswith(beginning):
            log(sentence.removeprefix(beginning))
            return
    logger().info(sentence)


def is_logging_json() -> bool:
    """Whether this process logs, and in JSON."""
    return _is_json


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Add these fields to every line that this thread, or this task of asyncio, logs meanwhile."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


@contextmanager
def collect_studies() -> Iterator[list[UUID]]:
    """Yield the list of the studies that are looked up meanwhile (`note_study`)."""
    seen: list[UUID] = []
    token = _studies_seen.set(seen)
    try:
        yield seen
    finally:
        _studies_seen.reset(token)


def note_study(study_id: UUID) -> None:
    """Note that a study is looked up, so that the line about the request can name it."""
    seen = _studies_seen.get()
    if seen is not None and study_id not in seen:
        seen.append(study_id)
