"""Logs without patients: one line for each event, with our own texts and ids only.

Only fields of an allow list are logged, so a patient's name cannot get into a line by a new
keyword. The libraries that log what they receive are turned down. Metrics are read from rows by the
API.
"""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import suppress
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from records.errors import safe_text

FIELDS = frozenset(
    {
        "event", "level", "timestamp", "part", "error",
        "study", "request", "hold", "draft", "instance", "owner", "stage",
        "outcome", "reason", "count", "seconds", "bytes", "free_mb", "port", "host",
        "calling_ae", "sop_class", "transfer_syntax", "status", "pid", "signal", "exit_status",
        "bundle", "device", "model", "batch", "queue", "path", "url", "attempt", "per_minute",
    }
)  # fmt: skip
"""The fields that a log line may hold. Study, request and instance are our own ids."""

_NOISY = (
    "pynetdicom",
    "pydicom",
    "sqlalchemy",
    "alembic",
    "kombu",
    "amqp",
    "PIL",
    "httpx",
    "transformers",
)


def _only_known_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Leave out the fields that are not on the allow list, and say so in the line."""
    unknown = sorted(set(event) - FIELDS)
    known = {key: value for key, value in event.items() if key in FIELDS}
    if unknown:
        known["event"] = f"{known.get('event', '')} [fields left out: {', '.join(unknown)}]"
    return known


class _NoTracebacks(logging.Filter):
    """Replaces the tracebacks of other libraries, for a traceback quotes values."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            error = record.exc_info[1]
            record.exc_info, record.exc_text, record.stack_info = None, None, None
            record.msg, record.args = f"{record.name}: {safe_text(error) if error else 'error'}", ()
        return True


class _StandardError:
    """Writes lines to standard error as it is at that moment; one that cannot be written is lost.

    A full disk or a terminal that is gone must not break the work that a line tells of.
    """

    def msg(self, line: str) -> None:
        """Write one line."""
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)

    debug = info = warning = error = critical = msg


def set_up_logs(form: str = "text", level: str = "info", part: str = "") -> None:
    """Send all logs of this process to standard error.

    Args:
        form: "text" for people, "json" for collectors.
        level: the lowest level that is logged: "debug", "info", "warning" or "error".
        part: the running part, which each line then names.
    """
    threshold = logging.getLevelName(level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_known_fields,
            structlog.processors.JSONRenderer()
            if form == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    if part:
        structlog.contextvars.bind_contextvars(part=part)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_NoTracebacks())
    handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] %(message)s"))
    logging.basicConfig(level=max(threshold, logging.INFO), handlers=[handler], force=True)
    for name in _NOISY:
        # pydicom warns with the values it finds odd; pynetdicom's debug log prints data sets.
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom|pynetdicom")


def logger() -> Any:
    """The logger, as in `logger().info("an image was kept", study=..., bytes=...)`."""
    return structlog.get_logger()
