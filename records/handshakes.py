"""TLS handshakes of a port that asyncio serves: bounded in time and number, and counted.

asyncio would do them by itself, but lets any number of them wait, each with a file descriptor. Here
a handshake has its time, and where too many wait, the oldest is ended: who means it needs
milliseconds, so whoever is silent keeps nobody out. The pages and the HL7 listener are behind such
a door; the DICOM listener, which asyncio does not serve, bounds them in `intake.dicom.admission`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

from records.tls.contexts import HANDSHAKE_SECONDS

MAX_WAITING = 200
"""Handshakes that may go on at the same time."""


class HandshakeOutcome(StrEnum):
    """What became of a handshake."""

    DONE = "DONE"
    FAILED = "FAILED"  # the other side spoke no TLS, none that is allowed, or broke off
    TOO_SLOW = "TOO_SLOW"  # it was not over in its time
    TOO_MANY = "TOO_MANY"  # it was the oldest where too many waited


outcomes: Counter[HandshakeOutcome] = Counter()
"""How many handshakes of this process ended in each way."""


class HandshakeDoor:
    """Takes connections, does their handshakes, and hands them on.

    Args:
        context: the certificates; asked anew for each connection.
        seconds: the time of a handshake.
        may_begin: whether an address may begin one; who may not is hung up on. None lets all.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        seconds: float = HANDSHAKE_SECONDS,
        may_begin: Callable[[str], bool] | None = None,
    ) -> None:
        self._context = context
        self._seconds = seconds
        self._may_begin = may_begin
        self._waiting: dict[_Waiting, asyncio.Transport] = {}

    def before(
        self, make_protocol: Callable[[], asyncio.Protocol]
    ) -> Callable[[], asyncio.Protocol]:
        """What a server makes for each connection in place of the protocol behind the handshake."""
        return lambda: _Waiting(self, make_protocol)

    def end_all(self) -> None:
        """End the handshakes that go on."""
        for transport in list(self._waiting.values()):
            transport.abort()

    async def take(self, waiting: _Waiting, transport: asyncio.Transport) -> None:
        """Do the handshake of one connection, and hand it on."""
        address = str((transport.get_extra_info("peername") or ("unknown",))[0])
        if self._may_begin is not None and not self._may_begin(address):
            transport.abort()
            return
        self._waiting[waiting] = transport
        if len(self._waiting) > MAX_WAITING:
            oldest, of_oldest = next(iter(self._waiting.items()))
            oldest.outcome = HandshakeOutcome.TOO_MANY
            del self._waiting[oldest]
            of_oldest.abort()
        secured: asyncio.Transport | None = None
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport,
                waiting.early,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._seconds,
            )
        except ConnectionAbortedError:  # asyncio's time-out
            waiting.outcome = waiting.outcome or HandshakeOutcome.TOO_SLOW
        except OSError:  # ssl.SSLError is one
            pass
        finally:
            self._waiting.pop(waiting, None)
            if secured is None:
                transport.abort()
                outcomes[waiting.outcome or HandshakeOutcome.FAILED] += 1
        if secured is not None:
            outcomes[HandshakeOutcome.DONE] += 1
            waiting.early.hand_on(secured, waiting.make_protocol)


class _Waiting(asyncio.Protocol):
    """A connection before its handshake."""

    def __init__(self, door: HandshakeDoor, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self.make_protocol = make_protocol
        self.early = _Early()
        self.outcome: HandshakeOutcome | None = None
        self._door = door
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        # Kept here: the loop itself keeps only a weak reference to a task.
        self._task = asyncio.get_running_loop().create_task(self._door.take(self, transport))


class _Early(asyncio.Protocol):
    """Keeps what comes between the end of the handshake and the hand-over, which is a moment."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._has_ended = self._is_lost = False

    def data_received(self, data: bytes) -> None:
        self._data += data

    def eof_received(self) -> None:
        self._has_ended = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._is_lost = True

    def hand_on(
        self, transport: asyncio.Transport, make_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        """Let the protocol behind the handshake have the connection, and what came already."""
        if self._is_lost:
            return
        protocol = make_protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._data:
            protocol.data_received(bytes(self._data))
        if self._has_ended and not protocol.eof_received():
            transport.close()
