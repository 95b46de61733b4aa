"""Calls of the identity provider: bounded in time and size, without redirects, over checked TLS.

Nothing of an answer, no token and no secret is logged or put into an error.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from api.oidc.config import OidcConfig, is_protected
from api.oidc.errors import AnswerRefused, ProviderAway
from records.tls.faults import fault_of
from records.tls.watched import WatchedContext

MAX_BYTES = 1_000_000
"""Largest answer. A discovery document has some 5 kB, a set of keys 10 kB."""

_AT_ONCE = 6
"""Requests that may wait for the provider at the same time: all other pages need threads, too."""

_PATIENCE_SECONDS = 1.0

_CHUNK = 65_536

Json = dict[str, Any]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect could carry a code and our secret to another server."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none: the answer is an error with the redirect's status."""
        return


class Calls:
    """Calls one identity provider.

    Args:
        config: where it is, and how its certificate is checked.

    Raises:
        SettingsError: the file of certificates cannot be used.
    """

    def __init__(self, config: OidcConfig) -> None:
        self._name = config.name
        self._seconds = config.seconds
        self._tls = WatchedContext(config.tls, "the identity provider")
        self._slots = threading.BoundedSemaphore(_AT_ONCE)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for the provider within this block; only a few requests do so at the same time.

        Raises:
            ProviderAway: too many wait already.
        """
        if not self._slots.acquire(timeout=_PATIENCE_SECONDS):
            raise ProviderAway(f"{self._name} answers too slowly: too many logins wait for it")
        try:
            yield
        finally:
            self._slots.release()

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Json:
        """GET; the JSON object of the answer.

        Raises:
            ProviderAway: nobody answers in time, or the answer is an error or no JSON object.
        """
        try:
            return self._call(url, None, headers or {})
        except AnswerRefused as error:
            raise ProviderAway(str(error)) from None

    def post(self, url: str, body: str, headers: Mapping[str, str]) -> Json:
        """POST of a form; the JSON object of the answer.

        Args:
            url: where.
            body: the form, encoded.
            headers: of the request.

        Raises:
            ProviderAway: nobody answers in time, or it has a fault (5xx).
            AnswerRefused: it refuses what is sent (4xx).
        """
        return self._call(url, body.encode("ascii"), headers)

    def _call(self, url: str, body: bytes | None, headers: Mapping[str, str]) -> Json:
        if not is_protected(url):
            raise ProviderAway(f"{self._name} names an address without TLS")
        request = urllib.request.Request(  # noqa: S310  # http or https, see above
            url, data=body, headers={"Accept": "application/json", **headers}
        )
        opener = urllib.request.build_opener(
            _NoRedirects(), urllib.request.HTTPSHandler(context=self._tls.current())
        )
        deadline = time.monotonic() + self._seconds
        try:
            with opener.open(request, timeout=self._seconds) as answer:
                content = self._read(answer, deadline)
        except urllib.error.HTTPError as error:
            with error:
                kind = AnswerRefused if 400 <= error.code < 500 else ProviderAway
                raise kind(f"{self._name} answered {error.code}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ProviderAway(f"{self._name} does not answer ({_reason_of(error)})") from None
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise ProviderAway(f"an answer of {self._name} is no JSON") from None
        if not isinstance(value, dict):
            raise ProviderAway(f"an answer of {self._name} is no JSON object")
        return value

    def _read(self, answer: Any, deadline: float) -> bytes:
        content = bytearray()
        while chunk := answer.read1(_CHUNK):
            content += chunk
            if len(content) > MAX_BYTES:
                raise ProviderAway(f"an answer of {self._name} is larger than is read")
            if time.monotonic() > deadline:
                raise TimeoutError
        return bytes(content)


def _reason_of(error: Exception) -> str:
    """What kind of error it was, in words that quote nothing."""
    inner = getattr(error, "reason", error)
    if isinstance(inner, ssl.SSLError) and (fault := fault_of(inner)):
        return fault.value
    if isinstance(inner, TimeoutError):
        return "time-out"
    if isinstance(inner, OSError) and inner.strerror and inner.errno:
        return inner.strerror
    return type(inner).__name__
