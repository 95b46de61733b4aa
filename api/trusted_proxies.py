"""Who called, where proxies stand before the pages.

Anybody can write `X-Forwarded-For`. So it is believed, and `X-Forwarded-Proto` with it, only from
addresses that a setting names: then a request's scheme is the browser's, and its client is the
first address from the right that is no proxy. `Forwarded`, `X-Forwarded-Host` and `X-Real-IP` are
never read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_PEER = "nightdraft.peer"


class TrustedProxies:
    """ASGI middleware: sets scheme and client of a request that a trusted proxy passes on.

    Args:
        app: the application behind it.
        proxies: addresses and networks of the proxies.
    """

    def __init__(self, app: ASGIApp, proxies: Iterable[str]) -> None:
        checked: Any = _OnlyAddresses(app)
        self._headers = ProxyHeadersMiddleware(checked, trusted_hosts=list(proxies))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        client = scope.get("client")
        if client and (mapped := _as_ipv4(client[0])):
            scope["client"] = (mapped, client[1])
        scope[_PEER] = scope.get("client")
        call: Any = self._headers
        await call(scope, receive, send)


class _OnlyAddresses:
    """Takes a client that is no address back: it is the proxy then, as far as is known."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer, client = scope.pop(_PEER), scope.get("client")
        if client != peer and client is not None:
            try:
                scope["client"] = (str(ipaddress.ip_address(client[0])), client[1])
            except ValueError:
                scope["client"] = peer
        await self._app(scope, receive, send)


def _as_ipv4(address: str) -> str:
    """The IPv4 address that a socket of IPv6 writes as ::ffff:10.1.2.3; "" for any other."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped) if mapped else ""
