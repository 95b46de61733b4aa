"""The network side of the listener: pynetdicom's server, with limits that pynetdicom 3.0.4 lacks.

pynetdicom reads whatever length a peer declares and buffers it before it has looked at the AE
titles. It waits for ever for the rest of a PDU, its reactor thread dies on a full disk, and it
copies an image five times. Five of its classes are replaced here, each in the methods that matter:

    GuardedServer          makes an association only of a connection that `admission` gave a place
    GuardedRequestHandler  gives each association the three below
    GuardedSocket          checks lengths and times before memory is taken; always closes (in
                           `guarded_socket`, with the same over TLS)
    GuardedDULProvider     moves the fragments of a data set straight from the socket to its file
    GuardedDIMSEProvider   limits what a message may hold; an error aborts the association, not the
                           thread

`incoming_file.IncomingFile` replaces the temporary file that pynetdicom writes a data set to.
"""

from __future__ import annotations

import queue
import socket
import socketserver
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from intake.dicom.admission import Admission, Place, WaitingConnection
from intake.dicom.guarded_socket import GuardedSocket, GuardedTlsSocket, RefusalCallback
from intake.dicom.incoming_file import IncomingFile
from intake.dicom.limits import MAX_MESSAGE_BYTES, MAX_WAITING_MESSAGES, RefusalReason
from intake.dicom.pynetdicom_setup import receive_into
from records.tls.watched import WatchedContext

_DATA_TRANSFER = "Sta6"  # PS3.8 table 9-2
_UNRECOGNIZED_PDU = "Evt19"  # PS3.8 table 9-10: the association is aborted (AA-8)

_CONNECTION_CLOSED = "Evt17"  # the transport connection is closed

_NEXT_FRAGMENT_SECONDS = 0.1
"""How long the next fragment of a data set is waited for before other work gets its turn."""

_POLL_SECONDS = 0.05
"""How long an association's threads wait for something to do before they check their timers."""

_WRITER_THREADS = 8
"""How many blocks, of all incoming objects, are written to the disk at the same time."""


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
            if self._wake_reader in self.socket.wait([self._wake_reader], _POLL_SECONDS):
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
        is_tls = isinstance(self.request, ssl.SSLSocket)
        kind = GuardedTlsSocket if is_tls else GuardedSocket
        association.set_socket(
            kind(association, self.request, server.idle_seconds, server.on_refusal, request)
        )
        association.nightdraft_certificate = place.certificate
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


class TlsPort(socketserver.TCPServer):
    """Accepts connections over TLS on a port of its own, for the admission of a `GuardedServer`.

    Args:
        address: where it listens.
        family: of the address.
        admission: gets the connections.
        tls: for each connection.
        shared: as `GuardedServer`.
    """

    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        family: socket.AddressFamily,
        admission: Admission,
        tls: WatchedContext,
        *,
        shared: bool,
    ) -> None:
        self.address_family = family
        self.allow_reuse_port = shared
        self._admission = admission
        self._tls = tls
        super().__init__(address, socketserver.BaseRequestHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a new connection to the admission, which does its handshake."""
        self._admission.add(request, client_address, self._tls.current())


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
        tls: where it is given, connections on the port begin with a handshake.
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
        tls: WatchedContext | None = None,
        **pynetdicom_options: Any,
    ) -> None:
        self._shared = shared
        self._tls = tls
        self._tls_port: TlsPort | None = None
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
        tls = self._tls.current() if self._tls else None
        self.admission.add(request, client_address, tls)

    def open_tls_port(self, port: int, tls: WatchedContext) -> None:
        """Take associations over TLS on another port, too, until `shutdown`.

        Raises:
            OSError: the port cannot be taken.
        """
        address = (str(self.server_address[0]), port)
        self._tls_port = TlsPort(
            address, self.address_family, self.admission, tls, shared=self._shared
        )

    def serve_tls_port(self) -> None:
        """Accept on the port for TLS until `shutdown`."""
        if self._tls_port:
            self._tls_port.serve_forever(0.1)

    def shutdown(self) -> None:
        """Accept nothing new."""
        super().shutdown()
        if self._tls_port:
            self._tls_port.shutdown()
            self._tls_port.server_close()
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
