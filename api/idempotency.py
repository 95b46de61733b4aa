"""Carries out a call of REST with an Idempotency-Key once, however often it is sent.

It follows draft-ietf-httpapi-idempotency-key-header-07: the same key with the same call is answered
as the first time, with another call it is refused (422), and while the first call is being carried
out, too (409). What is kept, and why a killed server leaves nothing half done, is said in
`records.operations.kept_answers`.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import anyio
import anyio.to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import known_error_response, problem_response
from records.actors import current_actor
from records.errors import NightdraftError
from records.operations.kept_answers import (
    Answer,
    AnswerWithdrawn,
    KeyedCall,
    KeyIsBusy,
    KeyWasUsed,
)

KEY_HEADER = "idempotency-key"
REPLAYED_HEADER = "idempotent-replayed"
"""What an answer has that was kept: `true`."""

KEY_PATTERN = r'^("[ !#-\[\]-~]{1,200}"|[!#-\[\]-~]{1,200})$'
"""A String of RFC 8941, section 3.3.3, without escapes; the quotation marks may be left out."""

MOST_AT_ONCE = 4
"""Calls with keys that are carried out at the same time: each has a connection to the database from
its beginning, also while it waits for a thread. More of them wait."""

_KEPT_HEADERS = ("content-type", "etag", "location")

NOT_KEPT = frozenset({401, 403, 408, 425, 429})
"""Refusals that are about who asks and when; whoever repeats the call is judged anew."""


class IdempotencyKeys:
    """ASGI middleware, innermost: who asks is known, and looks at patients are recorded around it.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.limiter = anyio.Semaphore(MOST_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or give the answer that was kept."""
        if scope["type"] != "http" or not takes_key(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        keys = request.headers.getlist(KEY_HEADER)
        if not keys:
            await self.app(scope, receive, send)
            return
        if len(keys) > 1 or not re.fullmatch(KEY_PATTERN, keys[0]):
            refusal = problem_response(
                request,
                400,
                "The Idempotency-Key cannot be used, so nothing was changed",
                "Send one, of 1 to 200 characters of ASCII in quotation marks, such as a UUID.",
            )
            await refusal(scope, receive, send)
            return
        body = await request.body()
        async with self.limiter:
            answer = await self._answer(request, keys[0].strip('"'), body)
        await answer(scope, receive, send)

    async def _answer(self, request: Request, key: str, body: bytes) -> Response:
        actor = current_actor()
        caller = f"{actor.kind} {actor.id}".strip()
        try:
            call = await anyio.to_thread.run_sync(
                KeyedCall.open, caller, key, _fingerprint(request, body)
            )
        except (KeyIsBusy, KeyWasUsed, AnswerWithdrawn) as reason:
            return _refuse(request, reason)
        except NightdraftError as error:
            return known_error_response(request, error)
        try:
            if call.kept is not None:
                return _replay(call.kept)
            with call.within():
                collected = _Collected(body)
                await self.app(request.scope, collected.receive, collected.send)
            return await self._end(request, call, collected)
        finally:
            # Also where the call was cancelled: the connection goes back to the pool.
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(call.close)

    async def _end(self, request: Request, call: KeyedCall, collected: _Collected) -> Response:
        response = collected.response()
        if response.status_code >= 500:
            return response  # nothing of it is committed
        try:
            if response.status_code in NOT_KEPT:
                await anyio.to_thread.run_sync(call.commit)
            else:
                answer = Answer(
                    response.status_code,
                    {
                        name: response.headers[name]
                        for name in _KEPT_HEADERS
                        if name in response.headers
                    },
                    bytes(response.body).decode(),
                )
                await anyio.to_thread.run_sync(call.finish, answer)
        except NightdraftError as error:
            return known_error_response(request, error)
        return response


def takes_key(method: str, path: str) -> bool:
    """Whether a call may have a key; the other methods need none (RFC 9110, section 9.2.2)."""
    return method == "POST" and path.startswith("/api/")


class _Collected:
    """`receive` and `send` of a call whose body was read, and whose answer waits for the commit."""

    def __init__(self, body: bytes) -> None:
        self._asked, self._is_given = body, False
        self._start: dict[str, Any] = {"status": 500, "headers": []}
        self._parts: list[bytes] = []

    async def receive(self) -> Message:
        """The body, once; then nothing more comes."""
        if self._is_given:
            return {"type": "http.disconnect"}
        self._is_given = True
        return {"type": "http.request", "body": self._asked, "more_body": False}

    async def send(self, message: Message) -> None:
        """Keep a part of the answer."""
        if message["type"] == "http.response.start":
            self._start = dict(message)
        else:
            self._parts.append(message.get("body", b""))

    def response(self) -> Response:
        """The whole answer."""
        response = Response(b"".join(self._parts), self._start["status"])
        response.raw_headers = list(self._start["headers"])
        return response


def _fingerprint(request: Request, body: bytes) -> str:
    """SHA-256 of what is asked for, each part with its length."""
    parts = (
        request.method,
        request.url.path,
        request.url.query,
        request.headers.get("if-match", ""),
        request.headers.get("content-type", ""),
    )
    digest = hashlib.sha256()
    for part in (*(part.encode() for part in parts), body):
        digest.update(f"{len(part)}:".encode() + part)
    return digest.hexdigest()


def _replay(kept: Answer) -> Response:
    body = b"" if kept.status == 204 else kept.body.encode()
    response = Response(body, kept.status)
    headers = MutableHeaders(raw=response.raw_headers)
    for name, value in kept.headers.items():
        headers[name] = value
    headers[REPLAYED_HEADER] = "true"
    return response


def _refuse(request: Request, reason: Exception) -> Response:
    if isinstance(reason, KeyIsBusy):
        response = problem_response(
            request,
            409,
            "A call with this Idempotency-Key is being carried out",
            "Send the same call with the same key again in a second: it gets the first answer.",
        )
        response.headers["retry-after"] = "1"
        return response
    if isinstance(reason, KeyWasUsed):
        return problem_response(
            request,
            422,
            "This Idempotency-Key belongs to another call, so nothing was changed",
            "A key belongs to one address, If-Match and body. Take a new one for each change.",
        )
    return problem_response(
        request,
        410,
        "This call was carried out before, and its answer may not be shown any more",
        "Nothing was changed now. Read what you need by a GET.",
    )
