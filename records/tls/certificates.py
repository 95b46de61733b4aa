"""Certificates: their ends, names and fingerprints."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from records.errors import SettingsError

SOON_DAYS = 30
"""A certificate that ends within so many days is told of."""

_PIN = re.compile(r"[0-9a-f]{64}")


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
