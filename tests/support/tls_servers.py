"""Servers of TLS on loopback, good ones and bad ones, that answer each request with fixed bytes."""

from __future__ import annotations

import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.certificates import Authority

BAD_SERVERS = {
    "expired": "its certificate has expired",
    "not yet valid": "its certificate is not valid yet",
    "foreign": "its certificate is of an authority that is not trusted",
    "another name": "its certificate is for another name",
    "a weak key": "its certificate has a key or a signature that is too weak",
    "TLS 1.1": "it speaks no TLS 1.2 or 1.3",
    "no forward secrecy": "it ended the handshake",
    "no TLS": "it does not speak TLS",
}
"""What is said of each."""


def server_context(kind: str, authority: Authority, other: Authority) -> ssl.SSLContext | None:
    """The TLS of a server on 127.0.0.1; None where it speaks none.

    Args:
        kind: "good", or one of `BAD_SERVERS`.
        authority: whom its client trusts.
        other: whom its client does not trust.
    """
    if kind == "no TLS":
        return None
    issued = {
        "expired": lambda: authority.issue("expired", days=(-9, -1)),
        "not yet valid": lambda: authority.issue("early", days=(1, 9)),
        "foreign": lambda: other.issue("foreign"),
        "another name": lambda: authority.issue("another", names=("pacs.example",)),
        "a weak key": lambda: authority.issue("weak", bits=1024),
        "no forward secrecy": lambda: authority.issue("rsa", bits=2048),
    }.get(kind, lambda: authority.issue("good"))()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(issued.certificate, issued.key)
    if kind == "TLS 1.1":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    elif kind == "no forward secrecy":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-GCM-SHA256:@SECLEVEL=0")
    return context


class FixedServer:
    """Answers each request with the same bytes.

    Attributes:
        port: where it listens, on 127.0.0.1.
        requests: what came after a handshake.
    """

    def __init__(self, answer: bytes, context: ssl.SSLContext | None) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def serve(self) -> None:
        """Serve until the listening socket is closed."""
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                connection.settimeout(10)
                with suppress(OSError), connection:
                    self._serve_one(connection)

    def _serve_one(self, connection: socket.socket) -> None:
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            if request := connection.recv(65536):
                if self._context is not None:
                    self.requests.append(request)
                connection.sendall(self._answer)
                # A request may come in several pieces. A connection that is closed before all of
                # them were read is reset, and its client may never see the answer.
                while connection.recv(65536):
                    pass

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def fixed_server(answer: bytes, context: ssl.SSLContext | None) -> Iterator[FixedServer]:
    """A `FixedServer` for one block."""
    server = FixedServer(answer, context)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def two_authorities(folder: Path) -> tuple[Authority, Authority]:
    """One whom clients trust, and one whom they do not."""
    return Authority(folder), Authority(folder, "other")
