"""The network side of the listener: pynetdicom's server, with limits that pynetdicom 3.0.4 lacks.

pynetdicom reads whatever length a peer declares and buffers it before it has looked at the AE
titles. It waits for ever for the rest of a PDU, its reactor thread dies on a full disk, and it
copies an image five times. Five of its classes are replaced here, each in the methods that matter:

    GuardedServer          makes an association only of a connection that `admission` gave a place
    GuardedRequestHandler  gives each association the three below
    GuardedSocket          checks lengths and times before memory is taken; always closes
    GuardedDULProvider     moves the fragments of a data set straight from the socket to its file
    GuardedDIMSEProvider   limits what a message may hold; an error aborts the association, not the
                           thread

`incoming_file.IncomingFile` replaces the temporary file that pynetdicom writes a data set to.
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

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from intake.dicom.admission import Admission, Place, WaitingConnection
from intake.dicom.incoming_file import IncomingFile
from intake.dicom.limits import (
    MAX_MESSAGE_BYTES,
    MAX_WAITING_MESSAGES,
    RefusalReason,
)
from intake.dicom.pynetdicom_setup import receive_into

_AWAITING_ASSOCIATE = "Sta2"  # PS3.8 table 9-2
_DATA_TRANSFER = "Sta6"
_UNRECOGNIZED_PDU = "Evt19"  # PS3.8 table 9-10: the association is aborted (AA-8)

_CONNECTION_CLOSED = "Evt17"  # the transport connection is closed

_FRAGMENT_HEADER = struct.Struct(">BxLLBB")
"""A P-DATA-TF of one presentation data value, up to its data: PDU type and length, the value's
length, presentation context, message control header (PS3.8 9.3.5, E.2)."""
_P_DATA_TF = 0x04
_DATA_SET_CONTINUES = 0x00  # message control header: of the data set, not its last fragment

_NEXT_FRAGMENT_SECONDS = 0.1
"""How long the next fragment of a data set is waited for before other work gets its turn."""

_POLL_SECONDS = 0.05
"""How long an association's threads wait for something to do before they check their timers."""

_WRITER_THREADS = 8
"""How many blocks, of all incoming objects, are written to the disk at the same time."""

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
        # Accepted sockets wait for ever; a peer that lost power would keep its place for good. The
        # system's timeout is used, because Python's own takes a second system call for each read.
        client.settimeout(None)
        timeout = struct.pack("@ll", int(idle_seconds), int(idle_seconds % 1 * 1e6))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        # Answers are small and the sender waits for each.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

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
            if not self._read_ahead and not select.select([self.socket], [], [], seconds)[0]:
                return 0
            missing = _FRAGMENT_HEADER.size - len(self._read_ahead)
            self._read_ahead += self.socket.recv(missing, socket.MSG_DONTWAIT)
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


class _NotifyingQueue(queue.Queue):  # type: ignore[type-arg]
    """A queue that also wakes a thread that waits elsewhere."""

    def __init__(self, notify: Callable[[], None]) -> None:
        super().__init__()
        self._notify = notify

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put the item, then notify."""
        super().put(item, block, timeout)
        self._notify()


class GuardedDULProvider(DULServiceProvider):  # type: ignore[misc]
    """Reads PDUs; the fragments of a data set go straight from the socket to its file.

    pynetdicom copies each fragment some five times and takes it through two queues and the state
    machine. A data set that continues needs none of that: the state stays Sta6 (PS3.8 9.2.3), so
    no event is needed. The last fragment, and every PDU that is not plainly a fragment, takes
    pynetdicom's path.

    pynetdicom's two threads for each association also check a thousand times a second whether there
    is anything to do. Here they are woken.
    """

    def __init__(self, assoc: Any) -> None:
        super().__init__(assoc)
        self._wake_writer, self._wake_reader = socket.socketpair()
        for end in (self._wake_writer, self._wake_reader):
            end.setblocking(False)
        # The association checks this queue each time that it gets a message, or none.
        self.to_user_queue = _NotifyingQueue(lambda: assoc.dimse.msg_queue.put((None, None)))

    def run_reactor(self) -> None:
        """Run until the association is over."""
        try:
            super().run_reactor()
        finally:
            self._wake_writer.close()
            self._wake_reader.close()

    def send_pdu(self, primitive: Any) -> None:
        """Queue something to be sent, and wake the reactor so that it is sent at once."""
        super().send_pdu(primitive)
        with suppress(OSError):  # woken already, or over
            self._wake_writer.send(b".")

    def _is_transport_event(self) -> bool:
        received = self._receive_fragments()
        if super()._is_transport_event():
            return True
        if not received and self.state_machine.current_state == _DATA_TRANSFER:
            self._wait()
            return not self._process_recv_primitive() and super()._is_transport_event()
        return received

    def _wait(self) -> None:
        """Wait until something comes or is to be sent, or it is time to check the timers."""
        with suppress(OSError, ValueError):
            sources = [self.socket.socket, self._wake_reader]
            if self._wake_reader in select.select(sources, [], [], _POLL_SECONDS)[0]:
                self._wake_reader.recv(4096)

    def _receive_fragments(self) -> bool:
        """Move fragments that have come to the data set's file; return whether there were any."""
        dimse, connection = self.assoc.dimse, self.socket
        limit = self.assoc.acceptor.maximum_length
        received = False
        while (
            self.state_machine.current_state == _DATA_TRANSFER
            and (file := dimse.file_within_limits())
            and not (self._kill_thread or self.to_provider_queue.queue)
            and (
                length := connection.next_fragment_length(
                    limit, _NEXT_FRAGMENT_SECONDS if received else 0
                )
            )
        ):
            received = True
            try:
                connection.recv_fragment(file, length)
            except OSError:
                self.event_queue.put(_CONNECTION_CLOSED)
                break
        return received


class ProtocolViolation(Exception):
    """A peer's message breaks the protocol or a limit."""


class GuardedDIMSEProvider(DIMSEServiceProvider):  # type: ignore[misc]
    """Puts messages together from PDUs, within limits.

    An exception here would end pynetdicom's reactor thread and leave the sender waiting. So each
    becomes an abort of the association.
    """

    def __init__(self, assoc: Any, max_bytes: int, on_refusal: RefusalCallback) -> None:
        super().__init__(assoc)
        self._max_bytes = max_bytes
        self._on_refusal = on_refusal

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message, or none within a moment.

        The short wait is for callers that do not block: pynetdicom's would ask again and again.
        """
        if block:
            return super().get_msg(block)
        with suppress(queue.Empty):
            return self.msg_queue.get(timeout=_POLL_SECONDS)
        return None, None

    def receive_primitive(self, primitive: Any) -> None:
        """Take the next fragment of a message (PS3.8 annex E)."""
        try:
            self._check_limits()
            super().receive_primitive(primitive)
        except Exception:
            # The error's message is not logged: it may quote what was sent.
            self.discard_incoming()
            self._on_refusal(self.assoc, RefusalReason.BROKEN_MESSAGE)
            self.dul.event_queue.put(_UNRECOGNIZED_PDU)

    def file_within_limits(self) -> IncomingFile | None:
        """The file of the data set that is coming in; None where there is none or it is endless."""
        file = self._incoming_file()
        return file if file and not self._is_endless(file) else None

    def discard_incoming(self) -> None:
        """Remove the file of an object that will not be completed. Runs in the reactor's thread."""
        if file := self._incoming_file():
            file.discard()

    def _incoming_file(self) -> IncomingFile | None:
        file = getattr(self.message, "_data_set_file", None)
        return file if isinstance(file, IncomingFile) else None

    def _is_endless(self, file: IncomingFile) -> bool:
        # The rest of an object that is too large is read and dropped, so that its sender gets an
        # answer; but not without end.
        return file.size > 2 * self._max_bytes

    def _check_limits(self) -> None:
        if self.msg_queue.qsize() > MAX_WAITING_MESSAGES:
            raise ProtocolViolation("requests that do not wait for answers")
        if self.message is None:
            return
        file = self._incoming_file()
        if file is None:
            held_bytes = self.message.encoded_command_set.tell() + self.message.data_set.tell()
            if held_bytes > MAX_MESSAGE_BYTES:
                raise ProtocolViolation("a message without end")
        elif self._is_endless(file):
            raise ProtocolViolation("an object without end")


class GuardedRequestHandler(RequestHandler):  # type: ignore[misc]
    """Handles a new connection: makes an association with our socket and providers."""

    server: GuardedServer

    def _create_association(self) -> Any:
        association = super()._create_association()
        server = self.server
        request, place = server.admitted.pop(self.request)
        association.dul = GuardedDULProvider(association)
        # These set the timers of the new provider.
        association.acse_timeout = self.ae.acse_timeout
        association.network_timeout = self.ae.network_timeout
        association.set_socket(
            GuardedSocket(
                association, self.request, server.idle_seconds, server.on_refusal, request
            )
        )
        association.dimse = GuardedDIMSEProvider(association, server.max_bytes, server.on_refusal)
        place.association = association
        run = association.run

        def run_and_release() -> None:
            try:
                run()
            finally:
                server.admission.release(place)

        association.run = run_and_release
        return association


class GuardedServer(ThreadedAssociationServer):  # type: ignore[misc]
    """Accepts connections; each that is admitted becomes an association with a thread.

    Args:
        folder: where objects are written as they come in, on the blob volume (kept by a link).
        max_bytes: the largest object that is taken.
        make_admission: makes the admission, from the function that makes an association.
        idle_seconds: how long a peer may be silent.
        has_room: whether the disk has room for another object.
        on_refusal: called for each association that is ended for breaking a limit.
        shared: whether other processes may listen on the same port.
    """

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        *args: Any,
        folder: Path,
        max_bytes: int,
        make_admission: Callable[[Callable[[WaitingConnection, Place], None]], Admission],
        idle_seconds: float,
        has_room: Callable[[], bool],
        on_refusal: RefusalCallback,
        shared: bool = False,
        **pynetdicom_options: Any,
    ) -> None:
        self._shared = shared
        self.max_bytes = max_bytes
        self.idle_seconds = idle_seconds
        self.on_refusal = on_refusal
        self.admitted: dict[Any, tuple[bytes, Place]] = {}
        """The request and the place of connections whose association is being made."""
        self.admission = make_admission(self._start_association)
        self.writers = ThreadPoolExecutor(_WRITER_THREADS, thread_name_prefix="writer")
        super().__init__(*args, request_handler=GuardedRequestHandler, **pynetdicom_options)
        receive_into(folder, max_bytes, has_room, self.writers)

    def server_bind(self) -> None:
        """Bind the port; where it is shared, the system spreads connections over the listeners."""
        if self._shared:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a new connection to the admission; it costs no thread until it has a place."""
        self.admission.add(request, client_address)

    def shutdown(self) -> None:
        """Accept nothing new."""
        super().shutdown()
        self.admission.stop()

    def _start_association(self, waiting: WaitingConnection, place: Place) -> None:
        """Make an association of a connection that has a place, in a thread of its own."""
        self.admitted[waiting.socket] = (bytes(waiting.received), place)
        super().process_request(waiting.socket, waiting.client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Make the association; a place whose association cannot be made is free again."""
        super().process_request_thread(request, client_address)
        if left := self.admitted.pop(request, None):
            self.admission.release(left[1])
