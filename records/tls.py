"""TLS of everything that is served and of every system that is asked: one set of rules.

The rules are BCP 195 (RFC 8996, RFC 9325), which DICOM PS3.15 B.12 and IHE ATNA refer to: TLS 1.2
with the cipher suites of RFC 9325 section 4.2, and TLS 1.3; no compression, no renegotiation, no
session tickets. Certificates are read again when their files change, without a restart: who is
connected stays connected, and the next connection has the new ones.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import ssl
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from records.errors import SettingsError
from records.settings import Settings
from records.telemetry import logger

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

LOOK_SECONDS = 1.0
"""Files of certificates are looked at again no sooner than so long after the last look."""

RENEWAL_SECONDS = 10.0
"""A certificate and its key are two files. For so long after the last change of either, files that
do not belong together are taken for a renewal that is going on, and nothing is logged."""

SOON_DAYS = 30
"""A certificate that ends within so many days is told of."""

ClientCertificates = Literal["none", "asked", "required"]

_PIN = re.compile(r"[0-9a-f]{64}")


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


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """A certificate of ours that this process shows to others.

    Attributes:
        purpose: whose TLS it is, as `WatchedContext` has it.
        ends: when it ends.
        problem: why new files could not be used, where those before stay; "" otherwise.
    """

    purpose: str
    ends: dt.datetime
    problem: str


_watched: weakref.WeakSet[WatchedContext] = weakref.WeakSet()
_watched_lock = threading.Lock()


def shown_certificates() -> list[ShownCertificate]:
    """The certificates of ours that this process shows to others; changed files are read first."""
    with _watched_lock:
        watched = list(_watched)
    for context in watched:
        context.current()
    return [shown for context in watched if (shown := context.shown) is not None]


class WatchedContext:
    """A TLS context that is read again when one of its files changes.

    A change is seen at the next connection, and at the next call of `current`. Files that cannot be
    used change nothing: the context before them stays, and one line is logged.

    Args:
        files: what is read.
        purpose: whose TLS it is, as a log line and an alarm name it.
    """

    def __init__(self, files: ServerFiles | ClientFiles, purpose: str) -> None:
        """Read the files.

        Raises:
            SettingsError: one of them cannot be used.
        """
        self.files = files
        self.problem = ""
        self.purpose = purpose
        self._ends: dt.datetime | None = None
        self._lock = threading.Lock()
        self._stamps = self._look()
        self._context = files.make_context()
        self._looked_at = time.monotonic()
        self._tell_of_end()
        with _watched_lock:
            _watched.add(self)

    @property
    def shown(self) -> ShownCertificate | None:
        """The certificate of ours that is shown now; None where there is none."""
        if self._ends is None:
            return None
        return ShownCertificate(self.purpose, self._ends, self.problem)

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at >= LOOK_SECONDS:
                self._looked_at = now
                stamps = self._look()
                if stamps != self._stamps:
                    self._read(stamps, is_patient=True)
            return self._context

    def reload(self) -> None:
        """Read the files now, whether they have changed or not."""
        with self._lock:
            self._read(self._look(), is_patient=False)

    def _read(self, stamps: tuple[tuple[int, ...], ...], *, is_patient: bool) -> None:
        try:
            self._context = self.files.make_context()
        except SettingsError as error:
            age = time.time() - max((stamp[0] / 1e9 for stamp in stamps if stamp), default=0.0)
            if is_patient and 0 <= age < RENEWAL_SECONDS:
                return  # looked at again in a moment
            if str(error) != self.problem or not is_patient:
                logger().error(
                    f"new certificates of {self.purpose} cannot be used, and those before stay",
                    error=str(error),
                )
            self.problem = str(error)
        else:
            self.problem = ""
            logger().info(f"the certificates of {self.purpose} were read again")
            self._tell_of_end()
        self._stamps = stamps

    def _tell_of_end(self) -> None:
        with suppress(SettingsError):
            if self.files.certificate:
                certificate = CertificateFile.read(self.files.certificate)
                self._ends = certificate.ends
                days = certificate.days_left()
                if days < SOON_DAYS:
                    words = "has ended" if days < 0 else f"ends in {days:.0f} days"
                    logger().warning(f"the certificate of {self.purpose} {words}: renew it")

    def _look(self) -> tuple[tuple[int, ...], ...]:
        """What tells a changed file: times and inode of each, empty where there is none."""
        stamps: list[tuple[int, ...]] = []
        for path in self.files.paths():
            try:
                found = Path(path).stat()
                stamps.append((found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size))
            except OSError:
                stamps.append(())
        return tuple(stamps)


def listener_files(settings: Settings) -> ServerFiles | None:
    """The TLS of the DICOM listener; None where it has no port for TLS.

    Raises:
        SettingsError: settings contradict each other.
    """
    names = (
        "NIGHTDRAFT_LISTEN_CERTIFICATE",
        "NIGHTDRAFT_LISTEN_CERTIFICATE_KEY",
        "NIGHTDRAFT_LISTEN_CLIENT_CA",
    )
    if not settings.listen_tls_port:
        if settings.listen_certificate or not settings.listen_plain:
            name = names[0] if settings.listen_certificate else "NIGHTDRAFT_LISTEN_PLAIN=false"
            raise SettingsError(f"{name} needs NIGHTDRAFT_LISTEN_TLS_PORT, the port for TLS")
        return None
    if not settings.listen_certificate:
        raise SettingsError(f"NIGHTDRAFT_LISTEN_TLS_PORT needs {names[0]}")
    clients = settings.listen_client_certificates
    if bool(settings.listen_client_ca) != (clients != "none"):
        raise SettingsError(
            f"{names[2]} and NIGHTDRAFT_LISTEN_CLIENT_CERTIFICATES belong together: the one says "
            "whose certificates count, the other whether they are `asked` for or `required`"
        )
    return ServerFiles(
        settings.listen_certificate,
        settings.listen_certificate_key,
        settings.listen_client_ca,
        clients,
        names,
    )


def hl7_files(settings: Settings) -> ServerFiles | None:
    """The TLS of the HL7 listener; None where it has no certificate.

    Raises:
        SettingsError: settings contradict each other.
    """
    if not settings.hl7_certificate:
        if settings.hl7_client_ca:
            raise SettingsError("NIGHTDRAFT_HL7_CLIENT_CA needs NIGHTDRAFT_HL7_CERTIFICATE")
        return None
    return ServerFiles(
        settings.hl7_certificate,
        settings.hl7_certificate_key,
        settings.hl7_client_ca,
        "required" if settings.hl7_client_ca else "none",
        (
            "NIGHTDRAFT_HL7_CERTIFICATE",
            "NIGHTDRAFT_HL7_CERTIFICATE_KEY",
            "NIGHTDRAFT_HL7_CLIENT_CA",
        ),
    )


def pages_files(settings: Settings) -> ServerFiles | None:
    """The TLS of the pages and REST; None where they have no certificate.

    Raises:
        SettingsError: settings contradict each other.
    """
    if not settings.serve_certificate:
        if settings.serve_certificate_key:
            raise SettingsError(
                "NIGHTDRAFT_SERVE_CERTIFICATE_KEY needs NIGHTDRAFT_SERVE_CERTIFICATE"
            )
        return None
    return ServerFiles(
        settings.serve_certificate,
        settings.serve_certificate_key,
        "",
        "none",
        ("NIGHTDRAFT_SERVE_CERTIFICATE", "NIGHTDRAFT_SERVE_CERTIFICATE_KEY", ""),
    )


class ReloadedContext(ssl.SSLContext):
    """A context for servers that take one at their start: each connection gets the current one.

    Args:
        watched: the context behind it.
    """

    watched: WatchedContext

    def __new__(cls, watched: WatchedContext) -> ReloadedContext:
        """Make it; what is set on it itself has no effect on any connection."""
        context = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        context.watched = watched
        return context

    def __init__(self, watched: WatchedContext) -> None:
        pass

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """As `ssl.SSLContext.wrap_bio`, of the current context; asyncio calls it."""
        return self.watched.current().wrap_bio(*args, **options)


# ---- Connections that we make ----


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


class PinMismatch(ssl.SSLError):
    """The other side's certificate is not the pinned one."""

    def __init__(self) -> None:
        super().__init__(1, "another certificate than the pinned one")


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


def pin_of(text: str) -> str:
    """The SHA-256 of a certificate as 64 lower hexadecimal digits.

    Args:
        text: as `openssl x509 -fingerprint -sha256` prints it, with or without colons and what
            stands before it.

    Raises:
        ValueError: it is no SHA-256.
    """
    digits = text.rpartition("=")[2].replace(":", "").replace(" ", "").lower()
    digits = digits.removeprefix("sha256")
    if not _PIN.fullmatch(digits):
        raise ValueError(
            "it is no SHA-256 of a certificate: `openssl x509 -noout -fingerprint -sha256 -in "
            "FILE` prints it"
        )
    return digits


# ---- What is said of errors and certificates ----


class TlsFault(StrEnum):
    """Why a handshake failed, as a sentence says it; "it" is the other side."""

    NO_CERTIFICATE = "it shows no certificate"
    UNTRUSTED = "its certificate is of an authority that is not trusted"
    SELF_SIGNED = "its certificate is signed by itself and is not trusted"
    EXPIRED = "its certificate has expired"
    NOT_YET_VALID = "its certificate is not valid yet"
    OTHER_NAME = "its certificate is for another name"
    WRONG_PURPOSE = "its certificate is not meant for this use"
    WEAK_CERTIFICATE = "its certificate has a key or a signature that is too weak"
    NOT_PINNED = "its certificate is not the pinned one"
    TOO_OLD = "it speaks no TLS 1.2 or 1.3"
    NO_CIPHER = "it offers no cipher suite that is allowed"
    NO_TLS = "it does not speak TLS"
    ENDED = "it ended the handshake: it allows none of our cipher suites, or wants a certificate"
    WANTS_CERTIFICATE = "it wants a certificate of ours"
    OURS_UNTRUSTED = "it does not trust our certificate"
    OURS_EXPIRED = "it says that our certificate has expired"
    OURS_REVOKED = "it says that our certificate is revoked"
    NAME_UNKNOWN = "it does not know the name by which we call it"
    HUNG_UP = "it hung up during the handshake: it speaks no TLS there, or refuses ours"


_BY_VERIFY_CODE = {
    9: TlsFault.NOT_YET_VALID,
    10: TlsFault.EXPIRED,
    18: TlsFault.SELF_SIGNED,
    19: TlsFault.UNTRUSTED,
    20: TlsFault.UNTRUSTED,
    21: TlsFault.UNTRUSTED,
    26: TlsFault.WRONG_PURPOSE,
    62: TlsFault.OTHER_NAME,
    64: TlsFault.OTHER_NAME,
    66: TlsFault.WEAK_CERTIFICATE,
    67: TlsFault.WEAK_CERTIFICATE,
    68: TlsFault.WEAK_CERTIFICATE,
}
"""By the codes of OpenSSL's `X509_verify_cert`."""

_BY_REASON = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": TlsFault.NO_CERTIFICATE,
    "UNSUPPORTED_PROTOCOL": TlsFault.TOO_OLD,
    "NO_PROTOCOLS_AVAILABLE": TlsFault.TOO_OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": TlsFault.TOO_OLD,
    "VERSION_TOO_LOW": TlsFault.TOO_OLD,
    "NO_SHARED_CIPHER": TlsFault.NO_CIPHER,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": TlsFault.NO_CIPHER,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": TlsFault.ENDED,
    "WRONG_VERSION_NUMBER": TlsFault.NO_TLS,
    "HTTP_REQUEST": TlsFault.NO_TLS,
    "UNKNOWN_PROTOCOL": TlsFault.NO_TLS,
    "BAD_RECORD_TYPE": TlsFault.NO_TLS,
    "RECORD_LAYER_FAILURE": TlsFault.NO_TLS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": TlsFault.WANTS_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": TlsFault.OURS_UNTRUSTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": TlsFault.OURS_UNTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": TlsFault.OURS_UNTRUSTED,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": TlsFault.OURS_UNTRUSTED,
    "TLSV1_ALERT_ACCESS_DENIED": TlsFault.OURS_UNTRUSTED,
    "TLSV1_ALERT_DECRYPT_ERROR": TlsFault.OURS_UNTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": TlsFault.OURS_EXPIRED,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": TlsFault.OURS_REVOKED,
    "TLSV1_ALERT_UNRECOGNIZED_NAME": TlsFault.NAME_UNKNOWN,
    "TLSV1_UNRECOGNIZED_NAME": TlsFault.NAME_UNKNOWN,
}
"""By the reasons of OpenSSL's errors; alerts are those that the other side sent."""


def fault_of(error: OSError) -> TlsFault | None:
    """Why a handshake failed; None where no fault says it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BY_VERIFY_CODE.get(error.verify_code, TlsFault.UNTRUSTED)
    if isinstance(error, PinMismatch):
        return TlsFault.NOT_PINNED
    if isinstance(error, ssl.SSLError) and error.reason in _BY_REASON:
        return _BY_REASON[error.reason]
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError)):
        return TlsFault.HUNG_UP
    return None


def describe_error(error: OSError) -> str:
    """Why TLS or its connection failed; "it" is the other side. Nothing that it sent is quoted."""
    if fault := fault_of(error):
        return fault.value
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, ssl.SSLError):
        return f"the handshake failed ({(error.reason or 'unknown').lower().replace('_', ' ')})"
    return (error.strerror or type(error).__name__).lower()


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The certificate that a client showed, which was checked.

    Attributes:
        names: its DNS names, addresses and common name, in lower case.
        pin: SHA-256 of its DER form, as `pin_of` returns it.
    """

    names: frozenset[str]
    pin: str

    @classmethod
    def of(cls, connection: ssl.SSLSocket | ssl.SSLObject) -> PeerCertificate | None:
        """The certificate of the other side; None where it showed none."""
        der = connection.getpeercert(binary_form=True)
        if not der or not connection.getpeercert():  # the second is empty where it was not checked
            return None
        certificate = x509.load_der_x509_certificate(der)
        return cls(_names_of(certificate), hashlib.sha256(der).hexdigest())


def _names_of(certificate: x509.Certificate) -> frozenset[str]:
    names: list[str] = []
    with suppress(x509.ExtensionNotFound, ValueError):
        alternative = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        names += alternative.get_values_for_type(x509.DNSName)
        names += map(str, alternative.get_values_for_type(x509.IPAddress))
    with suppress(ValueError):
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        names += [str(one.value) for one in common]
    return frozenset(name.casefold() for name in names)


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A certificate that a file has.

    Attributes:
        ends: when it ends.
        pin: as `PeerCertificate.pin`.
    """

    ends: dt.datetime
    pin: str

    @classmethod
    def read(cls, path: str) -> CertificateFile:
        """The first certificate of a file in PEM.

        Raises:
            SettingsError: it cannot be read.
        """
        try:
            certificate = x509.load_pem_x509_certificates(Path(path).read_bytes())[0]
        except (OSError, ValueError, IndexError):
            raise SettingsError(f"{path} holds no certificate in PEM, or cannot be read") from None
        der = certificate.public_bytes(Encoding.DER)
        return cls(certificate.not_valid_after_utc, hashlib.sha256(der).hexdigest())

    def days_left(self) -> float:
        """Days until it ends; negative where it has."""
        return (self.ends - dt.datetime.now(dt.UTC)) / dt.timedelta(days=1)
