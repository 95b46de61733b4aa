"""How long this process waits for PostgreSQL: a server that is silent for too long counts as down.

PostgreSQL's own limits on statements cannot end a wait for a server that hangs, and the kernel's
limits cannot where the connection itself is well (a stopped server, a proxy that swallows bytes, a
Unix socket). So psycopg2 waits by a function of ours, which gives up. It also lets Python handle
signals meanwhile, so that SIGTERM is not kept waiting.
"""

from __future__ import annotations

import math
import select
import time
from typing import Any

import psycopg2
from psycopg2 import extensions

CONNECT_SECONDS = 5.0
"""A server that does not take a connection within this time counts as down. So does one that does
not answer the ping before a pooled connection is used again."""

_POLL_MILLISECONDS = 1000
"""The longest wait in one piece."""


class Connection(extensions.connection):
    """A connection that knows how long to wait for an answer.

    Attributes:
        answer_seconds: A server that sends nothing for so long counts as down; the connection is
            closed then. Infinity waits for ever.
    """

    def __init__(self, dsn: str) -> None:
        parameters = extensions.parse_dsn(dsn)
        hosts = parameters.get("host", "").count(",") + 1
        timeout = float(parameters.get("tcp_user_timeout", 0)) / 1000
        # Where several hosts are named, the kernel gives up on a silent one, and the next is tried.
        self.answer_seconds = CONNECT_SECONDS + (hosts - 1) * timeout
        super().__init__(dsn)


def wait(connection: Any) -> None:
    """Wait until psycopg2's operation is done.

    Raises:
        psycopg2.OperationalError: The server was silent for too long; psycopg2 then closes the
            connection, whose state nobody knows.
    """
    seconds = getattr(connection, "answer_seconds", math.inf)
    poll = select.poll()
    deadline = time.monotonic() + seconds
    while (state := connection.poll()) != extensions.POLL_OK:
        events = select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
        descriptor = connection.fileno()
        poll.register(descriptor, events | select.POLLERR | select.POLLHUP)
        try:
            while not poll.poll(_POLL_MILLISECONDS):
                if time.monotonic() > deadline:
                    raise psycopg2.OperationalError(
                        f"PostgreSQL sent nothing for {seconds:.0f} s, and counts as down"
                    )
        finally:
            poll.unregister(descriptor)
        deadline = time.monotonic() + seconds


extensions.set_wait_callback(wait)
