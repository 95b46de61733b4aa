"""Whether a browser on this machine asks, with nothing in between.

Only then does the link of the demonstration log in.
"""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

from records.errors import NotAllowed, SettingsError
from records.settings import Settings, settings

_FORWARDED = ("forwarded", "via", "x-real-ip", "x-original-host", "x-client-ip")
"""Headers that proxies add, besides those that begin with `x-forwarded-` (RFC 7239, RFC 9110
section 7.6.3)."""


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def check_demo_reader(settings: Settings) -> None:
    """Check that the link of the demonstration can be used on this machine alone.

    Raises:
        SettingsError: other machines reach the pages, or may reach them by a proxy.
    """
    if not settings.demo_reader:
        return
    is_alone = is_loopback(settings.serve_host) and not settings.trusted_proxies
    if not is_alone or settings.oidc_issuer:
        raise SettingsError(
            "NIGHTDRAFT_DEMO_READER is for a demonstration on this machine alone: remove it, or "
            "set NIGHTDRAFT_SERVE_HOST=127.0.0.1, no NIGHTDRAFT_TRUSTED_PROXIES and no "
            "NIGHTDRAFT_OIDC_ISSUER"
        )


def is_demo_reader(login: str) -> bool:
    """Whether this account's link logs in at once."""
    return bool(login) and login == settings().demo_reader


def require_direct(request: Request) -> None:
    """Refuse who is not on this machine, or comes by a proxy.

    Raises:
        NotAllowed: the address is another machine's, the browser calls the server by a name of the
            network, or a proxy says that it stands in between.
    """
    names = {name.casefold() for name in request.headers}
    is_forwarded = any(name in _FORWARDED or name.startswith("x-forwarded-") for name in names)
    client = request.client.host if request.client else ""
    is_near = is_loopback(client) and is_loopback(request.url.hostname or "")
    if is_forwarded or not is_near:
        raise NotAllowed(
            "the demonstration's link logs in only in a browser on the machine that runs it, "
            "with no proxy in between"
        )
