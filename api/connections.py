"""Connections of browsers: how many there may be, and how long a request may take to come.

uvicorn waits for ever for the rest of a request. Here a connection is closed whose request, with
its body, has not come in time; and where there are too many, the oldest without a whole request.

h11 reads some requests that the standard forbids. A proxy may read them otherwise, and what it
takes for a body would be a request here (request smuggling). So they are refused.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import h11
from h11._receivebuffer import ReceiveBuffer
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0
"""Time in which a request must have come whole. None of ours has more than 64 KB."""

MAX_CONNECTIONS = 200

MAX_HEAD_BYTES = 32_768
"""Longest request line with its headers. h11 limits only what has not come whole."""


_FORBIDDEN = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]")
"""A line that ends without CR, a CR alone (RFC 9112 section 2.2), a header that goes on in the next
line (section 5.2)."""


class _StrictBuffer(ReceiveBuffer):
    """h11's buffer, which takes no header that a proxy may read otherwise."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """The lines of a request's head, or of a trailer, once they are whole.

        Raises:
            RemoteProtocolError: they are written in a way that the standard forbids, or too long.
        """
        before = bytes(self._data)
        lines = super().maybe_extract_lines()
        if lines is not None:
            head = before[: len(before) - len(self._data)]
            if len(head) > MAX_HEAD_BYTES:
                raise h11.RemoteProtocolError("a head over the limit")
            if _FORBIDDEN.search(head):
                raise h11.RemoteProtocolError("a line of the head does not end as it must")
        return lines


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol with a deadline for requests and a limit on connections."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and close another where there are too many."""
        super().connection_made(transport)
        self.conn._receive_buffer = _StrictBuffer()
        self._start_deadline()
        if len(self.connections) > MAX_CONNECTIONS:
            waiting = [one for one in self.connections if isinstance(one, GuardedProtocol)]
            waiting = [one for one in waiting if one._deadline is not None]
            min(waiting, key=_deadline_of, default=self).transport.close()

    def data_received(self, data: bytes) -> None:
        """Read; once a request has come whole its deadline is over."""
        if self._deadline is None and self._awaits_request():
            self._start_deadline()  # the next request of the same connection begins
        super().data_received(data)
        if not self._awaits_request():
            self._end_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._end_deadline()
        super().connection_lost(exc)

    def _awaits_request(self) -> bool:
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._close)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self._deadline = None
        self.transport.close()


def _deadline_of(connection: Any) -> float:
    return float(connection._deadline.when())
