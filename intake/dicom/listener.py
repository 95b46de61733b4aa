"""The DICOM listener: serves C-ECHO and C-STORE on a port until it is stopped.

    limits          what may come in, and the statuses
    admission       reads association requests, and gives places
    guarded_server  takes bytes off the network
    guarded_socket  a connection with limits, plain or in TLS
    incoming_file   the file of an object while it comes in
    filing          checks an object, stores its bytes and commits its row
    store_handler   acknowledges or refuses a C-STORE
    refusal_log     counts and logs refused associations
    file_keeper     sweeps orphan files, and reads what is stored at night
    orphans         gives files that lost their row their row back, removes half received ones

This module starts and ends the listener, and runs its heartbeat.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from intake.dicom.admission import Admission, Place, WaitingConnection
from intake.dicom.file_keeper import FileKeeper
from intake.dicom.filing import clean_text
from intake.dicom.guarded_server import GuardedServer
from intake.dicom.known_callers import KnownCallers
from intake.dicom.limits import (
    C_STORE_REQUEST,
    STORAGE_CLASSES,
    STORE_STATUSES,
    TRANSFER_SYNTAXES,
    RefusalReason,
)
from intake.dicom.pynetdicom_setup import set_up_pynetdicom
from intake.dicom.refusal_log import RefusalLog
from intake.dicom.store_handler import SUCCESS, StoreHandler, association_id
from records.alarm_kinds import AlarmKind
from records.blobs import Blobs
from records.database.session import database_time, unit_of_work
from records.errors import DiskFull, NightdraftError, PortInUse, SettingsError
from records.garbage_collection import freeze_startup_objects
from records.operations import alarms, callers
from records.operations.heartbeats import HeartbeatThread
from records.settings import Settings
from records.telemetry import logger
from records.tls.servers import listener_files
from records.tls.watched import WatchedContext
from records.tracing import NO_SPAN

PART = "listener"
STOP_SECONDS = 30.0
"""How long unanswered objects may take once the listener is stopping."""
END_SECONDS = 45
"""After so long the process ends in any case, with the stack of each thread on stderr. Nothing is
lost: what was acknowledged is synced and committed."""

ARTIM_SECONDS = 30.0
"""Time in which a connection must request an association (PS3.8 9.1.4)."""


def run_listener(settings: Settings, ready: Callable[[int], None] | None = None) -> None:
    """Listen until SIGTERM or SIGINT; unanswered objects are finished and answered first.

    Args:
        settings: where to listen, and what to accept.
        ready: called with the port once associations are accepted.

    Raises:
        PortInUse: another program has the port.
        SettingsError: the address or an AE title cannot be used.
        DatabaseDown: PostgreSQL does not answer at the start. Later it is waited for.
        DiskFull: there is no room for the data folder.
    """
    with _stop_signals() as wait_for_signal, Listener(settings) as listener:
        freeze_startup_objects()
        if ready:
            ready(listener.port)
        while wait_for_signal() == signal.SIGHUP and listener.reload_certificates():
            pass
        logger().info("the listener is stopping")
        faulthandler.dump_traceback_later(END_SECONDS, exit=True)


@contextmanager
def _stop_signals() -> Iterator[Callable[[], int]]:
    """Yield a function that waits for SIGTERM, SIGINT or SIGHUP, and returns the signal's number.

    Python runs its own signal handlers in the main thread, in the midst of whatever that thread was
    doing. A handler that sets an Event would wait for ever where the main thread was just about to
    wait for that Event and holds its lock. So the C handler writes to a socket.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    previous_fd = signal.set_wakeup_fd(writer.fileno())
    previous_handlers = {
        number: signal.signal(number, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }

    def wait() -> int:
        return reader.recv(1)[0]

    try:
        yield wait
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_fd)
        reader.close()
        writer.close()


class Listener:
    """A listener, running between `start` and `stop`.

    A process has one listener only, because pynetdicom keeps settings globally.
    """

    def __init__(self, settings: Settings) -> None:
        self.port = 0
        self._tls: WatchedContext | None = None
        self._settings = settings
        self._blobs = Blobs(settings.data_dir)
        self._ended = threading.Event()
        self._file_keeper = FileKeeper(self._blobs, settings, self._ended)
        self._refusal_log = RefusalLog()
        self._store_handler = StoreHandler(settings, self._blobs, self._refusal_log, self._ended)
        self._server: GuardedServer | None = None
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        # Associations: with a complete object that is not answered yet; with an answer since the
        # listener began to stop; aborted, so that nothing more of them is filed.
        self._unanswered: set[Any] = set()
        self._answered: set[Any] = set()
        self._cut_off: set[Any] = set()
        self._disk_alarm = False
        self._films_written: dict[str, float] = {}
        self._heartbeat = HeartbeatThread(PART, self._facts, after_beat=self._after_beat)

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to accept associations.

        Raises:
            PortInUse, SettingsError, DatabaseDown, DiskFull: nothing was started.
        """
        settings = self._settings
        self._make_folders()
        files = listener_files(settings)
        self._tls = WatchedContext(files, "the listener") if files else None
        with unit_of_work() as session:
            database_time(session)
        set_up_pynetdicom()
        server = self._server = self._make_server()
        self.port = int(server.server_address[1])
        self._threads = [
            threading.Thread(
                target=server.serve_forever, args=(0.1,), name="listener", daemon=True
            ),
            threading.Thread(target=self._file_keeper.run, name="stored files", daemon=True),
        ]
        if self._tls and settings.listen_plain:
            try:
                with _port_errors(settings, settings.listen_tls_port, "NIGHTDRAFT_LISTEN_TLS_PORT"):
                    server.open_tls_port(settings.listen_tls_port, self._tls)
            except SettingsError:
                server.server_close()
                raise
            self._threads.append(
                threading.Thread(target=server.serve_tls_port, name="listener TLS", daemon=True)
            )
        self._refusal_log.start()
        self._server.admission.start()
        for thread in self._threads:
            thread.start()
        self._heartbeat.start()
        if os.geteuid() == 0:
            logger().warning(
                "the listener runs as root: run it as a user of its own, to whom "
                "NIGHTDRAFT_DATA_DIR belongs"
            )
        if not settings.allowed_callers:
            logger().warning(
                "EVERY calling AE title may send: NIGHTDRAFT_ALLOWED_CALLERS is empty. "
                "Name the devices that may."
            )
        logger().info("the listener takes associations", host=settings.listen_host, port=self.port)
        if self._tls:
            logger().info(
                "the listener takes associations over TLS",
                host=settings.listen_host,
                port=settings.listen_tls_port,
            )
        self._warn_of_unproven_callers()

    def reload_certificates(self) -> bool:
        """Read the certificates again; associations that are open stay open.

        Returns:
            Whether there are any. Without them SIGHUP means that the terminal is gone.
        """
        if self._tls:
            self._tls.reload()
        return self._tls is not None

    def _warn_of_unproven_callers(self) -> None:
        proof = self._store_handler.caller_proof
        if titles := proof.claimable():
            logger().warning(
                "EVERY sender may claim the priority of these AE titles: name their addresses in "
                "NIGHTDRAFT_CALLER_ADDRESSES or their certificates in "
                "NIGHTDRAFT_CALLER_CERTIFICATES",
                calling_ae=", ".join(titles),
            )
        if titles := proof.ignored():
            logger().warning(
                "the priority of these AE titles does NOT count: name their addresses in "
                "NIGHTDRAFT_CALLER_ADDRESSES or their certificates in "
                "NIGHTDRAFT_CALLER_CERTIFICATES",
                calling_ae=", ".join(titles),
            )

    def stop(self) -> None:
        """End: accept nothing new, finish and answer complete objects, abort the rest.

        An object that is cut off was not acknowledged, so its sender still has it.
        """
        server, self._server = self._server, None
        if server is None:
            return
        self._ended.set()
        server.shutdown()
        deadline = time.monotonic() + STOP_SECONDS
        while associations := server.active_associations:
            is_late = time.monotonic() > deadline
            for association in associations:
                if self._cut_off_if_idle(association, is_late):
                    association.abort(block=False)
            if is_late:
                logger().warning(
                    "associations were still open at the end and were aborted",
                    count=len(associations),
                )
                break
            time.sleep(0.02)
        server.writers.shutdown(wait=False)
        for thread in self._threads:
            thread.join(max(1.0, deadline - time.monotonic()))
        self._refusal_log.stop()
        self._heartbeat.stop()
        with suppress(NightdraftError):
            self._write_callers()
        logger().info("the listener has ended", count=self._store_handler.counts.total())

    def _cut_off_if_idle(self, association: Any, is_late: bool) -> bool:
        """Cut an association off where it has no unanswered object, or where it is late.

        Nothing of it is filed from then on. Otherwise an object that is complete in the last moment
        would be kept and not answered.

        Returns:
            Whether the association is cut off.
        """
        with self._lock:
            is_idle = association in self._answered or association.dimse.message is None
            if is_late or (is_idle and association not in self._unanswered):
                self._cut_off.add(association)
                return True
        return False

    def _make_folders(self) -> None:
        try:
            self._blobs.make_folders()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull("there is no room for the data folder") from None
            raise SettingsError(
                f"NIGHTDRAFT_DATA_DIR: {self._settings.data_dir} cannot be written to "
                f"({error.strerror})"
            ) from None

    def _make_server(self) -> GuardedServer:
        settings = self._settings
        try:
            entity = AE(settings.ae_title)
            entity.require_calling_aet = list(settings.allowed_callers)
        except (ValueError, TypeError):
            raise SettingsError(
                "NIGHTDRAFT_AE_TITLE and NIGHTDRAFT_ALLOWED_CALLERS are AE titles: up to 16 "
                "ASCII characters without backslash"
            ) from None
        entity.require_called_aet = settings.require_called_ae
        # `admission` decides before; pynetdicom's own limit would reject known callers.
        entity.maximum_associations = sys.maxsize
        entity.maximum_pdu_size = settings.max_pdu_bytes
        entity.network_timeout = settings.idle_seconds
        entity.acse_timeout = min(ARTIM_SECONDS, settings.idle_seconds)
        entity.dimse_timeout = settings.idle_seconds
        store_handler = self._store_handler
        handlers = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_DIMSE_RECV, self._on_message),
            (evt.EVT_ACCEPTED, store_handler.handle_accepted),
            (evt.EVT_REJECTED, store_handler.handle_rejected),
            (evt.EVT_PDU_SENT, self._on_pdu_sent),
            (evt.EVT_ABORTED, self._on_aborted),
            (evt.EVT_CONN_CLOSE, self._on_closed),
        ]
        # Without a plain port the port for TLS is the only one.
        is_plain = settings.listen_plain or self._tls is None
        name = "NIGHTDRAFT_LISTEN_PORT" if is_plain else "NIGHTDRAFT_LISTEN_TLS_PORT"
        port = settings.listen_port if is_plain else settings.listen_tls_port
        with _port_errors(settings, port, name):
            server: GuardedServer = entity.make_server(
                (settings.listen_host, port),
                contexts=[
                    build_context(Verification),
                    *(build_context(uid, list(TRANSFER_SYNTAXES)) for uid in STORAGE_CLASSES),
                ],
                evt_handlers=handlers,
                server_class=GuardedServer,
                folder=self._blobs.incoming,
                max_bytes=settings.max_instance_mb * 1_000_000,
                make_admission=self._make_admission,
                idle_seconds=settings.idle_seconds,
                has_room=store_handler.has_room,
                on_refusal=store_handler.report_refusal,
                shared=settings.listen_shared,
                tls=None if is_plain else self._tls,
            )
        entity._servers.append(server)  # as AE.start_server does; shutdown() takes it out again
        return server

    def _make_admission(
        self, start_association: Callable[[WaitingConnection, Place], None]
    ) -> Admission:
        settings = self._settings

        def report(address: str, calling_ae: str, reason: RefusalReason) -> None:
            self._refusal_log.add(reason, address, clean_text(calling_ae))

        def is_busy(association: Any) -> bool:
            with self._lock:
                return association in self._unanswered

        return Admission(
            settings.max_associations,
            settings.known_associations,
            KnownCallers(settings.known_callers),
            min(settings.request_seconds, settings.idle_seconds),
            start_association,
            is_busy,
            report,
        )

    # ---- pynetdicom's events ----

    def _on_message(self, event: Any) -> None:
        """A complete message came; its handler runs next, in another thread."""
        if event.message.command_set.CommandField == C_STORE_REQUEST:
            with self._lock:
                self._unanswered.add(event.assoc)
        self._store_handler.handle_message(event)

    def _on_store(self, event: Any) -> Any:
        """Answer a C-STORE, unless its association is cut off."""
        with self._lock:
            is_cut_off = event.assoc in self._cut_off
        if is_cut_off:
            # Nobody gets this status: the association is aborted.
            return STORE_STATUSES[RefusalReason.UNEXPECTED].code
        try:
            response = self._store_handler.handle_store(event)
            if response.Status == SUCCESS and (server := self._server) is not None:
                requestor = event.assoc.requestor
                server.admission.learn(requestor.address, str(requestor.ae_title).strip())
            return response
        finally:
            # Filing may take longer than a peer may be silent. It was not the peer who was slow.
            event.assoc.dul._idle_timer.restart()

    def _on_pdu_sent(self, event: Any) -> None:
        """A PDU was sent. A P-DATA is an answer: we send nothing else as P-DATA."""
        if isinstance(event.pdu, P_DATA_TF):
            with self._lock:
                self._unanswered.discard(event.assoc)
                if self._ended.is_set():
                    self._answered.add(event.assoc)

    def _on_aborted(self, event: Any) -> None:
        title = clean_text(str(event.assoc.requestor.ae_title or ""))
        logger().info(
            "an association was aborted",
            calling_ae=title,
            request_id=association_id(event.assoc),
        )

    def _on_closed(self, event: Any) -> None:
        association = event.assoc
        association.dimse.discard_incoming()
        getattr(association, "nightdraft_span", NO_SPAN).end()
        with self._lock:
            self._unanswered.discard(association)
        if association.requestor.primitive is None:
            # The peer left without asking for an association, as a load balancer's probe does.
            # pynetdicom's thread would hold a place until its timer ends. The timer puts None into
            # the queue; so do we.
            association.dul.to_user_queue.put(None)

    # ---- Heartbeat ----

    def _facts(self) -> dict[str, Any]:
        """What the heartbeat reports about the listener."""
        settings, server = self._settings, self._server
        return {
            "host": settings.listen_host,
            "port": self.port,
            "ae_title": settings.ae_title,
            "everyone_may_send": not settings.allowed_callers,
            "tls_port": settings.listen_tls_port,
            "associations": len(server.active_associations) if server else 0,
            "free_mb": self._blobs.free_mb(),
            **self._store_handler.counts,
        }

    def _after_beat(self) -> None:
        if self._tls:
            self._tls.current()  # a change is seen although nobody connects
        try:
            self._write_callers()
        finally:
            self._check_disk()

    def _write_callers(self) -> None:
        """Write when each caller sent its last film, where that is news."""
        films = self._store_handler.last_films()
        now = time.monotonic()
        news = {ae: now - at for ae, at in films.items() if self._films_written.get(ae) != at}
        if news:
            with unit_of_work() as session:
                callers.record_films(session, news)
        self._films_written = films

    def _check_disk(self) -> None:
        """Warn while the disk is nearly full; keep an alarm open while it is full."""
        settings = self._settings
        free_mb = self._blobs.free_mb()
        if free_mb < settings.disk_warn_mb:
            logger().warning("the data folder's disk is nearly full: make room", free_mb=free_mb)
        is_full = free_mb < settings.disk_stop_mb
        if is_full:
            with unit_of_work() as session:
                alarms.raise_alarm(
                    session,
                    AlarmKind.DISK_FULL,
                    PART,
                    f"C-STORE is answered 0xA700: {free_mb} MB are free, and "
                    f"NIGHTDRAFT_DISK_STOP_MB is {settings.disk_stop_mb}.",
                )
        elif self._disk_alarm or not self._store_handler.counts:
            # The alarm may also be one that an earlier listener left open.
            with unit_of_work() as session:
                alarms.close_alarms(session, PART)
        self._disk_alarm = is_full


@contextmanager
def _port_errors(settings: Settings, port: int, name: str) -> Iterator[None]:
    """Say which setting is wrong where a port cannot be taken.

    Raises:
        PortInUse: another program has the port.
        SettingsError: the address is none of this machine, or the port may not be taken.
    """
    try:
        yield
    except OSError as error:
        address = f"{settings.listen_host}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"another program listens on {address}; stop it or set {name}"
            ) from None
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(
                f"NIGHTDRAFT_LISTEN_HOST: {settings.listen_host} is no address of this machine"
            ) from None
        raise SettingsError(f"cannot listen on {address} ({error.strerror})") from None
