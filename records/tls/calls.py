"""The TLS of associations that we ask other systems for."""

from __future__ import annotations

import hashlib
import ssl
from typing import Any

from records.tls.contexts import ClientFiles
from records.tls.faults import PinMismatch, describe_error
from records.tls.watched import WatchedContext


class _NotedSocket(ssl.SSLSocket):
    """A connection that says why it failed, and that compares a pinned certificate."""

    attempt: TlsAttempt

    def connect(self, address: Any) -> None:
        try:
            super().connect(address)
        except OSError as error:
            self.attempt.note(error)
            raise

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        pin = self.attempt.pin
        if pin and hashlib.sha256(self.getpeercert(binary_form=True) or b"").hexdigest() != pin:
            raise PinMismatch

    def read(self, *args: Any) -> Any:
        try:
            return super().read(*args)
        except OSError as error:
            # With TLS 1.3 a server refuses our certificate only after our handshake (RFC 8446 4.4).
            self.attempt.note(error)
            raise


class TlsAttempt:
    """Stands for a context in pynetdicom's `tls_args`, for one association.

    Attributes:
        pin: as `ClientFiles.pin`.
        problem: why there is no connection, as `describe_error` says it; "" while there is none.
    """

    def __init__(self, context: ssl.SSLContext, pin: str) -> None:
        self.pin = pin
        self.problem = ""
        self._context = context

    def note(self, error: OSError) -> None:
        """Keep the first error."""
        self.problem = self.problem or describe_error(error)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """As `ssl.SSLContext.wrap_socket`."""
        self._context.sslsocket_class = _NotedSocket
        connection = self._context.wrap_socket(*args, **options)
        assert isinstance(connection, _NotedSocket)
        connection.attempt = self
        return connection


class ClientTls:
    """The TLS of associations that we ask one system for.

    Args:
        files: what is checked, and what we show.
        host: its address.
        server_name: the name that its certificate must have; "" is `host`.
        purpose: as `WatchedContext`.

    Raises:
        SettingsError: a file cannot be used.
    """

    def __init__(self, files: ClientFiles, host: str, server_name: str, purpose: str) -> None:
        self._watched = WatchedContext(files, purpose)
        self._pin = files.pin
        self._name = server_name or host

    def attempt(self) -> tuple[TlsAttempt, str]:
        """`tls_args` of one association (pynetdicom), which says afterwards why there is none."""
        return TlsAttempt(self._watched.current(), self._pin), self._name
