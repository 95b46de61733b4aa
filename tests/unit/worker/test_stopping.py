"""Flags that a forked child sees and sets."""

from __future__ import annotations

import os
import signal

from worker import stopping


def test_what_a_child_says_its_parent_hears(monkeypatch):
    heard = []
    monkeypatch.setattr(signal, "SIGTERM", signal.SIGUSR1)
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    stopping.reset()
    try:
        assert not stopping.is_stopping()
        child = os.fork()
        if child == 0:
            stopping.stop_worker()
            os._exit(0)
        os.waitpid(child, 0)
        assert stopping.is_stopping()
        assert stopping.has_failed()
        assert heard
    finally:
        signal.signal(signal.SIGUSR1, before)
        stopping.reset()
