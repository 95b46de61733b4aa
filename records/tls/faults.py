"""Why a handshake failed, in words."""

from __future__ import annotations

import ssl
from enum import StrEnum


class PinMismatch(ssl.SSLError):
    """The other side's certificate is not the pinned one."""

    def __init__(self) -> None:
        super().__init__(1, "another certificate than the pinned one")


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
