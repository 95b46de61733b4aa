"""What `set_up_logs` changes in a process, put back after a test."""

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def logging_restored() -> Iterator[None]:
    """Put everything back that `set_up_logs` changes in the block."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    config = structlog.get_config()
    hooks = warnings.showwarning, sys.excepthook, threading.excepthook
    try:
        yield
    finally:
        warnings.showwarning, sys.excepthook, threading.excepthook = hooks
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**config)
