"""The listener's connections: pynetdicom's with limits on lengths and times, plain or in TLS."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pynetdicom.transport import AssociationSocket

from intake.dicom.incoming_file import IncomingFile
from intake.dicom.limits import RefusalReason

_AWAITING_ASSOCIATE = "Sta2"  # PS3.8 table 9-2

_FRAGMENT_HEADER = struct.Struct(">BxLLBB")
"""A P-DATA-TF of one presentation data value, up to its data: PDU type and length, the value's
length, presentation context, message control header (PS3.8 9.3.5, E.2)."""
_P_DATA_TF = 0x04
_DATA_SET_CONTINUES = 0x00  # message control header: of the data set, not its last fragment

RefusalCallback = Callable[[Any, RefusalReason], None]
"""Called with an association (pynetdicom's) that was ended, and the reason."""


class PduTooLarge(OSError):
    """The peer declared a PDU over the limit. On an OSError pynetdicom closes the socket."""


class GuardedSocket(AssociationSocket):  # type: ignore[misc]
    """A connection that refuses lengths over the limit and PDUs that do not come to an end.

    pynetdicom asks `recv` for as many bytes as a PDU's header declares. So the limit is checked
    there, before any memory is taken. The A-ASSOCIATE-RQ was read and checked before.

    Args:
        assoc: the association.
        client: the connection.
        idle_seconds: how long a PDU may take.
        on_refusal: called where the peer breaks a limit.
        request: the A-ASSOCIATE-RQ.
    """

    def __init__(
        self,
        assoc: Any,
        client: socket.socket,
        idle_seconds: float,
        on_refusal: RefusalCallback,
        request: bytes,
    ):
        super().__init__(assoc, client_socket=client)
        self._idle_seconds = idle_seconds
        self._on_refusal = on_refusal
        self._read_ahead = request  # the beginning of what comes next, where it was read already
        # Answers are small and the sender waits for each.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._limit_waits(client)

    def _limit_waits(self, client: socket.socket) -> None:
        # Accepted sockets wait for ever; a peer that lost power would keep its place for good. The
        # system's timeout is used, because Python's own takes a second system call for each read.
        client.settimeout(None)
        timeout = struct.pack("@ll", int(self._idle_seconds), int(self._idle_seconds % 1 * 1e6))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    @property
    def ready(self) -> bool:
        """Whether there is something to be read."""
        return bool(super().ready or (self._read_ahead and self.socket))

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly `nr_bytes`, or fewer where the peer closed the connection.

        Raises:
            PduTooLarge: `nr_bytes` is over the limit.
            OSError: the bytes did not come within the idle time.
        """
        association = self.assoc
        is_request = association.dul.state_machine.current_state == _AWAITING_ASSOCIATE
        if not is_request and nr_bytes > association.acceptor.maximum_length:
            self._on_refusal(association, RefusalReason.PDU_TOO_LARGE)
            raise PduTooLarge("a PDU over the limit")
        received = bytearray(nr_bytes)
        ahead, self._read_ahead = self._read_ahead[:nr_bytes], self._read_ahead[nr_bytes:]
        received[: len(ahead)] = ahead
        with memoryview(received) as view:
            count = len(ahead) + self._fill(view[len(ahead) :])
        return received if count == nr_bytes else received[:count]

    def next_fragment_length(self, limit: int, seconds: float) -> int:
        """Look at the next PDU without taking it, and say whether it continues a data set.

        Args:
            limit: a PDU that is longer than this does not count.
            seconds: how long to wait for the PDU to begin.

        Returns:
            The bytes of the data set in the PDU where it holds one fragment and nothing else, and
            the fragment is not the data set's last; else 0.
        """
        try:
            if not self._read_ahead and not self.wait([], seconds):
                return 0
            self._read_ahead += self._recv_at_once(_FRAGMENT_HEADER.size - len(self._read_ahead))
        except (OSError, ValueError):
            pass  # the next read meets the same error
        if len(self._read_ahead) == _FRAGMENT_HEADER.size:
            pdu_type, length, value_length, _, control = _FRAGMENT_HEADER.unpack(self._read_ahead)
            is_alone = length == value_length + 4 and value_length > 2
            if (
                pdu_type == _P_DATA_TF
                and control == _DATA_SET_CONTINUES
                and is_alone
                and length <= limit
            ):
                return int(value_length) - 2  # without context and control header
        return 0

    def recv_fragment(self, file: IncomingFile, length: int) -> None:
        """Move the next fragment's `length` bytes into the file.

        Raises:
            OSError: the peer closed the connection, or the bytes did not come within the idle time.
        """
        self._read_ahead = b""
        while length:
            buffer = file.get_buffer()[:length]
            if self._fill(buffer) < len(buffer):
                raise ConnectionError("the peer closed the connection")
            file.buffer_updated(len(buffer))
            length -= len(buffer)

    def wait(self, others: list[socket.socket], seconds: float) -> list[Any]:
        """Wait until there is something to be read here, or at one of some other sockets.

        Returns:
            The sockets at which there is.

        Raises:
            OSError, ValueError: the connection is closed.
        """
        return select.select([self.socket, *others], [], [], seconds)[0]

    def _recv_at_once(self, count: int) -> bytes:
        """Up to so many bytes of those that are there."""
        return bytes(self.socket.recv(count, socket.MSG_DONTWAIT))

    def _fill(self, view: memoryview) -> int:
        """Fill `view` and return the bytes: fewer where the peer closed the connection.

        Raises:
            OSError: the bytes did not come within the idle time.
        """
        position = 0
        deadline = time.monotonic() + self._idle_seconds
        while position < len(view):
            count = self.socket.recv_into(view[position:], 0, socket.MSG_WAITALL)
            if not count:
                break
            position += count
            if position < len(view) and time.monotonic() > deadline:
                raise TimeoutError("a PDU that does not come to an end")
        return position

    def _shutdown_socket(self) -> None:
        """Close. pynetdicom leaves the socket open where the peer was the first to close."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class GuardedTlsSocket(GuardedSocket):
    """The same over TLS, whose handshake is over.

    The socket never waits by itself: what waits is `select`, with a deadline. OpenSSL reads whole
    records, so bytes may be there that `select` knows nothing of.
    """

    def _limit_waits(self, client: socket.socket) -> None:
        client.setblocking(False)

    def wait(self, others: list[socket.socket], seconds: float) -> list[Any]:
        """As `GuardedSocket.wait`."""
        return [self.socket] if self.socket.pending() else super().wait(others, seconds)

    def send(self, bytestream: bytes) -> None:
        """Send all; where the peer takes nothing within the idle time the connection is over."""
        deadline = time.monotonic() + self._idle_seconds
        view = memoryview(bytestream)
        try:
            while view:
                try:
                    view = view[self.socket.send(view) :]
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError) as want:
                    self._await(want, deadline)
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # the transport connection is closed

    def _shutdown_socket(self) -> None:
        """Say that nothing more comes (RFC 8446 section 6.1), and close."""
        if self.socket is not None:
            with suppress(OSError, ValueError):  # it does not wait for the peer's own end
                self.socket.unwrap()
        super()._shutdown_socket()

    def _recv_at_once(self, count: int) -> bytes:
        try:
            return bytes(self.socket.recv(count))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""

    def _fill(self, view: memoryview) -> int:
        position = 0
        deadline = time.monotonic() + self._idle_seconds
        while position < len(view):
            try:
                count = self.socket.recv_into(view[position:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as want:
                self._await(want, deadline)
                continue
            if not count:
                break
            position += count
            if position < len(view) and time.monotonic() > deadline:
                raise TimeoutError("a PDU that does not come to an end")
        return position

    def _await(self, want: ssl.SSLError, deadline: float) -> None:
        """Wait for what TLS needs.

        Raises:
            TimeoutError: it does not come.
        """
        seconds = max(0.0, deadline - time.monotonic())
        ours, nobody = [self.socket], list[Any]()
        is_write = isinstance(want, ssl.SSLWantWriteError)
        ready = select.select(
            nobody if is_write else ours, ours if is_write else nobody, [], seconds
        )
        if not (ready[0] or ready[1]):
            raise TimeoutError("the peer is silent")
