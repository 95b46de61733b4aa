"""Bytes off the network, with limits that pynetdicom 3.0.4 lacks. Knows no rows and no headers.

pynetdicom reads whatever length a peer declares, buffers it before it has looked at the AE titles,
waits for ever for the rest of a PDU, and lets its reactor thread die on a full disk. Some of its
classes are taken over, each in the methods that matter:

    Server           counts connections before a thread is made for each
    Door             gives each association the three below
    GuardedSocket    lengths and time, before memory is taken; hangs up for good (intake.reading)
    Reactor          lets the middle of a data set pass by (intake.reading)
    GuardedMessages  what a message may hold; errors abort the association instead of the thread
    Incoming         stands in for the temporary file of the data set (intake.incoming)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pynetdicom import dimse_messages
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from intake.incoming import Incoming
from intake.limits import MESSAGE_BYTES, WAITING_MESSAGES, Why
from intake.reading import UNRECOGNIZED_PDU, GuardedSocket, Reactor, Refuse


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
            self.broken()

    @property
    def takes_fragments(self) -> bool:
        """Whether a data set is coming that is written to a file."""
        return isinstance(getattr(self.message, "_data_set_file", None), Incoming)

    def keep(self, fragment: memoryview) -> None:
        """Take the next bytes of the data set.

        Raises:
            BrokenMessage: it is beyond all limits.
        """
        file = self.message._data_set_file
        self._check_size(file)
        file.write(fragment)
        file.flush()

    def broken(self) -> None:
        """Abort the association. The words of the error are not kept: they may quote what came."""
        self.discard_incoming()
        self._refuse(self.assoc, Why.BROKEN_MESSAGE)
        self.dul.event_queue.put(UNRECOGNIZED_PDU)

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
        else:
            self._check_size(file)

    def _check_size(self, file: Incoming) -> None:
        if file.size > 2 * self._max_bytes:
            # Dropping the rest of a large object is a courtesy with an end.
            raise BrokenMessage("an object without end")


class Door(RequestHandler):  # type: ignore[misc]
    """A new connection: an association with our socket and our messages."""

    server: Server

    def _create_association(self) -> Any:
        association = super()._create_association()
        server = self.server
        # With pynetdicom's own reactor goes what its own socket announced there (Evt5).
        association.dul = Reactor(association)
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
