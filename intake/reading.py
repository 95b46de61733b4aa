"""Bytes off a connection: lengths and time kept, and data sets handed on without being taken apart.

pynetdicom makes five copies of each fragment on its way from the socket to the file, and five
objects. Most bytes of a film come in fragments that are a whole PDU and neither the first nor the
last of their data set: those go straight from the socket's buffer to whoever keeps them, and all
else goes pynetdicom's way. Knows no rows, no files, and of DICOM the heads of PDUs alone (PS3.8
9.3.5 and annex E).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Any

from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket

from intake.limits import ASSOCIATE_BYTES, Why

AWAITING_ASSOCIATE, TRANSFER = "Sta2", "Sta6"  # PS3.8 table 9-2
CLOSED, UNRECOGNIZED_PDU = "Evt17", "Evt19"  # PS3.8 table 9-10; the latter aborts (AA-8)

_P_DATA_TF = 0x04
_PDU = Struct(">BxI")  # type, length: PS3.8 table 9-22
_PDV = Struct(">IBB")  # length, presentation context, message control header: tables 9-23, E.2
_BUFFER = 256 << 10
_AT_A_TIME = 16 << 20
"""Bytes handed on before the reactor looks at what else there is, an abort of ours for one."""

Refuse = Callable[[Any, Why], None]
"""Told of an association (pynetdicom's) that was ended, and why."""
Keep = Callable[[memoryview], None]


class PduTooLarge(OSError):
    """The peer declared more than is taken. An OSError, for which pynetdicom hangs up."""


class GuardedSocket(AssociationSocket):  # type: ignore[misc]
    """A connection that refuses lengths over the limit and PDUs that do not come to an end.

    `recv` is where pynetdicom asks for as many bytes as a PDU's header declares, so the limit is
    kept before any memory is taken, on the A-ASSOCIATE-RQ too. What comes is buffered.
    """

    def __init__(self, assoc: Any, client: socket.socket, idle_seconds: float, refuse: Refuse):
        super().__init__(assoc, client_socket=client)
        self._idle_seconds = idle_seconds
        self._refuse = refuse
        self._buffer = bytearray()  # none for a connection that sends no data set
        self._view = memoryview(self._buffer)
        self._at = self._end = 0  # of what is buffered and was not taken yet
        # Accepted sockets wait for ever; a peer that lost power would keep its place for good.
        client.settimeout(idle_seconds)
        # Answers are small and the sender waits for each.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def ready(self) -> bool:
        """Whether something is there to be read."""
        return self._end > self._at or bool(super().ready)

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly `nr_bytes`, or fewer where the peer hung up.

        Raises:
            PduTooLarge: more than the limit.
            TimeoutError: not there within the idle time.
        """
        self._check_length(nr_bytes)
        received = bytearray(nr_bytes)
        at = min(nr_bytes, self._end - self._at)
        received[:at] = self._take(at)
        until = time.monotonic() + self._idle_seconds
        with memoryview(received) as view:
            while at < nr_bytes:
                count = self.socket.recv_into(view[at:])
                if not count:
                    break
                at += count
                if at < nr_bytes:
                    _check_time(until)
        return received if at == nr_bytes else received[:at]

    def hand_on(self, context: int, keep: Keep) -> int:
        """Give `keep` the fragments of a data set, as long as whole PDUs of one fragment come.

        Stops before the last fragment, and before whatever else there is: that is still to be
        read. context: of the data set's message.

        Returns:
            Bytes that were handed on.

        Raises:
            PduTooLarge: more than the limit.
            TimeoutError: a PDU that does not come to an end within the idle time.
        """
        if not self._buffer:
            self._buffer = bytearray(_BUFFER)
            self._view = memoryview(self._buffer)
        handed = 0
        while handed < _AT_A_TIME and self._has(_PDU.size):
            kind, length = _PDU.unpack_from(self._buffer, self._at)
            if kind != _P_DATA_TF or length < _PDV.size:
                break
            self._check_length(length)
            if not self._has(_PDU.size + _PDV.size):
                break
            inner, of, control = _PDV.unpack_from(self._buffer, self._at + _PDU.size)
            if inner + 4 != length or of != context or control & 3:
                break  # several fragments, another message, a command, or the last one
            self._at += _PDU.size + _PDV.size
            self._hand_on(length - _PDV.size, keep)
            handed += length
            if self._at == self._end and not super().ready:
                break
        return handed

    def _hand_on(self, left: int, keep: Keep) -> None:
        until = time.monotonic() + self._idle_seconds
        while left:
            if self._at == self._end and not self._fill():
                raise ConnectionError("the peer hung up within a PDU")
            piece = self._take(min(left, self._end - self._at))
            keep(piece)
            left -= len(piece)
            if left:
                _check_time(until)

    def _take(self, count: int) -> memoryview:
        self._at += count
        return self._view[self._at - count : self._at]

    def _has(self, count: int) -> bool:
        """Wait for so many bytes; False where the peer hung up before."""
        until = time.monotonic() + self._idle_seconds
        while self._end - self._at < count:
            if not self._fill():
                return False
            _check_time(until)
        return True

    def _fill(self) -> bool:
        """Take what has come; False where the peer hung up."""
        kept = self._end - self._at  # a few bytes of a head
        if self._at:
            self._buffer[:kept] = self._buffer[self._at : self._end]
            self._at, self._end = 0, kept
        count = self.socket.recv_into(self._view[self._end :])
        self._end += count
        return bool(count)

    def _check_length(self, length: int) -> None:
        association = self.assoc
        before = association.dul.state_machine.current_state == AWAITING_ASSOCIATE
        if length > (ASSOCIATE_BYTES if before else association.acceptor.maximum_length):
            self._refuse(association, Why.PDU_TOO_LARGE)
            raise PduTooLarge("a PDU over the limit")

    def _shutdown_socket(self) -> None:
        """Hang up. pynetdicom leaves the socket open where the peer was first to go."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


def _check_time(until: float) -> None:
    if time.monotonic() > until:
        raise TimeoutError("a PDU that does not come to an end")


class Reactor(DULServiceProvider):  # type: ignore[misc]
    """pynetdicom's reactor, past which the middle of a data set goes."""

    def __init__(self, assoc: Any) -> None:
        super().__init__(assoc)
        # An association tells its times to the reactor that it was made with, and not to this one.
        self._idle_timer.timeout = assoc.network_timeout
        self.artim_timer.timeout = assoc.acse_timeout

    def _read_pdu_data(self) -> None:
        """Read what is there: fragments handed on, or one PDU pynetdicom's way."""
        nothing_waits = self.event_queue.empty() and self._recv_pdu.empty()
        if nothing_waits and self.state_machine.current_state == TRANSFER:
            messages = self.assoc.dimse
            if messages.takes_fragments:
                try:
                    handed = self.socket.hand_on(messages.message.context_id, messages.keep)
                except OSError:
                    self.event_queue.put(CLOSED)
                    return
                except Exception:
                    messages.broken()
                    return
                if handed:
                    return
        super()._read_pdu_data()
