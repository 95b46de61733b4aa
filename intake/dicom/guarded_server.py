"""Bytes off the network, with limits that pynetdicom 3.0.4 lacks. Knows no rows and no headers.

pynetdicom reads whatever length a peer declares, buffers it before it has looked at the AE titles,
waits for ever for the rest of a PDU, lets its reactor thread die on a full disk, and copies a film
five times. Five of its classes are taken over here, each in the methods that matter:

    Server           counts connections before a thread is made for each
    Door             gives each association the three below
    GuardedSocket    lengths and time, before memory is taken; hangs up for good
    Reactor          takes the pieces of a film straight from the socket to its file
    GuardedMessages  what a message may hold; errors abort the association instead of the thread

`incoming.Incoming` stands in for the temporary file that the data set is written to.
"""

from __future__ import annotations

import queue
import select
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from pynetdicom import dimse_messages
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from intake.dicom.incoming_file import Incoming
from intake.dicom.limits import ASSOCIATE_BYTES, MESSAGE_BYTES, WAITING_MESSAGES, Why

_AWAITING_ASSOCIATE = "Sta2"  # PS3.8 table 9-2
_DATA_TRANSFER = "Sta6"
_UNRECOGNIZED_PDU = "Evt19"  # PS3.8 table 9-10: the association is aborted (AA-8)

_HANGUP = "Evt17"  # the transport connection is closed

_PIECE = struct.Struct(">BxLLBB")
"""A P-DATA-TF of one presentation data value, up to its data: PDU type and length, the value's
length, presentation context, message control header (PS3.8 9.3.5, E.2)."""
_P_DATA_TF = 0x04
_DATA_SET_GOES_ON = 0x00  # message control header: of the data set, not its last fragment

_NEXT_PIECE_SECONDS = 0.1
"""How long the next piece of a data set is waited for before anything else is looked after."""

_LOOK_ROUND_SECONDS = 0.05
"""How long an association's threads wait for something to do before they look at their clocks."""

_WRITERS = 8
"""Blocks that are written to the disk at the same time, of all objects that come in."""

Refuse = Callable[[Any, Why], None]
"""Told of an association (pynetdicom's) that was ended, and why."""


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
        self._ahead = b""  # the beginning of the next PDU, where it was read already
        # Accepted sockets wait for ever; a peer that lost power would keep its place for good. By
        # the system's clock: Python's own takes a second system call for each.
        client.settimeout(None)
        limit = struct.pack("@ll", int(idle_seconds), int(idle_seconds % 1 * 1e6))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        # Answers are small and the sender waits for each.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def ready(self) -> bool:
        """Whether there is something to be read."""
        return bool(super().ready or (self._ahead and self.socket))

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly `nr_bytes`, or fewer where the peer hung up.

        Raises:
            PduTooLarge: more than the limit.
            OSError: not there within the idle time.
        """
        association = self.assoc
        before = association.dul.state_machine.current_state == _AWAITING_ASSOCIATE
        if nr_bytes > (ASSOCIATE_BYTES if before else association.acceptor.maximum_length):
            self._refuse(association, Why.PDU_TOO_LARGE)
            raise PduTooLarge("a PDU over the limit")
        received = bytearray(nr_bytes)
        ahead, self._ahead = self._ahead[:nr_bytes], self._ahead[nr_bytes:]
        received[: len(ahead)] = ahead
        with memoryview(received) as view:
            count = len(ahead) + self._fill(view[len(ahead) :])
        return received if count == nr_bytes else received[:count]

    def next_piece(self, limit: int, seconds: float) -> int:
        """How many bytes of a data set the next PDU holds, where that is all it holds, else 0.

        The last piece of a data set is none of these. The PDU remains to be read.

        limit: of the PDU's length; what is longer is none of these.
        seconds: how long it may take to begin.
        """
        try:
            if not self._ahead and not select.select([self.socket], [], [], seconds)[0]:
                return 0
            self._ahead += self.socket.recv(_PIECE.size - len(self._ahead), socket.MSG_DONTWAIT)
        except (OSError, ValueError):
            pass  # who reads next is told
        if len(self._ahead) == _PIECE.size:
            kind, length, value, _, control = _PIECE.unpack(self._ahead)
            alone = length == value + 4 and value > 2
            if kind == _P_DATA_TF and control == _DATA_SET_GOES_ON and alone and length <= limit:
                return int(value) - 2  # without context and control header
        return 0

    def recv_piece(self, file: Incoming, length: int) -> None:
        """The piece of so many bytes that is next, into its file.

        Raises:
            OSError: the peer hung up, or it is not there within the idle time.
        """
        self._ahead = b""
        while length:
            space = file.space()[:length]
            if self._fill(space) < len(space):
                raise ConnectionError("the peer hung up")
            file.take(len(space))
            length -= len(space)

    def _fill(self, view: memoryview) -> int:
        """Fill `view`, and return the bytes: fewer where the peer hung up.

        Raises:
            OSError: not there within the idle time.
        """
        at = 0
        until = time.monotonic() + self._idle_seconds
        while at < len(view):
            count = self.socket.recv_into(view[at:], 0, socket.MSG_WAITALL)
            if not count:
                break
            at += count
            if at < len(view) and time.monotonic() > until:
                raise TimeoutError("a PDU that does not come to an end")
        return at

    def _shutdown_socket(self) -> None:
        """Hang up. pynetdicom leaves the socket open where the peer was first to go."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class _Telling(queue.Queue):  # type: ignore[type-arg]
    """A queue that tells somebody who waits elsewhere."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put, and tell."""
        super().put(item, block, timeout)
        self._tell()


class Reactor(DULServiceProvider):  # type: ignore[misc]
    """Reads PDUs; the pieces of a film go from the socket to its file without a detour.

    pynetdicom copies each piece some five times and takes it through two queues and the state
    machine. A data set that goes on needs none of that: the state stays Sta6 (PS3.8 9.2.3) and
    nobody is told. The last piece, and all that is not plainly a piece, goes pynetdicom's way.

    Its two threads for each association also ask a thousand times a second whether there is
    anything to do. Here they are woken.
    """

    def __init__(self, assoc: Any) -> None:
        super().__init__(assoc)
        self._wakes, self._woken = socket.socketpair()
        for end in (self._wakes, self._woken):
            end.setblocking(False)
        # The association looks here each time that it is given a message, or none.
        self.to_user_queue = _Telling(lambda: assoc.dimse.msg_queue.put((None, None)))

    def run_reactor(self) -> None:
        """Until the association is over."""
        try:
            super().run_reactor()
        finally:
            self._wakes.close()
            self._woken.close()

    def send_pdu(self, primitive: Any) -> None:
        """Have something sent, at once."""
        super().send_pdu(primitive)
        with suppress(OSError):  # woken already, or over
            self._wakes.send(b".")

    def _is_transport_event(self) -> bool:
        came = self._take_pieces()
        if super()._is_transport_event():
            return True
        if not came and self.state_machine.current_state == _DATA_TRANSFER:
            self._wait()
            return not self._process_recv_primitive() and super()._is_transport_event()
        return came

    def _wait(self) -> None:
        """Until something comes or is to be sent, or it is time to look at the clocks."""
        with suppress(OSError, ValueError):
            line = self.socket.socket
            if self._woken in select.select([line, self._woken], [], [], _LOOK_ROUND_SECONDS)[0]:
                self._woken.recv(4096)

    def _take_pieces(self) -> bool:
        """Bring what comes of a data set to its file; whether anything came."""
        messages, line, limit = self.assoc.dimse, self.socket, self.assoc.acceptor.maximum_length
        came = False
        while (
            self.state_machine.current_state == _DATA_TRANSFER
            and (file := messages.file_within_limits())
            and not (self._kill_thread or self.to_provider_queue.queue)
            and (length := line.next_piece(limit, _NEXT_PIECE_SECONDS if came else 0))
        ):
            came = True
            try:
                line.recv_piece(file, length)
            except OSError:
                self.event_queue.put(_HANGUP)
                break
        return came


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

    def get_msg(self, block: bool = False) -> Any:
        """The next message, or none within a moment: who does not wait for it asks on and on."""
        if block:
            return super().get_msg(block)
        with suppress(queue.Empty):
            return self.msg_queue.get(timeout=_LOOK_ROUND_SECONDS)
        return None, None

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

    def file_within_limits(self) -> Incoming | None:
        """The file of the data set that is coming in; None where there is none, or no end of it."""
        file = self._incoming()
        return file if file and not self._is_endless(file) else None

    def discard_incoming(self) -> None:
        """Remove the file of an object that will not be completed. In the reactor's thread."""
        if file := self._incoming():
            file.discard()

    def _incoming(self) -> Incoming | None:
        file = getattr(self.message, "_data_set_file", None)
        return file if isinstance(file, Incoming) else None

    def _is_endless(self, file: Incoming) -> bool:
        # Dropping the rest of a large object is a courtesy with an end.
        return file.size > 2 * self._max_bytes

    def _check(self) -> None:
        if self.msg_queue.qsize() > WAITING_MESSAGES:
            raise BrokenMessage("requests that do not wait for answers")
        if self.message is None:
            return
        file = self._incoming()
        if file is None:
            held = self.message.encoded_command_set.tell() + self.message.data_set.tell()
            if held > MESSAGE_BYTES:
                raise BrokenMessage("a message without end")
        elif self._is_endless(file):
            raise BrokenMessage("an object without end")


class Door(RequestHandler):  # type: ignore[misc]
    """A new connection: an association with our reactor, socket and messages."""

    server: Server

    def _create_association(self) -> Any:
        association = super()._create_association()
        server = self.server
        association.dul = Reactor(association)
        # These reach its timers.
        association.acse_timeout = self.ae.acse_timeout
        association.network_timeout = self.ae.network_timeout
        association.set_socket(
            GuardedSocket(association, self.request, server.idle_seconds, server.refuse)
        )
        association.dimse = GuardedMessages(association, server.max_bytes, server.refuse)
        return association


class Server(ThreadedAssociationServer):  # type: ignore[misc]
    """Accepts connections, a thread each, within a limit.

    folder: where objects are written as they come in, on the blob volume (kept by a link).
    shared: whether other processes may listen on the same port.
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
        shared: bool = False,
        **more: Any,
    ) -> None:
        self._shared = shared
        self.max_bytes = max_bytes
        self.max_connections = max_connections
        self.idle_seconds = idle_seconds
        self.refuse = refuse
        self.writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="writer")
        super().__init__(*args, request_handler=Door, **more)
        # The name that pynetdicom opens its file by: it has no setting for the folder or the
        # kind of file, and tempfile's own folder is everybody's. One server a process.
        dimse_messages.NamedTemporaryFile = lambda **_: Incoming(
            folder, max_bytes, has_room, self.writers
        )

    def server_bind(self) -> None:
        """Bind the port; where it is shared, the system spreads connections over the listeners."""
        if self._shared:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Whether to talk to a new connection at all.

        Associations over the limit are rejected in words the sender understands; connections that
        do not even ask for one are not given a thread each.
        """
        return len(self.active_associations) < self.max_connections
