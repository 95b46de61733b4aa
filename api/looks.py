"""Records who was shown which patients, in one entry of the trail for each answer.

This is the one place of the web server that does it: whatever a route answers goes through here,
and not a byte of it leaves before the entry is committed. Nor does it leave where the table of
routes says that the route shows nobody's patients: such a route has no rule about sites.
"""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from api.access.table import TABLE, Row, Scope
from api.problems import problem_response
from api.request_log import route_of
from records.actors import NOBODY, Actor, acting_as, current_actor
from records.audit.looks import Looks, collect_looks
from records.errors import NightdraftError, safe_text
from records.states import ActorKind, AuditAction
from records.telemetry import logger


class LookRecorder:
    """ASGI middleware: records what an answer shows of patients, or lets it not be shown.

    It stands within what finds out who asks, so that `current_actor()` is known here.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass the request on; an answer that shows patients is recorded before it leaves."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with collect_looks() as looks, acting_as(_from_where(scope)):
            await self.app(scope, receive, _Recording(scope, receive, send, looks))


class _Recording:
    """`send` of a request, which records what was noted before it passes anything on."""

    def __init__(self, scope: Connection, receive: Receive, send: Send, looks: Looks) -> None:
        self._scope, self._receive, self._send, self._looks = scope, receive, send, looks
        self._started: Message | None = None
        self._is_refused = False

    async def __call__(self, message: Message) -> None:
        if self._is_refused:
            return
        if message["type"] == "http.response.start":
            # What follows may show more: it goes with the first part of the body.
            self._started = message
            return
        if self._started is not None:
            start, self._started = self._started, None
            if not _shows(start["status"]):
                self._looks.clear()
            elif (refusal := await self._refusal(start)) is not None:
                self._is_refused = True
                await refusal(self._scope, self._receive, self._send)
                return
            await self._send(start)
            await self._send(message)
            return
        # A later part of a stream: an answer that has begun can only be broken off.
        if self._looks:
            await anyio.to_thread.run_sync(self._looks.write, self._detail(), AuditAction.EXPORT)
        await self._send(message)

    async def _refusal(self, start: Message) -> Response | None:
        """Record what the answer shows; return what is answered in its place where it must be."""
        if not self._looks:
            return None
        if not self._may_show_patients():
            logger().error(
                "a route shows patients, and the table of access says that it shows none",
                route=route_of(self._scope),
                status=500,
            )
            return problem_response(
                Request(self._scope),
                500,
                "This page has no rule about whose patients it may show, so it shows nothing",
                "This is a fault of Nightdraft. Report it with the name of the page.",
            )
        is_file = Headers(raw=start["headers"]).get("content-type", "").startswith("text/csv")
        action = AuditAction.EXPORT if is_file else AuditAction.VIEW
        try:
            await anyio.to_thread.run_sync(self._looks.write, self._detail(), action)
        except NightdraftError as error:
            logger().error("a look could not be recorded", error=safe_text(error), status=503)
            return problem_response(
                Request(self._scope),
                503,
                "This look could not be recorded in the trail, so nothing is shown",
                "`nightdraft doctor` says what is wrong; ask again when that is mended. "
                "docs/operate/trail.md says more.",
            )
        return None

    def _may_show_patients(self) -> bool:
        row: Row | None = TABLE.get((self._scope["method"], route_of(self._scope)))
        return row is not None and row.scope is Scope.SITES

    def _detail(self) -> str:
        return f"{self._scope['method']} {route_of(self._scope)}"


def _shows(status: int) -> bool:
    """Whether an answer of this status has a body that shows what was read."""
    return 200 <= status < 300 and status != 204


def _from_where(scope: Connection) -> Actor:
    """The actor of the request; one whom nobody has named has the address of the other end."""
    actor = current_actor()
    client: Any = scope.get("client")
    if actor == NOBODY and client:
        return Actor(ActorKind.NOBODY, address=str(client[0]))
    return actor
