"""Bytes off the network, with limits that pynetdicom 3.0.4 lacks. Knows no rows and no headers.

pynetdicom reads whatever length a peer declares, buffers it before it has looked at the AE titles,
waits for ever for the rest of a PDU, and lets its reactor thread die on a full disk. Four of its
classes are taken over here, each in the methods that matter:

    Server           counts connections before a thread is made for each
    Door             gives each association the two below
    GuardedSocket    lengths and time, before memory is taken; hangs up for good
    GuardedMessages  what a message may hold; errors abort the association instead of the thread
    Incoming         stands in for the temporary file that the data set is written to
"""

from __future__ import annotations

import errno
import os
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pynetdicom import dimse_messages
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from intake.limits import ASSOCIATE_BYTES, MESSAGE_BYTES, WAITING_MESSAGES, Why
from records.killpoints import killpoint

_AWAITING_ASSOCIATE = "Sta2"  # PS3.8 table 9-2
_UNRECOGNIZED_PDU = "Evt19"  # PS3.8 table 9-10: the association is aborted (AA-8)
_LOOK_EVERY = 16_000_000  # bytes between two looks at the room that is left

Refuse = Callable[[Any, Why], None]
"""Told of an association (pynetdicom's) that was ended, and why."""


class Incoming:
    """One object's file while it comes in, as pynetdicom's chunked receive writes it.

    An object that cannot be kept is `spoiled`: its file is gone at once and the rest of it is read
    off the network and dropped, so that its sender gets an answer and goes on with the next.
    """

    def __init__(self, folder: Path, max_bytes: int, has_room: Callable[[], bool]) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.dcm"
        self.name = str(self.path)  # pynetdicom reads and unlinks by this name
        self.size = 0
        self.spoiled: Why | None = None
        self._max_bytes = max_bytes
        self._has_room = has_room
        self._look_at = _LOOK_EVERY
        self._handle = -1
        if not has_room():
            self.spoiled = Why.DISK_FULL
            return
        try:
            self._handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            self._spoil(_why(error))

    @property
    def file(self) -> Incoming:
        """Pynetdicom flushes `file.file`, as NamedTemporaryFile has one."""
        return self

    def write(self, content: bytes) -> int:
        """Write, or drop where the object is spoiled. Never raises."""
        self.size += len(content)
        if self.size > self._max_bytes:
            self._spoil(Why.TOO_LARGE)
        if self.size > self._look_at:
            self._look_at += _LOOK_EVERY
            if not self._has_room():
                self._spoil(Why.DISK_FULL)
        if self.spoiled is None:
            try:
                left = memoryview(content)
                while left:
                    left = left[os.write(self._handle, left) :]
            except OSError as error:
                self._spoil(_why(error))
        return len(content)

    def flush(self) -> None:
        """Called after each piece of the data set; writes are not buffered here."""
        killpoint("mid-transfer")

    def close(self) -> None:
        """Close; a second time does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def discard(self) -> None:
        """Close and remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _spoil(self, why: Why) -> None:
        # The first reason stands.
        self.spoiled = self.spoiled or why
        self.discard()


def _why(error: OSError) -> Why:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return Why.DISK_FULL if full else Why.UNEXPECTED


class PduTooLarge(OSError):
    """The peer declared more than is taken. An OSError, for which pynetdicom hangs up."""


class GuardedSocket(AssociationSocket):  # type: ignore[misc]
    """A connection that refuses lengths over the limit and PDUs that do not come to an end.

    `recv` is where pynetdicom asks for as many bytes as a PDU's header declares, so the limit is
    kept before any memory is taken, on the A-ASSOCIATE-RQ too.
    """

    def __init__(self, assoc: Any, client: socket.socket, idle_seconds: float, refuse: Refuse):
        super().__init__(assoc, client_socket=client)
        self._idle_seconds = idle_seconds
        self._refuse = refuse
        # Accepted sockets wait for ever; a peer that lost power would keep its place for good.
        client.settimeout(idle_seconds)
        # Answers are small and the sender waits for each.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly `nr_bytes`, or fewer where the peer hung up.

        Raises:
            PduTooLarge: more than the limit.
            TimeoutError: not there within the idle time.
        """
        association = self.assoc
        before = association.dul.state_machine.current_state == _AWAITING_ASSOCIATE
        if nr_bytes > (ASSOCIATE_BYTES if before else association.acceptor.maximum_length):
            self._refuse(association, Why.PDU_TOO_LARGE)
            raise PduTooLarge("a PDU over the limit")
        received = bytearray(nr_bytes)
        at = 0
        until = time.monotonic() + self._idle_seconds
        with memoryview(received) as view:
            while at < nr_bytes:
                count = self.socket.recv_into(view[at:])
                if not count:
                    break
                at += count
                if at < nr_bytes and time.monotonic() > until:
                    raise TimeoutError("a PDU that does not come to an end")
        return received if at == nr_bytes else received[:at]

    def _shutdown_socket(self) -> None:
        """Hang up. pynetdicom leaves the socket open where the peer was first to go."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class BrokenMessage(Exception):
    """A peer's message breaks the protocol or a limit."""


class GuardedMessages(DIMSEServiceProvider):  # type: ignore[misc]
    """Puts messages together from PDUs, within limits.

    An exception here would end pynetdicom's reactor thread and leave the sender waiting, so each
    becomes an abort of the association.
    """

    def __init__(self, assoc: Any, max_bytes: int, refuse: Refuse) -> None:
        super().__init__(assoc)
        self._max_bytes = max_bytes
        self._refuse = refuse

    def receive_primitive(self, primitive: Any) -> None:
        """Take the next piece of a message (PS3.8 annex E)."""
        try:
            self._check()
            super().receive_primitive(primitive)
        except Exception:
            # The words of the error may quote what was sent.
            self.discard_incoming()
            self._refuse(self.assoc, Why.BROKEN_MESSAGE)
            self.dul.event_queue.put(_UNRECOGNIZED_PDU)

    def discard_incoming(self) -> None:
        """Remove the file of an object that will not be completed. In the reactor's thread."""
        file = getattr(self.message, "_data_set_file", None)
        if isinstance(file, Incoming):
            file.discard()

    def _check(self) -> None:
        if self.msg_queue.qsize() > WAITING_MESSAGES:
            raise BrokenMessage("requests that do not wait for answers")
        if self.message is None:
            return
        file = self.message._data_set_file
        if file is None:
            held = self.message.encoded_command_set.tell() + self.message.data_set.tell()
            if held > MESSAGE_BYTES:
                raise BrokenMessage("a message without end")
        elif file.size > 2 * self._max_bytes:
            # Dropping the rest of a large object is a courtesy with an end.
            raise BrokenMessage("an object without end")


class Door(RequestHandler):  # type: ignore[misc]
    """A new connection: an association with our socket and our messages."""

    server: Server

    def _create_association(self) -> Any:
        association = super()._create_association()
        server = self.server
        # pynetdicom's own socket has announced the connection (Evt5), and ours does it again.
        association.dul.event_queue.get_nowait()
        association.dul.socket = None
        association.set_socket(
            GuardedSocket(association, self.request, server.idle_seconds, server.refuse)
        )
        association.dimse = GuardedMessages(association, server.max_bytes, server.refuse)
        return association


class Server(ThreadedAssociationServer):  # type: ignore[misc]
    """Accepts connections, a thread each, within a limit.

    folder: where objects are written as they come in, on the blob volume (kept by a link).
    """

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        *args: Any,
        folder: Path,
        max_bytes: int,
        max_connections: int,
        idle_seconds: float,
        has_room: Callable[[], bool],
        refuse: Refuse,
        **more: Any,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_connections = max_connections
        self.idle_seconds = idle_seconds
        self.refuse = refuse
        super().__init__(*args, request_handler=Door, **more)
        # The name that pynetdicom opens its file by: it has no setting for the folder or the
        # kind of file, and tempfile's own folder is everybody's. One server a process.
        dimse_messages.NamedTemporaryFile = lambda **_: Incoming(folder, max_bytes, has_room)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Whether to talk to a new connection at all.

        Associations over the limit are rejected in words the sender understands; connections that
        do not even ask for one are not given a thread each.
        """
        return len(self.active_associations) < self.max_connections
