"""Flags that a forked child sees and sets."""

from __future__ import annotations

import os
import signal

from worker import stopping


def test_what_a_child_says_its_parent_hears(monkeypatch):
    heard = []
    monkeypatch.setattr(signal, "SIGTERM", signal.SIGUSR1)
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    stopping.begin()
    try:
        assert not stopping.stopping()
        child = os.fork()
        if child == 0:
            stopping.end_worker()
            os._exit(0)
        os.waitpid(child, 0)
        assert stopping.stopping()
        assert stopping.failed()
        assert heard
    finally:
        signal.signal(signal.SIGUSR1, before)
        stopping.begin()
