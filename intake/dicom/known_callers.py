"""Which callers are known: they get places before strangers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

_MAX_KNOWN = 10_000


class KnownCallers:
    """The callers that have places of their own.

    Args:
        named: AE titles and addresses (or networks, as 10.1.0.0/16) of the settings.
    """

    def __init__(self, named: Iterable[str]) -> None:
        self._titles: set[str] = set()
        self._networks = []
        self._learnt: dict[tuple[str, str], None] = {}
        for entry in named:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._titles.add(entry)

    def learn(self, address: str, calling_ae: str) -> None:
        """Remember a caller whose object was kept."""
        self._learnt.pop((address, calling_ae), None)
        if len(self._learnt) >= _MAX_KNOWN:
            self._learnt.pop(next(iter(self._learnt)))
        self._learnt[address, calling_ae] = None

    def __contains__(self, caller: tuple[str, str]) -> bool:
        """Whether a caller, (address, AE title), is known."""
        address, calling_ae = caller
        if caller in self._learnt or calling_ae in self._titles:
            return True
        if not self._networks:
            return False
        try:
            host = ipaddress.ip_address(address.removeprefix("::ffff:"))
        except ValueError:
            return False
        return any(host in network for network in self._networks)
