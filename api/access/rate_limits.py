"""How many requests a minute one account, one token, or one address without either may send.

The counts lie in the memory of this process: they protect it, and a restart begins them anew. How
often a password may be tried is counted in the database (`records.accounts.lockouts`).
"""

from __future__ import annotations

import ipaddress
import math
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from api.access.visitor import Visitor
from records.settings import Settings
from records.states import ActorKind

_IPV6_NETWORK = 64
"""One subscriber has so long a prefix at least, and every address in it (RFC 6177)."""


class RateLimits:
    """Counts requests, each by who sent it.

    Args:
        settings: the limits; 0 is none.
    """

    def __init__(self, settings: Settings) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._of_account = _per_minute(settings.account_requests_per_minute)
        self._of_token = _per_minute(settings.token_requests_per_minute)
        self._of_address = _per_minute(settings.stranger_requests_per_minute)

    def wait_seconds(self, visitor: Visitor | None, address: str) -> int:
        """Count a request; 0 where it may be answered, else after how many seconds the next may.

        Args:
            visitor: who asks; None is a stranger, who is counted by address.
            address: where the request comes from.
        """
        limit, key = self._of_address, f"address {_network_of(address)}"
        if visitor is not None:
            if visitor.actor.kind is ActorKind.NOBODY:
                return 0  # before the first account there is only this machine
            is_program = visitor.actor.kind is ActorKind.PROGRAM
            limit = self._of_token if is_program else self._of_account
            key = f"{visitor.actor.kind} {visitor.actor.id}"
        if limit is None or self._limiter.hit(limit, key):
            return 0
        window = self._limiter.get_window_stats(limit, key)
        return max(1, math.ceil(window.reset_time - time.time()))


def _per_minute(number: int) -> RateLimitItem | None:
    return RateLimitItemPerMinute(number) if number else None


def _network_of(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
