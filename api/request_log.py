"""One log line for each request, and the id by which all lines of a request are found.

An address holds search words and study UIDs, so a line names the route and never the address. A
caller's own id is taken only where it cannot be a patient's number: W3C's `traceparent`, and an
X-Request-ID that is a UUID or 32 hexadecimal digits.
"""

from __future__ import annotations

import re
import time
from typing import Any
from uuid import UUID, uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from records.telemetry import collect_studies, log_context, logger
from records.tracing import NO_SPAN, begin, is_on

REQUEST_ID_HEADER = "x-request-id"

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
"""W3C Trace Context, 3.2: version, trace id, id of the caller's span, flags, perhaps more."""

_PROBES = ("/healthz", "/readyz", "/metrics", "/static")
"""Paths that are called every few seconds, or with each page: logged at `debug`."""


class RequestLog:
    """ASGI middleware: gives each request its ids, returns X-Request-ID, and logs the answer.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log method, route, status and seconds of its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get(REQUEST_ID_HEADER, ""))
        caller = read_traceparent(headers.get("traceparent", ""))
        trace_id = caller[0] or UUID(request_id).hex
        span = NO_SPAN
        if is_on() and not scope["path"].startswith(_PROBES):
            span = begin(scope["method"], UUID(request_id), is_first=True, caller=caller)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500  # of an error that nobody answered, and that the server answers so
        started = time.monotonic()

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        with log_context(request_id=request_id, trace_id=trace_id), collect_studies() as studies:
            try:
                await self.app(scope, receive, with_id)
            finally:
                if len(studies) == 1:
                    span.link(studies[0])
                problem = "the server failed" if status >= 500 else ""
                span.note(problem, route=route_of(scope), status=status)
                span.end()
                is_probe = scope["path"].startswith(_PROBES) and status < 500
                log = logger().debug if is_probe else logger().info
                log(
                    "a request was answered",
                    method=scope["method"],
                    route=route_of(scope),
                    status=status,
                    seconds=round(time.monotonic() - started, 3),
                    **({"study": str(studies[0])} if len(studies) == 1 else {}),
                )


def read_traceparent(value: str) -> tuple[str, str]:
    """Trace id and the caller's span id of a `traceparent`; empty where it is none."""
    match = _TRACEPARENT.fullmatch(value.strip())
    if match is None or (match[4] and value.startswith("00")):
        return "", ""
    trace_id, span_id = match[1], match[2]
    # All zeros are invalid.
    return (trace_id, span_id) if int(trace_id, 16) and int(span_id, 16) else ("", "")


def _request_id(given: str) -> str:
    """The caller's id where it is a UUID, else a new one."""
    if re.fullmatch(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}", given):
        return str(UUID(given))
    return str(uuid4())


def route_of(scope: Scope) -> str:
    """The route as the code names it; never the address, which holds what somebody typed."""
    route: Any = scope.get("route")
    if route is not None:
        return str(route.path)
    return "/static" if scope["path"].startswith("/static") else "unknown"
