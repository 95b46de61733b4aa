"""Who may speak to the pages while there is no login, and the headers on every answer.

Knows Host, Origin and sizes; knows no paths' meaning, no studies and no rows.

The pages bind to loopback, but a browser on this machine also runs other people's pages. So a name
in the Host header must be one of ours (DNS rebinding brings a stranger's name to our address), and
what changes something must come from our own pages (cross-site forms).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import answer

MAX_BODY = 65536
"""Bytes of a request's body. The longest that is asked for is a decision with its note."""

OPEN_TO_PROBES = ("/healthz", "/readyz", "/metrics")
"""Paths that tell nothing of patients: probes call them by whatever name they know."""

SAFETY = {
    # Only our own files: no inline script, so text from a film's header can never run.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # A shared reading-room PC must not keep patients in its cache.
    "cache-control": "no-store",
}


class Door:
    """ASGI middleware: refuses strangers, limits bodies, adds the safety headers.

    names: host names besides localhost that are ours. Addresses (127.0.0.1, 10.0.0.5) are always
    let in: rebinding needs a name.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self.app = app
        self.names = frozenset({"localhost", *(name.casefold() for name in names)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or pass on with the headers added to whatever comes back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFETY.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self.app)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        path, headers = request.url.path, request.headers
        if path not in OPEN_TO_PROBES and not self._is_ours(headers.get("host", "")):
            return answer(
                request,
                421,
                "The pages are not reachable by this name",
                "Use localhost or the machine's address, or add the name to "
                "NIGHTDRAFT_SERVE_NAMES.",
            )
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return None
        if not _same_origin(headers):
            return answer(
                request,
                403,
                "This request comes from another site, so nothing was changed",
                "Decide on Nightdraft's own pages.",
            )
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers or (length and not length.isdigit()):
            return answer(
                request, 411, "The request does not say its length", "Send a Content-Length."
            )
        if int(length or 0) > MAX_BODY:
            return answer(
                request,
                413,
                "The request is too long, so nothing was changed",
                f"Send {MAX_BODY} bytes at most.",
            )
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _same_origin(headers: Headers) -> bool:
    """Whether a change comes from our own page, or from a program that is no browser.

    Browsers say Sec-Fetch-Site on loopback and https, and Origin with every form that is posted;
    programs say neither.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    return urlsplit(origin).netloc.casefold() == headers.get("host", "").casefold()
