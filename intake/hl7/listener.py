"""The HL7 listener: takes messages by MLLP, stores what they say, answers after the commit.

    mllp          frames off the network
    reading       what a message says (header, mapping, rules, field_reader, orders, patients,
                  reports)
    filing        stores it
    answers       acknowledgments

One thread serves the connections, another one stores: whatever has come in while it stored is the
next transaction. Where nothing can be stored, connections are closed without an answer, so that
their senders send again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import queue
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from intake.hl7.answers import Answer, make_acknowledgments, make_batch
from intake.hl7.filing import file_messages
from intake.hl7.mapping import SiteMapping, read_mapping
from intake.hl7.mllp import Frame, FrameReader, make_frame
from intake.hl7.reading import ReadMessage, is_batch, read_frame
from records.database.session import database_time, unit_of_work
from records.errors import PortInUse, SettingsError, safe_text
from records.failpoints import failpoint
from records.garbage_collection import freeze_startup_objects
from records.handshakes import HandshakeDoor, HandshakeOutcome, outcomes
from records.operations.heartbeats import HeartbeatThread
from records.settings import Settings
from records.telemetry import logger
from records.tls.servers import hl7_files
from records.tls.watched import ReloadedContext, WatchedContext

PART = "hl7"

STORED_AT_ONCE = 200
"""Messages that are stored in one transaction, about."""

STOP_SECONDS = 20.0
"""How long messages that have come in may take to be stored and answered at the end."""

_LARGE_BYTES = 100_000
"""A longer frame is read in a thread of its own, so that others do not wait for it."""

_READ_BYTES = 1 << 16
_PAUSE_SECONDS = 1.0
"""Senders try again at once where a connection is closed; for so long the fault is waited for."""


@dataclass
class _Waiting:
    """A frame that is to be stored, and who waits for that."""

    messages: Sequence[ReadMessage]
    stored: asyncio.Future[list[Answer | None] | None]


def run_hl7_listener(settings: Settings, ready: Callable[[int], None] | None = None) -> None:
    """Listen until SIGTERM or SIGINT; messages that have come in are stored and answered first.

    Args:
        settings: Where to listen, and for whom.
        ready: Called with the port once connections are accepted.

    Raises:
        PortInUse: Another program has the port.
        SettingsError: The address, a certificate or the mapping cannot be used.
        DatabaseDown: PostgreSQL does not answer at the start. Later it is waited for.
    """
    asyncio.run(_run(settings, ready))


async def _run(settings: Settings, ready: Callable[[int], None] | None) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    listener = Hl7Listener(settings)
    await listener.start()
    if listener.has_tls:
        # Without TLS it means that the terminal is gone.
        loop.add_signal_handler(signal.SIGHUP, listener.reload_certificates)
    try:
        freeze_startup_objects()
        if ready:
            ready(listener.port)
        await ended.wait()
        logger().info("the HL7 listener is stopping")
    finally:
        await listener.stop()


@dataclass
class Hl7Listener:
    """A listener, running between `start` and `stop`.

    Attributes:
        settings: Where to listen, and for whom.
        port: The TCP port, once it has started.
    """

    settings: Settings
    port: int = 0
    _connections: set[asyncio.Task[Any]] = field(default_factory=set)
    _idle: set[asyncio.Task[Any]] = field(default_factory=set)  # those that wait for bytes
    _waiting: queue.SimpleQueue[_Waiting | None] = field(default_factory=queue.SimpleQueue)
    _counts: dict[str, int] = field(default_factory=lambda: {"messages": 0, "refused": 0})
    _fault: str = ""
    _is_stopping: bool = False

    async def start(self) -> None:
        """Begin to accept connections.

        Raises:
            PortInUse, SettingsError, DatabaseDown: Nothing was started.
        """
        settings = self.settings
        self._mapping: SiteMapping = read_mapping(settings.hl7_mapping)
        self._peers = _networks(settings.hl7_allowed_peers)
        files = hl7_files(settings)
        self._tls = WatchedContext(files, "the HL7 listener") if files else None
        self._door = (
            HandshakeDoor(ReloadedContext(self._tls), may_begin=self._may_send)
            if self._tls
            else None
        )
        with unit_of_work() as session:
            database_time(session)
        self._loop = asyncio.get_running_loop()
        self._server = await self._listen()
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._filer = threading.Thread(target=self._file, name="hl7 filing", daemon=True)
        self._filer.start()
        self._heartbeat = HeartbeatThread(PART, self._facts)
        self._heartbeat.start()
        if not self._peers:
            logger().warning(
                "EVERY address may send HL7 messages: NIGHTDRAFT_HL7_ALLOWED_PEERS is empty. "
                "Name those that may."
            )
        if self._tls is None and not _is_loopback(settings.hl7_host):
            logger().warning("HL7 messages travel unencrypted: NIGHTDRAFT_HL7_CERTIFICATE is empty")
        logger().info("the HL7 listener takes messages", host=settings.hl7_host, port=self.port)

    @property
    def has_tls(self) -> bool:
        """Whether it speaks TLS."""
        return self._tls is not None

    def reload_certificates(self) -> None:
        """Read the certificates again; connections that are open stay open."""
        if self._tls:
            self._tls.reload()

    async def stop(self) -> None:
        """Accept nothing new, store and answer what has come in, and end."""
        self._is_stopping = True
        self._server.close()
        if self._door:
            self._door.end_all()
        for connection in self._idle:
            connection.cancel()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=STOP_SECONDS)
            if late:
                logger().warning("HL7 messages were not answered at the end", count=len(late))
        self._waiting.put(None)
        await asyncio.to_thread(self._filer.join, STOP_SECONDS)
        await asyncio.to_thread(self._heartbeat.stop)
        logger().info("the HL7 listener has ended", count=self._counts["messages"])

    async def _listen(self) -> asyncio.Server:
        host, port = self.settings.hl7_host, self.settings.hl7_port
        loop = self._loop

        def make_protocol() -> asyncio.Protocol:
            reader = asyncio.StreamReader(_READ_BYTES, loop)
            return asyncio.StreamReaderProtocol(reader, self._serve, loop)

        try:
            return await loop.create_server(
                self._door.before(make_protocol) if self._door else make_protocol,
                host,
                port,
                backlog=256,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"another program listens on {host}:{port}; stop it or set NIGHTDRAFT_HL7_PORT"
                ) from None
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise SettingsError(
                    f"NIGHTDRAFT_HL7_HOST: {host} is no address of this machine"
                ) from None
            raise SettingsError(f"cannot listen on {host}:{port} ({error.strerror})") from None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until its end."""
        connection = asyncio.current_task()
        address = str((writer.get_extra_info("peername") or ("unknown",))[0])
        try:
            if self._is_admitted(address) and connection is not None:
                self._connections.add(connection)
                _keep_alive(writer)
                await self._converse(connection, reader, writer, address)
        except (OSError, ssl.SSLError, TimeoutError, asyncio.CancelledError):
            pass  # the peer has gone, was silent for too long, or the listener stops
        finally:
            if connection is not None:
                self._connections.discard(connection)
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), 5)

    def _is_admitted(self, address: str) -> bool:
        if not self._may_send(address):
            return False
        if len(self._connections) >= self.settings.hl7_max_connections:
            logger().warning("an HL7 connection was refused: too many are open", host=address)
            return False
        return not self._is_stopping

    def _may_send(self, address: str) -> bool:
        if self._peers and not _is_in(address, self._peers):
            logger().warning("an HL7 connection was refused: its address may not", host=address)
            return False
        return True

    async def _converse(
        self,
        connection: asyncio.Task[Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: str,
    ) -> None:
        settings = self.settings
        frames = FrameReader(settings.hl7_max_mb * 1_000_000)
        while not self._is_stopping:
            within = frames.is_within_frame
            seconds = settings.hl7_message_seconds if within else settings.hl7_idle_seconds
            try:
                self._idle.add(connection)
                data = await asyncio.wait_for(reader.read(_READ_BYTES), seconds)
            except TimeoutError:
                if within:
                    logger().warning("an HL7 message did not end, and is dropped", host=address)
                return
            finally:
                self._idle.discard(connection)
            if not data:
                if within:
                    logger().warning("an HL7 connection ended within a message", host=address)
                return
            if not await self._answer(list(frames.feed(data)), writer):
                return
            if frames.skipped:
                logger().warning(
                    "bytes outside of HL7 messages were dropped", host=address, bytes=frames.skipped
                )
                frames.skipped = 0

    async def _answer(self, frames: Sequence[Frame], writer: asyncio.StreamWriter) -> bool:
        """Store frames and answer them in order; whether all could be stored."""
        waiting = []
        for frame in frames:
            failpoint("hl7-received")
            messages = await self._read(frame)
            waiting.append(_Waiting(messages, self._loop.create_future()))
            self._waiting.put(waiting[-1])
        for entry, frame in zip(waiting, frames, strict=True):
            answers = await entry.stored
            if answers is None:
                return False
            failpoint("hl7-before-answer")
            for content in _contents(frame, entry.messages, answers):
                writer.write(make_frame(content))
            await asyncio.wait_for(writer.drain(), self.settings.hl7_message_seconds)
            failpoint("hl7-answered")
        return True

    async def _read(self, frame: Frame) -> list[ReadMessage]:
        def read() -> list[ReadMessage]:
            return read_frame(frame.content, self._mapping, is_too_long=frame.is_too_long)

        return await asyncio.to_thread(read) if len(frame.content) > _LARGE_BYTES else read()

    def _file(self) -> None:
        """Store what comes in until the end; runs in a thread of its own."""
        while (entry := self._waiting.get()) is not None:
            entries = [entry]
            is_last = False
            while sum(len(e.messages) for e in entries) < STORED_AT_ONCE:
                try:
                    another = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if another is None:
                    is_last = True
                    break
                entries.append(another)
            self._file_together(entries)
            if is_last:
                return

    def _file_together(self, entries: Sequence[_Waiting]) -> None:
        messages = [message for entry in entries for message in entry.messages]
        answers: list[Answer | None] | None
        try:
            answers = file_messages(messages)
            self._note_fault("")
        except Exception as error:
            answers = None
            self._note_fault(safe_text(error))
            time.sleep(_PAUSE_SECONDS)
        else:
            self._counts["messages"] += len(messages)
            self._counts["refused"] += sum(a is not None and a.error is not None for a in answers)
        start = 0
        for entry in entries:
            end = start + len(entry.messages)
            part = None if answers is None else answers[start:end]
            self._loop.call_soon_threadsafe(_set_result, entry.stored, part)
            start = end

    def _note_fault(self, fault: str) -> None:
        if fault and fault != self._fault:
            logger().error(
                "HL7 messages cannot be stored; their senders must send them again", error=fault
            )
        elif self._fault and not fault:
            logger().info("HL7 messages are stored again")
        self._fault = fault

    def _facts(self) -> dict[str, Any]:
        if self._tls:
            self._tls.current()  # a change is seen although nobody connects
        facts = {"connections": len(self._connections), **self._counts}
        if self._door:
            facts["failed_handshakes"] = outcomes.total() - outcomes[HandshakeOutcome.DONE]
        return facts


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _contents(
    frame: Frame, messages: Sequence[ReadMessage], answers: Sequence[Answer | None]
) -> list[bytes]:
    """The contents of the frames that answer a frame: a batch is answered by a batch."""
    acknowledgments = [
        content
        for message, answer in zip(messages, answers, strict=True)
        if answer is not None
        for content in make_acknowledgments(message.header, answer)
    ]
    if is_batch(frame.content) and acknowledgments:
        return [make_batch(acknowledgments, messages[0].header)]
    return acknowledgments


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(names: Sequence[str]) -> list[_Network]:
    try:
        return [ipaddress.ip_network(name, strict=False) for name in names]
    except ValueError as error:
        raise SettingsError(f"NIGHTDRAFT_HL7_ALLOWED_PEERS: {error}") from None


def _is_in(address: str, networks: Sequence[_Network]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return any((mapped or ip) in network for network in networks)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the kernel find peers that are gone without a word."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
