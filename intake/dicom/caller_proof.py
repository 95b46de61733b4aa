"""Whether a sender is who its AE title says: by its address, or by its certificate over TLS.

An AE title proves nothing, for a sender writes what it likes. So a title that the settings tie to
addresses or certificates is believed only from there, and only a title that is believed has an
urgent priority of `NIGHTDRAFT_CALLER_PRIORITIES`. Its objects are taken in either case.
"""

from __future__ import annotations

import ipaddress
import threading
import time

from records.errors import SettingsError
from records.settings import Settings
from records.telemetry import logger
from records.tls import PeerCertificate, pin_of

_LOG_AGAIN_SECONDS = 3600.0
_MAX_REMEMBERED = 1000

_PIN_PREFIX = "sha256:"


class CallerProof:
    """Decides whether calling AE titles are believed.

    Args:
        settings: the listener's.

    Raises:
        SettingsError: a SHA-256 in `NIGHTDRAFT_CALLER_CERTIFICATES` is none.
    """

    def __init__(self, settings: Settings) -> None:
        self._believes_others = settings.unproven_callers == "believe"
        self._addresses = {
            ae: [ipaddress.ip_network(one) for one in written.split()]
            for ae, written in settings.caller_addresses.items()
        }
        self._certificates = {
            ae: frozenset(map(_read_name, written.split()))
            for ae, written in settings.caller_certificates.items()
        }
        self._urgent = {
            ae
            for ae, priority in settings.caller_priorities.items()
            if priority < settings.priority
        }
        self._lock = threading.Lock()
        self._logged_at: dict[tuple[str, str], float] = {}

    def unproven(self) -> list[str]:
        """The titles with an urgent priority that any sender may claim."""
        if not self._believes_others:
            return []
        return sorted(self._urgent - self._addresses.keys() - self._certificates.keys())

    def believes(self, calling_ae: str, address: str, certificate: PeerCertificate | None) -> bool:
        """Whether a sender is believed; where its priority does not count, that is logged hourly.

        Args:
            calling_ae: the title that it says.
            address: its network address.
            certificate: that it showed over TLS, checked; None where it showed none.
        """
        is_believed = self._is_proven(calling_ae, address, certificate)
        if not is_believed and calling_ae in self._urgent and self._is_news(calling_ae, address):
            logger().warning(
                "a sender's priority does not count: neither its address nor its certificate says "
                "that it is who its AE title says",
                calling_ae=calling_ae,
                host=address,
            )
        return is_believed

    def _is_proven(
        self, calling_ae: str, address: str, certificate: PeerCertificate | None
    ) -> bool:
        networks = self._addresses.get(calling_ae)
        names = self._certificates.get(calling_ae)
        if networks is None and names is None:
            return self._believes_others
        if names and certificate and names & {*certificate.names, certificate.pin}:
            return True
        return bool(networks) and _is_in(address, networks)

    def _is_news(self, calling_ae: str, address: str) -> bool:
        now = time.monotonic()
        with self._lock:
            logged_at = self._logged_at.get((calling_ae, address))
            if logged_at is not None and now < logged_at + _LOG_AGAIN_SECONDS:
                return False
            if len(self._logged_at) >= _MAX_REMEMBERED:
                self._logged_at.clear()
            self._logged_at[calling_ae, address] = now
        return True


def _read_name(written: str) -> str:
    """A name as certificates are compared with, or a SHA-256.

    Raises:
        SettingsError: it begins as a SHA-256 and is none.
    """
    name = written.casefold()
    if not name.startswith(_PIN_PREFIX):
        return name
    try:
        return pin_of(name.removeprefix(_PIN_PREFIX))
    except ValueError as error:
        raise SettingsError(f"NIGHTDRAFT_CALLER_CERTIFICATES: {written}: {error}") from None


def _is_in(
    address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] | None
) -> bool:
    try:
        host = ipaddress.ip_address(address.removeprefix("::ffff:"))
    except ValueError:
        return False
    return any(host in network for network in networks or ())
