"""Decides which names and web pages may call at all, and puts headers on every answer.

The pages bind to loopback, but a browser on this machine also runs other people's pages. So a name
in the Host header must be one of ours (DNS rebinding brings a stranger's name to our address), and
a request must come from our own pages: one that changes something (cross-site forms), and one that
only reads, for how long it takes says whether a name was found.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.outcomes import is_fhir
from api.problems import problem_response
from api.safety_headers import SAFETY_HEADERS

MAX_BODY_BYTES = 65536
"""Largest body of a request, but of FHIR's. The longest that is needed is an order's texts."""

PROBE_PATHS = ("/healthz", "/readyz", "/metrics")
"""Paths that reveal nothing about patients: probes call them by whatever host name they know. By a
name that is not ours they reveal nothing of this house either (`api.health`)."""


RETURN_PATHS = ("/login/oidc/callback", "/login/oidc/logged-out")
"""Pages to which the identity provider sends browsers back. What they answer depends on a secret in
the address that other sites do not know, or on nothing."""


class RequestGuard:
    """ASGI middleware: refuses requests from strangers, limits bodies, adds the safety headers.

    Args:
        app: the application behind it.
        host_names: host names besides localhost that are ours. Addresses (127.0.0.1, 10.0.0.5) are
            always accepted, because rebinding needs a name.
        fhir_bytes: largest body of a request to the FHIR server.
        hsts_seconds: how long a browser that came by HTTPS calls by HTTPS only; 0 is not said.
    """

    def __init__(
        self,
        app: ASGIApp,
        host_names: Iterable[str] = (),
        fhir_bytes: int = MAX_BODY_BYTES,
        hsts_seconds: int = 0,
    ) -> None:
        self.app = app
        self.fhir_bytes = fhir_bytes
        self.hsts_seconds = hsts_seconds
        self.host_names = frozenset({"localhost", *(name.casefold() for name in host_names)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or pass it on; either answer gets the safety headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFETY_HEADERS.items():
                    headers.setdefault(name, value)
                if self.hsts_seconds and scope["scheme"] == "https":
                    headers.setdefault("strict-transport-security", f"max-age={self.hsts_seconds}")
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self.app)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        path, headers = request.scope["path"], request.headers
        if "transfer-encoding" in headers and "content-length" in headers:
            # Whoever stands before us may have read another end of the body (RFC 9112 section 6.3).
            refusal = problem_response(
                request, 400, "The request says two lengths", "Send a Content-Length alone."
            )
            refusal.headers["connection"] = "close"
            return refusal
        request.state.is_our_host = self._is_our_host(headers.get("host", ""))
        if path not in PROBE_PATHS and not request.state.is_our_host:
            return problem_response(
                request,
                421,
                "The pages are not reachable by this name",
                "Use localhost or the machine's address, or add the name to "
                "NIGHTDRAFT_SERVE_NAMES.",
            )
        if request.method in ("GET", "HEAD", "OPTIONS"):
            if path in PROBE_PATHS or not _is_from_another_site(request):
                return None
            return problem_response(
                request,
                403,
                "This request comes from another site, so nothing is answered",
                "Open Nightdraft's start page.",
            )
        if not _same_origin(headers):
            return problem_response(
                request,
                403,
                "This request comes from another site, so nothing was changed",
                "Decide on Nightdraft's own pages.",
            )
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers or (length and not length.isdigit()):
            return problem_response(
                request, 411, "The request does not say its length", "Send a Content-Length."
            )
        most = self.fhir_bytes if is_fhir(path) else MAX_BODY_BYTES
        if int(length or 0) > most:
            return problem_response(
                request,
                413,
                "The request is too long, so nothing was changed",
                f"Send {most} bytes at most.",
            )
        return None

    def _is_our_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.host_names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _is_from_another_site(request: Request) -> bool:
    """Whether another site's page asks for something.

    It cannot read the answer, but it can measure how long that takes: a search for a name that is
    found takes longer. A link to the start page is answered, for it depends on nothing.
    """
    headers = request.headers
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    is_link = (
        headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )
    path = request.scope["path"]
    return not (is_link and (path in RETURN_PATHS or (path == "/" and not request.url.query)))


def _same_origin(headers: Headers) -> bool:
    """Whether a change comes from our own page, or from a program that is no browser.

    Browsers send Sec-Fetch-Site on loopback and https, and Origin with every form that is posted;
    other programs send neither.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    return urlsplit(origin).netloc.casefold() == headers.get("host", "").casefold()
