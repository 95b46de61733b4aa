"""pynetdicom's and pydicom's global settings, for each process that takes DICOM objects."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import pydicom.config
from pynetdicom import _config, dimse_messages, register_uid
from pynetdicom.service_class import StorageServiceClass

from intake.dicom.incoming_file import IncomingFile
from intake.dicom.limits import RETIRED_CLASSES
from records.errors import safe_text
from records.telemetry import logger


def set_up_pynetdicom() -> None:
    """Set what is set once in a process, all in one place."""
    _config.STORE_RECV_CHUNKED_DATASET = True
    _config.LOG_HANDLER_LEVEL = "none"  # its own log lines at each PDU print data sets
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    # UIDs are checked where a refusal can be answered and seen; pynetdicom would abort.
    _config.VALIDATORS["UI"] = lambda value: (isinstance(value, str), "must be str")
    # Its errors and pydicom's warnings quote what was sent. `store_handler` logs what matters.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    for uid in RETIRED_CLASSES:
        register_uid(uid, f"Retired_{uid.replace('.', '_')}", StorageServiceClass)
    threading.excepthook = _log_thread_error


def receive_into(
    folder: Path, max_bytes: int, has_room: Callable[[], bool], writers: Executor
) -> None:
    """Let every object that this process receives come in as an `IncomingFile`.

    pynetdicom opens its file by a name that has no setting for the folder or the kind of file, and
    tempfile's own folder is open to everybody. So a process has one such folder.
    """
    dimse_messages.NamedTemporaryFile = lambda **_: IncomingFile(
        folder, max_bytes, has_room, writers
    )


def new_incoming_file() -> IncomingFile:
    """A file for an object that comes another way than by pynetdicom, where `receive_into` says."""
    file = dimse_messages.NamedTemporaryFile()
    assert isinstance(file, IncomingFile)  # `receive_into` was called before
    return file


def _log_thread_error(hook_args: threading.ExceptHookArgs) -> None:
    """Log that a thread died; Python's own hook would print the error's message."""
    if hook_args.exc_value is not None:
        logger().error("a thread died", error=safe_text(hook_args.exc_value))
