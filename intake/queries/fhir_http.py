"""Calls of a FHIR server: bounded in time and size, at one server only, with our login.

Nothing of an answer, no address with a patient in it and no token is logged or put into an error.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from intake.http_calls import NoRedirects, reason_of, retry_seconds
from intake.queries.asking import QuestionFailed
from intake.turns import SystemAway

MAX_BYTES = 10_000_000
"""Largest answer."""

_CHUNK = 65_536

FHIR_JSON = "application/fhir+json"

Json = Mapping[str, Any]


class LoginRefused(SystemAway):
    """The server does not accept our login (401)."""


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address.

    Raises:
        ValueError: it is none.
    """
    parts = urllib.parse.urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port


class HttpClient:
    """Calls servers.

    Args:
        context: checks their certificates.
        seconds: how long one call may take.
        max_bytes: the largest answer.
    """

    def __init__(self, context: ssl.SSLContext, seconds: float, max_bytes: int = MAX_BYTES) -> None:
        self._opener = urllib.request.build_opener(
            NoRedirects(), urllib.request.HTTPSHandler(context=context)
        )
        self._seconds = seconds
        self._max_bytes = max_bytes

    def call(
        self,
        who: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Json:
        """GET, or POST of a form; the answer's JSON object.

        Args:
            who: the server, as errors name it.
            url: where.
            headers: of the request.
            form: fields to post.

        Raises:
            LoginRefused: 401.
            SystemAway: nobody answers in time, or the answer is 403, 404, 429 or 5xx.
            QuestionFailed: the answer is another error, too large, or no JSON object.
        """
        request = urllib.request.Request(  # noqa: S310  # settings and `next` are http or https
            url,
            data=urllib.parse.urlencode(form).encode() if form is not None else None,
            headers={
                "Accept": FHIR_JSON if form is None else "application/json",
                **(headers or {}),
            },
        )
        deadline = time.monotonic() + self._seconds
        try:
            with self._opener.open(request, timeout=self._seconds) as answer:
                body = self._read(who, answer, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(who, error, deadline) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SystemAway(f"{who} does not answer ({reason_of(error)})") from None
        return _object(who, body)

    def _read(self, who: str, answer: Any, deadline: float) -> bytes:
        body = bytearray()
        while chunk := answer.read1(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise QuestionFailed(
                    f"an answer of {who} is larger than {self._max_bytes / 1e6:g} MB"
                )
            if time.monotonic() > deadline:
                raise SystemAway(f"{who} took longer than {self._seconds:g} s to answer")
        return bytes(body)

    def _refusal(self, who: str, error: urllib.error.HTTPError, deadline: float) -> Exception:
        code = error.code
        if code == 401:
            return LoginRefused(f"{who} does not accept our login (401)")
        if code in (403, 404, 408, 429) or code >= 500:
            meaning = {
                403: "does not let us search (403)",
                404: "has nothing at this address (404)",
                429: "asks us to call less often (429)",
            }.get(code, f"answered {code}")
            return SystemAway(f"{who} {meaning}", retry_seconds(error.headers.get("Retry-After")))
        if 300 <= code < 400:
            return SystemAway(f"{who} answers with a redirect ({code}), which is not followed")
        codes = ""
        with suppress(QuestionFailed, SystemAway, OSError, http.client.HTTPException):
            codes = issue_codes(_object(who, self._read(who, error, deadline)))
        return QuestionFailed(f"{who} answered {code}{f' ({codes})' if codes else ''}")


class Login:
    """Adds our login to calls of a FHIR server; a token that expired is renewed once a call."""

    def __init__(self, token: Callable[[], str], forget: Callable[[], None]) -> None:
        self._token = token
        self._forget = forget

    def call(self, client: HttpClient, who: str, url: str) -> Json:
        """GET; see `HttpClient.call`."""
        for is_last in (False, True):
            token = self._token()
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            try:
                return client.call(who, url, headers=headers)
            except LoginRefused:
                self._forget()
                if is_last or not token:
                    raise
        raise AssertionError("unreachable")


def issue_codes(outcome: Json) -> str:
    """The codes of an OperationOutcome's errors; its texts may quote a patient."""
    issues = outcome.get("issue")
    known = [
        str(issue.get("code", ""))
        for issue in (issues if isinstance(issues, list) else [])
        if isinstance(issue, dict) and issue.get("severity") in ("fatal", "error")
    ]
    return ", ".join(code for code in known[:5] if code.isascii() and len(code) < 40)


def _object(who: str, body: bytes) -> Json:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise QuestionFailed(f"an answer of {who} is no JSON") from None
    if not isinstance(value, dict):
        raise QuestionFailed(f"an answer of {who} is no JSON object")
    return cast(Json, value)
