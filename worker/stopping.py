"""How a worker process and its children are told to stop. Knows no work.

The flags lie in memory that forked children share with their parent, because a prefork child does
not hear the signal that its parent gets; a study in hand is finished, no other is begun.
"""

from __future__ import annotations

import mmap
import os
import signal
from typing import Any

from celery import signals

_FLAGS = mmap.mmap(-1, 2)  # shared with children; [0]: stop, [1]: because something failed
_main = os.getpid()


def begin() -> None:
    """This process is the worker's main one, and nobody asked it to stop yet."""
    global _main
    _main = os.getpid()
    _FLAGS[0] = _FLAGS[1] = 0


def main_pid() -> int:
    """The process that `begin` was called in: the parent of a pool's children."""
    return _main


def stopping() -> bool:
    """Whether the worker was asked to stop: finish what is in hand, begin nothing."""
    return bool(_FLAGS[0])


def failed() -> bool:
    """Whether the worker stopped itself because something failed."""
    return bool(_FLAGS[1])


def end_worker() -> None:
    """Stop the whole worker, parent and children, with exit status 1; what is in hand is ended."""
    _FLAGS[1] = 1
    _FLAGS[0] = 1
    os.kill(_main, signal.SIGTERM)


def _told(**_: Any) -> None:
    _FLAGS[0] = 1


signals.worker_shutting_down.connect(_told, weak=False)
