"""Sends messages to an audit server: syslog over TLS (RFC 5425)."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from records.audit.messages import frame
from records.errors import PartError
from records.settings import Settings
from records.tls.contexts import calling_context
from records.tls.faults import describe_error

DEFAULT_PORT = 6514
"""TCP port of syslog over TLS (RFC 5425, 4.1)."""

SECONDS = 20.0
"""Time for the connection, for each write, and for the other side's end of the session."""


def send(messages: Sequence[bytes], config: Settings) -> None:
    """Send messages over one connection, and wait until the server ends it, too.

    Syslog has no answers. A server that ends the connection in order after our close_notify has
    read all that came before it; one that breaks it off has not. What it loses later RFC 5425
    cannot find out.

    Raises:
        PartError: the server does not answer, is not who it should be, or broke off.
        SettingsError: a certificate or key cannot be read.
    """
    host, port = place(config)
    context = make_context(config)
    try:
        with (
            socket.create_connection((host, port), timeout=SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            for message in messages:
                secured.sendall(frame(message))
            # Some servers, as rsyslog, end the connection without a close_notify of their own.
            with contextlib.suppress(ssl.SSLEOFError):
                secured.unwrap()
    except OSError as error:
        raise PartError(
            f"the audit server {host}:{port} cannot be reached ({describe_error(error)})"
        ) from None


def place(config: Settings) -> tuple[str, int]:
    """Host and port of the audit server."""
    parts = urlsplit(f"//{config.trail_server}")
    return parts.hostname or "", parts.port or DEFAULT_PORT


def make_context(config: Settings) -> ssl.SSLContext:
    """How the audit server's certificate is checked, and ours.

    Raises:
        SettingsError: a certificate or key cannot be used.
    """
    return calling_context(
        config.trail_server_ca_file,
        (
            "NIGHTDRAFT_TRAIL_SERVER_CA_FILE",
            "NIGHTDRAFT_TRAIL_SERVER_CERT_FILE",
            "NIGHTDRAFT_TRAIL_SERVER_KEY_FILE",
        ),
        config.trail_server_cert_file,
        config.trail_server_key_file,
    )
