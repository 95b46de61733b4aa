"""Admits connections: reads each A-ASSOCIATE-RQ before an association is made of the connection.

An association costs threads and one of few places. A stranger who connects and stays silent, sends
one byte a second, or asks in a way that nobody can read costs neither: one thread reads all
requests at once, within one deadline each. Only whoever has asked properly gets a place. The same
thread does the handshakes of TLS, a step whenever something has come, within the same deadline.

    known callers     have places of their own: those that the settings name, and those that sent
                      an object before (by address and AE title)
    an address        that is not known gets no more than three quarters of the places
    no place          the request waits a moment; places go to known callers first, then to the
                      address that has fewest
    idle strangers    that hold a place, send nothing and never sent an object make room
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from intake.dicom.association_request import (
    FIXED_BYTES,
    HEADER,
    MalformedRequest,
    check_request,
)
from intake.dicom.known_callers import KnownCallers
from intake.dicom.limits import MAX_ASSOCIATE_BYTES, RefusalReason
from records.errors import safe_text
from records.telemetry import logger
from records.tls.certificates import PeerCertificate
from records.tls.contexts import TLS_RECORD
from records.tls.faults import TlsFault, fault_of

PLACE_WAIT_SECONDS = 3.0
"""How long a request waits for a place before it is rejected for a while."""

IDLE_SECONDS = 5.0
"""After so long without a word a stranger's association makes room where others wait."""

MAX_WAITING = 256
"""Connections whose request is not there yet, or that wait for a place. Over that, the oldest of
the address that has most of them is closed."""

_AFTER_ERROR_SECONDS = 0.1

_A_ASSOCIATE_RQ = 0x01

_REJECTED_FOR_A_WHILE = bytes([3, 0, 0, 0, 0, 4, 0, 2, 3, 2])
"""A-ASSOCIATE-RJ, rejected-transient, local limit exceeded (PS3.8 table 9-21)."""

_ABORTED = bytes([7, 0, 0, 0, 0, 4, 0, 0, 2, 2])
"""A-ABORT by the provider: unexpected PDU (PS3.8 table 9-26)."""

_TLS_REFUSALS = {
    TlsFault.NO_CERTIFICATE: RefusalReason.TLS_NO_CERTIFICATE,
    TlsFault.UNTRUSTED: RefusalReason.TLS_CERTIFICATE_UNTRUSTED,
    TlsFault.SELF_SIGNED: RefusalReason.TLS_CERTIFICATE_UNTRUSTED,
    TlsFault.WRONG_PURPOSE: RefusalReason.TLS_CERTIFICATE_UNTRUSTED,
    TlsFault.WEAK_CERTIFICATE: RefusalReason.TLS_CERTIFICATE_UNTRUSTED,
    TlsFault.EXPIRED: RefusalReason.TLS_CERTIFICATE_EXPIRED,
    TlsFault.NOT_YET_VALID: RefusalReason.TLS_CERTIFICATE_EXPIRED,
    TlsFault.OURS_UNTRUSTED: RefusalReason.TLS_OURS_UNTRUSTED,
    TlsFault.OURS_EXPIRED: RefusalReason.TLS_OURS_UNTRUSTED,
    TlsFault.OURS_REVOKED: RefusalReason.TLS_OURS_UNTRUSTED,
    TlsFault.TOO_OLD: RefusalReason.TLS_TOO_OLD,
    TlsFault.NO_CIPHER: RefusalReason.TLS_TOO_OLD,
}
"""The reason of a refusal by what failed in a handshake; else TLS_FAILED."""


@dataclass(eq=False)
class Place:
    """The place of one association, from its admission to the end of its thread.

    association: pynetdicom's, once its thread is being made.
    certificate: that the caller showed over TLS; None where it showed none.
    """

    address: str
    calling_ae: str
    certificate: PeerCertificate | None = None
    association: Any = None
    must_go: bool = False

    @property
    def caller(self) -> tuple[str, str]:
        """Address and AE title."""
        return self.address, self.calling_ae


@dataclass(eq=False)
class WaitingConnection:
    """A connection that has no place yet.

    Attributes:
        received: what came so far of its A-ASSOCIATE-RQ.
        deadline: when it is closed (monotonic).
        calling_ae: the AE title, once the request is complete; None until then.
        tls: with which the handshake is to be done; None without TLS, and once it is over.
        certificate: that the caller showed over TLS.
    """

    socket: socket.socket
    client_address: Any
    deadline: float
    tls: ssl.SSLContext | None = None
    certificate: PeerCertificate | None = None
    received: bytearray = field(default_factory=bytearray)
    needed: int = HEADER.size
    calling_ae: str | None = None

    @property
    def address(self) -> str:
        """The peer's address."""
        return str(self.client_address[0])

    @property
    def caller(self) -> tuple[str, str]:
        """Address and AE title."""
        return self.address, self.calling_ae or ""

    @property
    def has_begun(self) -> bool:
        """Whether anything came: a connection without a word is a probe."""
        return bool(self.received) or isinstance(self.socket, ssl.SSLSocket)


class Admission:
    """Reads requests in one thread, and gives places.

    Args:
        places: associations at the same time, of anybody.
        known_places: further associations, of known callers.
        known: the known callers.
        request_seconds: the deadline of a whole A-ASSOCIATE-RQ.
        admit: makes an association of a connection, a place and the request that was read.
        is_busy: whether an object of an association is being filed.
        on_refusal: called with address, AE title and reason where a connection gets no place.
    """

    def __init__(
        self,
        places: int,
        known_places: int,
        known: KnownCallers,
        request_seconds: float,
        admit: Callable[[WaitingConnection, Place], None],
        is_busy: Callable[[Any], bool],
        on_refusal: Callable[[str, str, RefusalReason], None],
    ) -> None:
        self.known = known
        self._places = places
        self._known_places = known_places
        self._request_seconds = request_seconds
        self._admit = admit
        self._is_busy = is_busy
        self._on_refusal = on_refusal
        self._lock = threading.Lock()
        self._held: set[Place] = set()
        self._new: list[tuple[socket.socket, Any, ssl.SSLContext | None]] = []
        self._reading: list[WaitingConnection] = []  # in the order of arrival
        self._queued: list[WaitingConnection] = []
        self._selector = selectors.DefaultSelector()
        self._wake_writer, self._wake_reader = socket.socketpair()
        for end in (self._wake_writer, self._wake_reader):
            end.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="admission", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Close what has no place, and end."""
        self._ended = True
        self._wake()
        self._thread.join(10)

    def add(
        self, connection: socket.socket, client_address: Any, tls: ssl.SSLContext | None = None
    ) -> None:
        """Take a new connection, which begins with a handshake where `tls` is given."""
        with self._lock:
            self._new.append((connection, client_address, tls))
        self._wake()

    def release(self, place: Place) -> None:
        """Take a place back: its association's thread has ended."""
        with self._lock:
            self._held.discard(place)
        self._wake()

    def learn(self, address: str, calling_ae: str) -> None:
        """Remember a caller whose object was kept: it has places of its own from now on."""
        with self._lock:
            self.known.learn(address, calling_ae)

    def _wake(self) -> None:
        with suppress(OSError):  # woken already, or over
            self._wake_writer.send(b".")

    # ---- The thread ----

    def _run(self) -> None:
        while not self._ended:
            try:
                self._turn()
            except Exception as error:  # nobody would be admitted any more
                logger().error("a turn of the admission failed", error=safe_text(error))
                time.sleep(_AFTER_ERROR_SECONDS)
        for waiting in [*self._reading, *self._queued]:
            self._close(waiting)
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._seconds_to_wait()):
            if key.data is None:
                with suppress(OSError):
                    self._wake_reader.recv(4096)
            else:
                self._read(key.data)
        with self._lock:
            new, self._new = self._new, []
        for connection, client_address, tls in new:
            self._begin(connection, client_address, tls)
        self._close_late()
        self._give_places()

    def _seconds_to_wait(self) -> float | None:
        waiting = [*self._reading, *self._queued]
        if not waiting:
            return None
        # Who waits for a place looks again each moment whether a stranger has become idle.
        next_deadline = min(connection.deadline for connection in waiting) - time.monotonic()
        return max(0.0, min(next_deadline, 0.2) if self._queued else next_deadline)

    def _begin(
        self, connection: socket.socket, client_address: Any, tls: ssl.SSLContext | None
    ) -> None:
        connection.setblocking(False)
        deadline = time.monotonic() + self._request_seconds
        waiting = WaitingConnection(connection, client_address, deadline, tls)
        self._reading.append(waiting)
        self._selector.register(connection, selectors.EVENT_READ, waiting)
        if len(self._reading) + len(self._queued) > MAX_WAITING:
            self._make_room()
        if waiting in self._reading:
            self._read(waiting)  # its request may be there already

    def _make_room(self) -> None:
        candidates = self._reading or self._queued
        counts = Counter(waiting.address for waiting in candidates)
        busiest, _ = counts.most_common(1)[0]
        oldest = next(waiting for waiting in candidates if waiting.address == busiest)
        self._on_refusal(oldest.address, oldest.calling_ae or "", RefusalReason.TOO_MANY)
        self._close(oldest)

    def _read(self, waiting: WaitingConnection) -> None:
        """Read what has come of a request; queue it where it is complete."""
        try:
            if waiting.calling_ae is not None:
                # Nothing is expected before the answer. It has left, or it breaks the protocol. An
                # SSLSocket has no look ahead of its own: this looks at the bytes below TLS.
                if not socket.socket.recv(waiting.socket, 1, socket.MSG_PEEK):
                    self._close(waiting)
                else:
                    self._selector.unregister(waiting.socket)
                return
            if waiting.tls is not None and not self._shake_hands(waiting, waiting.tls):
                return
            while len(waiting.received) < waiting.needed:
                piece = waiting.socket.recv(waiting.needed - len(waiting.received))
                if not piece:
                    self._close(waiting)  # a probe, or a sender that thought again
                    return
                waiting.received += piece
                if len(waiting.received) == HEADER.size:
                    kind, length = HEADER.unpack(waiting.received)
                    if kind != _A_ASSOCIATE_RQ:
                        is_tls = kind == TLS_RECORD and not isinstance(
                            waiting.socket, ssl.SSLSocket
                        )
                        if is_tls:
                            self._refuse(waiting, RefusalReason.TLS_ON_PLAIN_PORT, b"")
                        else:
                            self._refuse(waiting, RefusalReason.BROKEN_MESSAGE, _ABORTED)
                        return
                    if not FIXED_BYTES <= length + HEADER.size <= MAX_ASSOCIATE_BYTES:
                        self._refuse(waiting, RefusalReason.PDU_TOO_LARGE, _ABORTED)
                        return
                    waiting.needed = HEADER.size + length
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, KeyError, ValueError):
            self._close(waiting)
            return
        try:
            waiting.calling_ae = check_request(bytes(waiting.received))
        except MalformedRequest:
            self._refuse(waiting, RefusalReason.BROKEN_MESSAGE, _ABORTED)
            return
        self._reading.remove(waiting)
        waiting.deadline = time.monotonic() + PLACE_WAIT_SECONDS
        self._queued.append(waiting)

    def _shake_hands(self, waiting: WaitingConnection, tls: ssl.SSLContext) -> bool:
        """Take the next step of a handshake; return whether the handshake is over.

        Raises:
            OSError: the peer has left, or nothing has come yet.
        """
        if not isinstance(waiting.socket, ssl.SSLSocket):
            first = waiting.socket.recv(1, socket.MSG_PEEK)
            if not first:
                self._close(waiting)  # a probe
                return False
            if first[0] != TLS_RECORD:
                self._refuse(waiting, RefusalReason.PLAIN_ON_TLS_PORT, _ABORTED)
                return False
            self._selector.unregister(waiting.socket)
            waiting.socket = tls.wrap_socket(
                waiting.socket, server_side=True, do_handshake_on_connect=False
            )
            self._selector.register(waiting.socket, selectors.EVENT_READ, waiting)
        try:
            waiting.socket.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(waiting.socket, selectors.EVENT_READ, waiting)
            return False
        except ssl.SSLWantWriteError:
            self._selector.modify(waiting.socket, selectors.EVENT_WRITE, waiting)
            return False
        except OSError as error:
            reason = RefusalReason.TLS_FAILED
            if fault := fault_of(error):
                reason = _TLS_REFUSALS.get(fault, reason)
            self._refuse(waiting, reason, b"")
            return False
        self._selector.modify(waiting.socket, selectors.EVENT_READ, waiting)
        waiting.certificate = PeerCertificate.of(waiting.socket)
        waiting.tls = None
        return True

    def _close_late(self) -> None:
        now = time.monotonic()
        for waiting in [one for one in self._reading if one.deadline <= now]:
            if waiting.has_begun:
                self._on_refusal(waiting.address, "", RefusalReason.REQUEST_TOO_SLOW)
            self._close(waiting)
        for waiting in [one for one in self._queued if one.deadline <= now]:
            self._refuse(waiting, RefusalReason.TOO_MANY, _REJECTED_FOR_A_WHILE)

    def _give_places(self) -> None:
        """Admit whoever may have a place, in order; let idle strangers go where one is missing."""
        while self._queued:
            with self._lock:
                held = Counter(place.address for place in self._held)
                # Sorting keeps the order of arrival among equals.
                order = sorted(
                    self._queued,
                    key=lambda one: (one.caller not in self.known, held[one.address]),
                )
                chosen = next((one for one in order if self._has_place(one, held)), None)
                if chosen is None:
                    self._displace_idle(len(self._queued))
                    return
                place = Place(chosen.address, chosen.calling_ae or "", chosen.certificate)
                self._held.add(place)
            self._queued.remove(chosen)
            with suppress(KeyError):
                self._selector.unregister(chosen.socket)
            chosen.socket.setblocking(True)
            try:
                self._admit(chosen, place)
            except Exception:  # no thread could be made
                self.release(place)
                self._refuse(chosen, RefusalReason.TOO_MANY, _REJECTED_FOR_A_WHILE)

    def _has_place(self, waiting: WaitingConnection, held: Counter[str]) -> bool:
        """Whether there is a place for a caller. Called with the lock."""
        if waiting.caller in self.known:
            return len(self._held) < self._places + self._known_places
        # Known callers that use places of their own take none of the others'.
        known_held = sum(place.caller in self.known for place in self._held)
        others = len(self._held) - known_held + max(0, known_held - self._known_places)
        most = max(1, self._places * 3 // 4)
        return others < self._places and (self._places < 4 or held[waiting.address] < most)

    def _displace_idle(self, count: int) -> None:
        """Abort associations of strangers that are idle, as many as wait. Called with the lock."""
        count -= sum(place.must_go for place in self._held)
        for place in self._held:
            if count <= 0:
                return
            is_stranger = place.caller not in self.known
            if is_stranger and not place.must_go and self._is_idle(place.association):
                place.must_go = True
                place.association.abort(block=False)
                count -= 1

    def _refuse(self, waiting: WaitingConnection, reason: RefusalReason, answer: bytes) -> None:
        if answer:
            with suppress(OSError):
                waiting.socket.send(answer)
        self._on_refusal(waiting.address, waiting.calling_ae or "", reason)
        self._close(waiting)

    def _close(self, waiting: WaitingConnection) -> None:
        for waiting_list in (self._reading, self._queued):
            if waiting in waiting_list:
                waiting_list.remove(waiting)
        with suppress(KeyError, ValueError):
            self._selector.unregister(waiting.socket)
        with suppress(OSError):
            waiting.socket.shutdown(socket.SHUT_RDWR)
        waiting.socket.close()

    def _is_idle(self, association: Any) -> bool:
        """Whether an established association has sent nothing for a while."""
        if association is None or not association.is_established or self._is_busy(association):
            return False
        timer = association.dul._idle_timer
        is_silent = timer.timeout is not None and timer.timeout - timer.remaining >= IDLE_SECONDS
        return is_silent and association.dimse.message is None
