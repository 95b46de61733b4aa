"""A proxy between a client and a server that can swallow all bytes, as a broken network does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_Address = tuple[str, int] | str


class ByteProxy:
    """Forwards connections to a server until `swallow` is called.

    Args:
        target: The server's address: host and port, or the path of a Unix socket.
        listen: The proxy's own address, of the same kind.
    """

    def __init__(self, target: _Address, listen: _Address) -> None:
        self._target = target
        self._forwards = threading.Event()
        self._forwards.set()
        self._ended = False
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.url = ""
        """The server's URL over this proxy, where whoever made the proxy gives it."""
        self.first_bytes: list[bytes] = []
        """What each connection began with."""
        if isinstance(listen, str):
            Path(listen).unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX if isinstance(listen, str) else socket.AF_INET)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind(listen)
        self._server.listen(50)
        self.address = self._server.getsockname()

    def __enter__(self) -> ByteProxy:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        self._forwards.set()
        for sock in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in (self._server, *self._sockets):
            sock.close()

    def swallow(self) -> None:
        """From now on take connections and bytes, and answer nothing; what is open stays open."""
        self._forwards.clear()

    def forward(self) -> None:
        """Forward again."""
        self._forwards.set()

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._sockets.append(client)
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        self._forwards.wait()
        if self._ended:
            return
        server = socket.socket(client.family)
        self._sockets.append(server)
        with contextlib.suppress(OSError):
            server.connect(self._target)
            self._start(self._pump, server, client)
            first = client.recv(65536)
            self.first_bytes.append(first)
            server.sendall(first)
            self._pump(client, server)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._forwards.wait()
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
