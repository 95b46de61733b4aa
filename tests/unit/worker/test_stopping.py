"""Flags that a forked child sees and sets."""

from __future__ import annotations

import os
import signal

from worker import stopping


def test_a_child_stops_its_parent(monkeypatch):
    signals = []
    monkeypatch.setattr(signal, "SIGTERM", signal.SIGUSR1)
    before = signal.signal(signal.SIGUSR1, lambda *_: signals.append(1))
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
        assert signals
    finally:
        signal.signal(signal.SIGUSR1, before)
        stopping.reset()
