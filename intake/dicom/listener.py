"""The DICOM listener: C-ECHO and C-STORE on a port, until it is told to end.

Knows how it starts, beats, sweeps and ends. What may come in is in `limits`, how bytes are taken in
`receiving`, how they are kept in `filing`, what is answered in `answering`.
"""

from __future__ import annotations

import errno
import faulthandler
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import pydicom.config
from pynetdicom import AE, _config, evt, register_uid
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_context
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import Verification

from intake.dicom.guarded_server import GuardedServer
from intake.dicom.limits import (
    RETIRED_CLASSES,
    STORAGE_CLASSES,
    STORE_STATUSES,
    TRANSFER_SYNTAXES,
    RefusalReason,
)
from intake.dicom.orphans import sweep_orphans
from intake.dicom.store_handler import StoreHandler
from records.blobs import Blobs
from records.database.session import database_time, unit_of_work
from records.errors import DiskFull, PortInUse, SettingsError, safe_text
from records.operations import alarms
from records.operations.heartbeats import HeartbeatThread
from records.settings import Settings
from records.telemetry import logger

PART = "listener"
SWEEP_SECONDS = 3600.0
STOP_SECONDS = 30.0
"""How long the objects in hand may take when the listener is told to end."""
END_SECONDS = 45
"""After so long the process ends all the same, with the stack of each thread on stderr. Nothing is
lost by it: what was acknowledged is synced and committed."""

ARTIM_SECONDS = 30.0
"""Time for a connection to ask for an association (PS3.8 9.1.4)."""

_C_STORE = 0x0001  # (0000,0100) of a C-STORE-RQ, PS3.7 9.3.1.1

_CONNECTIONS_EACH = 2
"""Connections for each association allowed: those over the limit are rejected in words."""


def run_listener(settings: Settings, ready: Callable[[int], None] | None = None) -> None:
    """Listen until SIGTERM or SIGINT; the objects in hand are finished first.

    ready: called with the port once associations are taken.

    Raises:
        PortInUse: another program has the port.
        SettingsError: the address or an AE title cannot be used.
        DatabaseDown: PostgreSQL does not answer at the start; later it is waited for.
    """
    with _signals() as wait_for_one, Listener(settings) as listener:
        if ready:
            ready(listener.port)
        wait_for_one()
        logger().info("the listener was told to end")
        faulthandler.dump_traceback_later(END_SECONDS, exit=True)


@contextmanager
def _signals() -> Iterator[Callable[[], None]]:
    """SIGTERM and SIGINT are waited for by what is given.

    Python's own handlers run in the main thread once that has the interpreter's lock, in the midst
    of whatever it was doing: one that sets an Event would wait for ever where the thread was just
    about to wait for that Event, and holds its lock. So the C handler writes to a socket.
    """
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    before = signal.set_wakeup_fd(wakes.fileno())
    handlers = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)
    }

    def wait() -> None:
        woken.recv(1)

    try:
        yield wait
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        woken.close()
        wakes.close()


class Listener:
    """A listener between `start` and `stop`. One a process: pynetdicom keeps settings globally."""

    def __init__(self, settings: Settings) -> None:
        self.port = 0
        self._settings = settings
        self._blobs = Blobs(settings.data_dir)
        self._ended = threading.Event()
        self._store_handler = StoreHandler(settings, self._blobs, self._ended)
        self._server: GuardedServer | None = None
        self._chores: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._in_hand: set[Any] = set()  # associations with a whole object that is not answered
        self._answered: set[Any] = set()  # those that had an answer since it was told to end
        self._cut_off: set[Any] = set()  # those that are aborted: nothing more is filed of them
        self._disk_alarm = False
        self._heartbeat = HeartbeatThread(PART, self._facts, after_beat=self._check_disk)

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
        """Take associations.

        Raises:
            PortInUse, SettingsError, DatabaseDown, DiskFull: nothing was started.
        """
        settings = self._settings
        self._make_folders()
        with unit_of_work() as session:
            database_time(session)
        _set_up_pynetdicom()
        self._server = self._make_server()
        self.port = int(self._server.server_address[1])
        serving = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True
        )
        self._chores = [
            serving,
            threading.Thread(target=self._every, args=(SWEEP_SECONDS, self._sweep), daemon=True),
        ]
        for chore in self._chores:
            chore.start()
        self._heartbeat.start()
        if not settings.allowed_callers:
            logger().warning(
                "EVERY calling AE title may send: NIGHTDRAFT_ALLOWED_CALLERS is empty. "
                "Name the devices that may."
            )
        logger().info("the listener takes associations", host=settings.listen_host, port=self.port)

    def stop(self) -> None:
        """End: no new associations, the objects in hand are finished and answered, others aborted.

        An object that is cut off was not acknowledged; its sender has it still.
        """
        server, self._server = self._server, None
        if server is None:
            return
        self._ended.set()
        server.shutdown()
        until = time.monotonic() + STOP_SECONDS
        while associations := server.active_associations:
            late = time.monotonic() > until
            for association in associations:
                if self._may_cut_off(association, late):
                    association.abort(block=False)
            if late:
                break
            time.sleep(0.02)
        server.writers.shutdown(wait=False)
        for chore in self._chores:
            chore.join(max(1.0, until - time.monotonic()))
        self._heartbeat.stop()
        logger().info("the listener has ended", count=self._store_handler.counts.total())

    def _may_cut_off(self, association: Any, late: bool) -> bool:
        """Whether an association has nothing in hand; if so, nothing of it is filed from now on.

        Without this an object that comes whole in the last moment would be kept and not answered.
        """
        with self._lock:
            idle = association in self._answered or association.dimse.message is None
            if late or (idle and association not in self._in_hand):
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
        entity.maximum_associations = settings.max_associations
        entity.maximum_pdu_size = settings.max_pdu_bytes
        entity.network_timeout = settings.idle_seconds
        entity.acse_timeout = min(ARTIM_SECONDS, settings.idle_seconds)
        entity.dimse_timeout = settings.idle_seconds
        store_handler = self._store_handler
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_DIMSE_RECV, self._received),
            (evt.EVT_ACCEPTED, store_handler.handle_accepted),
            (evt.EVT_REJECTED, store_handler.handle_rejected),
            (evt.EVT_PDU_SENT, self._sent),
            (evt.EVT_ABORTED, self._aborted),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]
        try:
            server: GuardedServer = entity.make_server(
                (settings.listen_host, settings.listen_port),
                contexts=[
                    build_context(Verification),
                    *(build_context(uid, list(TRANSFER_SYNTAXES)) for uid in STORAGE_CLASSES),
                ],
                evt_handlers=handlers,
                server_class=GuardedServer,
                folder=self._blobs.incoming,
                max_bytes=settings.max_instance_mb * 1_000_000,
                max_connections=settings.max_associations * _CONNECTIONS_EACH,
                idle_seconds=settings.idle_seconds,
                has_room=store_handler.has_room,
                on_refusal=store_handler.report_refusal,
                shared=settings.listen_shared,
            )
        except OSError as error:
            where = f"{settings.listen_host}:{settings.listen_port}"
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"another program listens on {where}; stop it or set NIGHTDRAFT_LISTEN_PORT"
                ) from None
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise SettingsError(
                    f"NIGHTDRAFT_LISTEN_HOST: {settings.listen_host} is no address of this machine"
                ) from None
            raise SettingsError(f"cannot listen on {where} ({error.strerror})") from None
        entity._servers.append(server)  # as AE.start_server does; shutdown() takes it out again
        return server

    # ---- What pynetdicom tells ----

    def _received(self, event: Any) -> None:
        """A whole message is there; its handler comes next, in another thread."""
        if event.message.command_set.CommandField == _C_STORE:
            with self._lock:
                self._in_hand.add(event.assoc)
        self._store_handler.handle_message(event)

    def _store(self, event: Any) -> Any:
        with self._lock:
            cut_off = event.assoc in self._cut_off
        if cut_off:
            return STORE_STATUSES[
                RefusalReason.UNEXPECTED
            ].code  # for nobody: the association is aborted
        try:
            return self._store_handler.handle_store(event)
        finally:
            # Filing may have taken longer than a silent peer may be; it was us who was slow.
            event.assoc.dul._idle_timer.restart()

    def _sent(self, event: Any) -> None:
        """An answer went out (nothing else that we send is a P-DATA)."""
        if isinstance(event.pdu, P_DATA_TF):
            with self._lock:
                self._in_hand.discard(event.assoc)
                if self._ended.is_set():
                    self._answered.add(event.assoc)

    def _aborted(self, event: Any) -> None:
        title = str(event.assoc.requestor.ae_title or "").strip()
        logger().info("an association was aborted", calling_ae=title)

    def _closed(self, event: Any) -> None:
        association = event.assoc
        association.dimse.discard_incoming()
        with self._lock:
            self._in_hand.discard(association)
        if association.requestor.primitive is None:
            # Gone without asking for an association (a load balancer's probe): pynetdicom's thread
            # would hold a place until its timer ends. Nothing in the queue is what the timer gives.
            association.dul.to_user_queue.put(None)

    # ---- What it does meanwhile ----

    def _every(self, seconds: float, chore: Callable[[], None]) -> None:
        """Do a chore now and again; what fails is logged and done again the next time."""
        while True:
            try:
                chore()
            except Exception as error:
                logger().warning("a chore of the listener failed", error=safe_text(error))
            if self._ended.wait(seconds):
                return

    def _facts(self) -> dict[str, Any]:
        """What the listener's heartbeat tells of it."""
        settings, server = self._settings, self._server
        return {
            "host": settings.listen_host,
            "port": self.port,
            "ae_title": settings.ae_title,
            "everyone_may_send": not settings.allowed_callers,
            "associations": len(server.active_associations) if server else 0,
            "free_mb": self._blobs.free_mb(),
            **self._store_handler.counts,
        }

    def _check_disk(self) -> None:
        """Warn of a disk that fills up; open an alarm once it is full, close it when it is not."""
        settings = self._settings
        free_mb = self._blobs.free_mb()
        if free_mb < settings.disk_warn_mb:
            logger().warning(
                "little room is left on the data folder's disk: make room", free_mb=free_mb
            )
        full = free_mb < settings.disk_stop_mb
        if full:
            with unit_of_work() as session:
                alarms.raise_alarm(
                    session,
                    PART,
                    f"C-STORE is answered 0xA700: {free_mb} MB are free, and "
                    f"NIGHTDRAFT_DISK_STOP_MB is {settings.disk_stop_mb}. Make room; "
                    "receiving goes on by itself.",
                )
        elif self._disk_alarm or not self._store_handler.counts:
            # Also one that a listener left behind which ended meanwhile.
            with unit_of_work() as session:
                alarms.close_alarms(session, PART)
        self._disk_alarm = full

    def _sweep(self) -> None:
        swept = sweep_orphans(self._blobs, self._settings.orphan_hours)
        if swept.incoming or swept.instances:
            logger().info("orphan files were removed", count=swept.incoming + swept.instances)
        if swept.not_removed:
            logger().error("too many files have no row: none was removed", count=swept.not_removed)


def _set_up_pynetdicom() -> None:
    """Pynetdicom's and pydicom's settings are global: here they are, all together."""
    _config.STORE_RECV_CHUNKED_DATASET = True
    _config.LOG_HANDLER_LEVEL = "none"  # its own log lines at each PDU print data sets
    # UIDs are checked where a refusal can be answered and seen; pynetdicom would abort.
    _config.VALIDATORS["UI"] = lambda value: (isinstance(value, str), "must be str")
    # Its errors and pydicom's warnings quote what was sent. `store_handler` logs what matters.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    for uid in RETIRED_CLASSES:
        register_uid(uid, f"Retired_{uid.replace('.', '_')}", StorageServiceClass)
    threading.excepthook = _tell_of_thread


def _tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    """A thread of pynetdicom's died; Python's own hook prints the error's words."""
    if failed.exc_value is not None:
        logger().error("a thread of the listener died", error=safe_text(failed.exc_value))
