"""Sends messages to an audit server: syslog over TLS (RFC 5425)."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

from records.audit.messages import frame
from records.errors import PartError, SettingsError
from records.settings import Settings

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
    try:
        context = make_context(config)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"a certificate for the audit server cannot be used ({type(error).__name__}): correct "
            "NIGHTDRAFT_TRAIL_SERVER_CA_FILE, _CERT_FILE and _KEY_FILE"
        ) from None
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
    except ssl.SSLCertVerificationError as error:
        raise PartError(
            f"the certificate of the audit server {host}:{port} is not trusted "
            f"({error.verify_message})"
        ) from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise PartError(f"the audit server {host}:{port} cannot be reached ({reason})") from None


def place(config: Settings) -> tuple[str, int]:
    """Host and port of the audit server."""
    parts = urlsplit(f"//{config.trail_server}")
    return parts.hostname or "", parts.port or DEFAULT_PORT


def make_context(config: Settings) -> ssl.SSLContext:
    """TLS 1.2 or newer, with the server's certificate and name checked."""
    context = ssl.create_default_context(cafile=config.trail_server_ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.trail_server_cert_file:
        context.load_cert_chain(config.trail_server_cert_file, config.trail_server_key_file or None)
    return context
