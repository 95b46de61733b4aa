"""The flags that stop a worker process and its children.

The flags lie in memory that forked children share with their parent, because a prefork child does
not get the signal that its parent gets. The study in hand is finished, no other is begun.
"""

from __future__ import annotations

import mmap
import os
import signal
from typing import Any

from celery import signals

_FLAGS = mmap.mmap(-1, 2)  # shared with children; [0]: stop, [1]: because something failed
_main_pid = os.getpid()


def reset() -> None:
    """Make this process the worker's main one, and clear its stop flags."""
    global _main_pid
    _main_pid = os.getpid()
    _FLAGS[0] = _FLAGS[1] = 0


def main_pid() -> int:
    """The process that called `reset`: the parent of a pool's children."""
    return _main_pid


def is_stopping() -> bool:
    """Whether the worker is stopping: finish the work in hand, begin nothing."""
    return bool(_FLAGS[0])


def has_failed() -> bool:
    """Whether the worker stopped itself because something failed."""
    return bool(_FLAGS[1])


def stop_worker() -> None:
    """Stop the whole worker, parent and children, with exit status 1; work in hand is finished."""
    _FLAGS[1] = 1
    _FLAGS[0] = 1
    os.kill(_main_pid, signal.SIGTERM)


def _on_shutdown(**_: Any) -> None:
    _FLAGS[0] = 1


signals.worker_shutting_down.connect(_on_shutdown, weak=False)
