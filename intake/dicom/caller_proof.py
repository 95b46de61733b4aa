"""Whether a sender is who its AE title says: by its address, or by its certificate over TLS.

An AE title proves nothing, for a sender writes what it likes. So a title that the settings tie to
addresses or certificates is believed only from there. Any other title is believed from this machine
alone: no packet with a loopback address comes from the network (RFC 1122 section 3.2.1.3 (g), RFC
4291 section 2.5.3), so its sender runs here, and whoever may run programs here is trusted with
more than an order of work. A forwarder on this machine undoes that, so a site that has one sets
`NIGHTDRAFT_UNPROVEN_CALLERS=doubt`. Only a sender that is believed makes a study urgent, by its
title or by a header. Its objects are taken in either case.
"""

from __future__ import annotations

import ipaddress
import threading
import time

from records.errors import SettingsError
from records.settings import Settings
from records.telemetry import logger
from records.tls.certificates import PeerCertificate, pin_of

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
        self._others = settings.unproven_callers
        self._is_local = _is_loopback(settings.listen_host)
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

    def claimable(self) -> list[str]:
        """The titles with an urgent priority that any sender may claim."""
        return self._untied() if self._others == "believe" else []

    def ignored(self) -> list[str]:
        """The titles whose urgent priority counts from no other machine, or from nowhere.

        Nothing is ignored where only this machine can reach the listener and may claim titles.
        """
        if self._others == "believe" or (self._others == "local" and self._is_local):
            return []
        return self._untied()

    def _untied(self) -> list[str]:
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
            return self._others == "believe" or (self._others == "local" and _is_loopback(address))
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
    host = _read_address(address)
    return host is not None and any(host in network for network in networks or ())


def _is_loopback(address: str) -> bool:
    host = _read_address(address)
    return host is not None and host.is_loopback


def _read_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address; None where it is none. IPv4 within IPv6 (RFC 4291 section 2.5.5.2) is IPv4."""
    try:
        return ipaddress.ip_address(address.removeprefix("::ffff:"))
    except ValueError:
        return None
