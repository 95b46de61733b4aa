"""The rules as contexts of TLS, and the files that a server or a caller reads for one."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from records.errors import SettingsError

CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""Cipher suites of TLS 1.2, as OpenSSL names them (RFC 9325 section 4.2). TLS 1.3 has its own,
all of which are good."""

_CIPHER_LIST = f"{':'.join(CIPHERS)}:@SECLEVEL=2"  # keys of 112 bits at least: RSA 2048, no SHA-1

TLS_RECORD = 0x16
"""First byte of whoever begins with TLS (RFC 8446 section 5.1: ContentType handshake)."""

HANDSHAKE_SECONDS = 10.0
"""Time in which a handshake must have ended where no setting gives another."""

ClientCertificates = Literal["none", "asked", "required"]


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """The files of a server's TLS, in PEM.

    Attributes:
        certificate: its certificate, with the chain.
        key: the private key; "" where it is in the same file.
        client_ca: certificates of the authorities whose clients may connect, or of single clients;
            "" where none is asked for.
        clients: whether a client must show a certificate, or may. One that is shown must be good.
        names: the settings of certificate, key and authorities, as errors name them.
    """

    certificate: str
    key: str
    client_ca: str
    clients: ClientCertificates
    names: tuple[str, str, str]

    def paths(self) -> tuple[str, ...]:
        """The files that there are."""
        return tuple(filter(None, (self.certificate, self.key, self.client_ca)))

    def make_context(self) -> ssl.SSLContext:
        """Read the files.

        Raises:
            SettingsError: one of them cannot be used; the message names its setting.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context)
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_TICKET
        # A client whose authority was taken out of the file must not come back by a ticket.
        context.num_tickets = 0
        _load_own(context, self.certificate, self.key, self.names[:2])
        if self.clients != "none":
            _load_trusted(context, self.client_ca, self.names[2])
            is_required = self.clients == "required"
            context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
        return context


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """How another system's certificate is checked, and the one that we show; files in PEM.

    Attributes:
        ca_file: certificates of authorities that are trusted, or of single systems; "" trusts the
            authorities that this machine trusts.
        certificate: our own, where the other side asks for it; "" is none.
        key: its private key; "" where it is in the same file.
        names: the three settings, as errors name them.
        pin: SHA-256 of the other side's certificate (DER), as `pin_of` returns it. Where it is
            given it alone counts: not the name, the authority or the dates. "" is none.
    """

    ca_file: str
    certificate: str
    key: str
    names: tuple[str, str, str]
    pin: str = ""

    def paths(self) -> tuple[str, ...]:
        """The files that there are."""
        return tuple(filter(None, (self.ca_file, self.certificate, self.key)))

    def make_context(self) -> ssl.SSLContext:
        """Read the files.

        Raises:
            SettingsError: one of them cannot be used; the message names its setting.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _harden(context)
        if self.pin:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # `_NotedSocket` compares the certificate
        elif self.ca_file:
            _load_trusted(context, self.ca_file, self.names[0])
        else:
            context.load_default_certs()
        if self.certificate:
            _load_own(context, self.certificate, self.key, self.names[1:])
        return context


def calling_context(
    ca_file: str, names: tuple[str, str, str], certificate: str = "", key: str = ""
) -> ssl.SSLContext:
    """The TLS of calls to a server whose name is checked: HTTPS, SMTP, syslog.

    Args:
        ca_file: as `ClientFiles.ca_file`.
        names: the settings of authorities, our certificate and its key, as errors name them.
        certificate: our own, where the server asks for it; "" is none.
        key: its private key; "" where it is in the same file.

    Raises:
        SettingsError: a file cannot be used; the message names its setting.
    """
    return ClientFiles(ca_file, certificate, key, names).make_context()


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.set_ciphers(_CIPHER_LIST)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_own(context: ssl.SSLContext, certificate: str, key: str, names: Sequence[str]) -> None:
    try:
        # With a password OpenSSL asks nobody for one at the terminal.
        context.load_cert_chain(certificate, key or None, password="")
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or ""
        if isinstance(error, ssl.SSLError) or not reason:
            reason = "they are no certificate and private key in PEM that belong together"
        raise SettingsError(f"{names[0]} or {names[1]} cannot be used ({reason})") from None


def _load_trusted(context: ssl.SSLContext, file: str, name: str) -> None:
    try:
        context.load_verify_locations(file)
    except OSError as error:
        reason = error.strerror or ""
        if isinstance(error, ssl.SSLError) or not reason:
            reason = "it holds no certificates in PEM"
        raise SettingsError(f"{name}: {file} cannot be used ({reason})") from None
    # A certificate of a single system is trusted, too, whoever gave it: so a device that is taken
    # out of the file is refused, and no revocation list is needed.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
