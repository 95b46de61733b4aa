"""Calls of a DICOMweb server (PS3.18): bounded in time and size, at one server only, with a token.

No address of a call, nothing of an answer and no token is logged or put into an error.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from intake.archive.certificates import make_pacs_tls_context
from intake.archive.errors import PacsAway, PullFailed, SetUpWrong
from intake.http_calls import NoRedirects, reason_of, retry_seconds
from records.errors import SettingsError
from records.pacs import Pacs

DICOM_JSON = "application/dicom+json"

MAX_JSON_BYTES = 64_000_000
"""Largest list. One of 20,000 studies has some 30 MB."""

PAGE_SIZE = 500
SMALLEST_PAGE = 50
"""A page with fewer answers, and without a warning of more, is the last: no server is known that
gives so few at once. So a study's own lists take one question."""
MAX_LISTED = 50_000
"""Data sets of one list; a longer one is taken as cut."""

_CHUNK = 1 << 18

Json = Mapping[str, Any]


class NotThere(PullFailed):
    """The server has nothing at the address: 404 or 410."""


class TooMuch(PullFailed):
    """The server refuses a question for its size, or its answer is larger than is read."""


class WebClient:
    """Calls the DICOMweb service of one PACS.

    Args:
        pacs: where it is.

    Raises:
        SettingsError: a file of certificates cannot be used.
    """

    def __init__(self, pacs: Pacs) -> None:
        self._pacs = pacs
        self.place = f"the PACS {pacs.name} ({pacs.url})"
        is_https = pacs.url.startswith("https:")
        context = make_pacs_tls_context(pacs) if is_https else None
        self._opener = urllib.request.build_opener(
            NoRedirects(), urllib.request.HTTPSHandler(context=context)
        )
        self._read_token()  # whether it can be read shows now

    def list_json(self, path: str, **parameters: str) -> tuple[list[Json], bool]:
        """GET a list of data sets in DICOM JSON (PS3.18 annex F).

        Args:
            path: below the service's address; its parts need no quoting.
            parameters: of the query; empty ones are left out.

        Returns:
            The data sets, and whether the server says that there are more (Warning 299, PS3.18
            8.3.4.4).

        Raises:
            PacsAway: nobody answers in time, or the server is busy.
            SetUpWrong: it does not let us ask.
            NotThere: it has nothing at the address.
            PullFailed: its answer is another error, too large, or no list.
        """
        given = {name: value for name, value in parameters.items() if value}
        deadline = time.monotonic() + self._pacs.seconds
        with self.opened(path, DICOM_JSON, self._pacs.seconds, given) as answer:
            if answer.status == 204:
                return [], False
            body = bytearray()
            for chunk in self.read(answer, deadline):
                body += chunk
                if len(body) > MAX_JSON_BYTES:
                    raise TooMuch(f"an answer of {self.place} is larger than is read")
            warnings = answer.headers.get_all("Warning") or []
        if not body.strip():
            return [], False
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise PullFailed(f"an answer of {self.place} is no JSON") from None
        if not isinstance(value, list):
            raise PullFailed(f"an answer of {self.place} is no list")
        has_more = any(warning.strip().startswith("299") for warning in warnings)
        return [one for one in value if isinstance(one, dict)], has_more

    def list_pages(self, path: str, key: str, **parameters: str) -> tuple[list[Json], bool]:
        """GET a list page by page (PS3.18 8.3.4.4), until a page brings nothing new.

        A server may give fewer answers at once than it is asked for and not say so: only a very
        short page is taken for the last one.

        Args:
            path: as `list_json`.
            key: the tag of the UID by which answers are told apart.
            parameters: as `list_json`.

        Returns:
            The data sets, and whether there may be more: the server says so and gives none, or it
            does not know `limit` and `offset` and gives a full page again.

        Raises:
            PacsAway, SetUpWrong, NotThere, PullFailed: as `list_json`.
        """
        listed: list[Json] = []
        seen: set[str] = set()
        has_more = False
        while len(listed) < MAX_LISTED:
            page, says_more = self.list_json(
                path, **parameters, limit=str(PAGE_SIZE), offset=str(len(listed))
            )
            new = {repr(one.get(key)) for one in page} - seen
            if not page:
                return listed, has_more
            if not new:
                return listed, has_more or len(page) >= PAGE_SIZE
            seen |= new
            listed += page
            has_more = says_more
            if len(page) < SMALLEST_PAGE and not says_more:
                return listed, False
        return listed, True

    def read(self, answer: HTTPResponse, deadline: float) -> Iterator[bytes]:
        """The bytes of an answer, as they come, without gzip where the server packs them.

        Raises:
            PacsAway: no more come, or it takes too long.
            PullFailed: they are packed in another way, or not as they should be.
        """
        encoding = (answer.headers.get("Content-Encoding") or "identity").strip().lower()
        if encoding == "identity":
            yield from self._read_raw(answer, deadline)
            return
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise PullFailed(f"{self.place} packs an answer in a way that nobody asked for")
        unpacker = zlib.decompressobj(wbits=47)  # gzip's frame, or zlib's
        try:
            for chunk in self._read_raw(answer, deadline):
                packed = chunk
                while packed and not unpacker.eof:
                    yield unpacker.decompress(packed, _CHUNK)  # a small answer may be huge
                    packed = unpacker.unconsumed_tail
            while rest := unpacker.decompress(b"", _CHUNK):
                yield rest
        except zlib.error:
            raise PullFailed(f"{self.place} packed an answer with gzip that is broken") from None
        if not unpacker.eof:
            raise PacsAway(f"{self.place} stopped answering in the midst of an answer")

    def _read_raw(self, answer: HTTPResponse, deadline: float) -> Iterator[bytes]:
        try:
            while chunk := answer.read1(_CHUNK):
                yield chunk
                if time.monotonic() > deadline:
                    raise PacsAway(f"{self.place} took too long to answer")
            if answer.length:
                raise PacsAway(f"{self.place} stopped answering in the midst of an answer")
        except (OSError, http.client.HTTPException) as error:
            raise PacsAway(
                f"{self.place} stopped answering in the midst of an answer ({reason_of(error)})"
            ) from None

    @contextmanager
    def opened(
        self, path: str, accept: str, seconds: float, parameters: Mapping[str, str] | None = None
    ) -> Iterator[HTTPResponse]:
        """GET; the answer is read by the caller.

        Args:
            path: as `list_json`.
            accept: media types.
            seconds: how long the server may be silent.
            parameters: of the query.

        Raises:
            PacsAway, SetUpWrong, NotThere, PullFailed: as `list_json`.
        """
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        token = self._read_token()
        request = urllib.request.Request(  # noqa: S310  # the setting is http or https
            f"{self._pacs.url}/{urllib.parse.quote(path)}{query}",
            headers={
                "Accept": accept,
                **({"Authorization": f"Bearer {token}"} if token else {}),
            },
        )
        try:
            answer = self._opener.open(request, timeout=seconds)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PacsAway(f"{self.place} does not answer ({reason_of(error)})") from None
        with answer:
            yield answer

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        code = error.code
        if code in (401, 403):
            return SetUpWrong(
                f"{self.place} does not let us ask ({code}): correct token_file, or allow it there"
            )
        if 300 <= code < 400:
            return SetUpWrong(
                f"{self.place} answers with a redirect ({code}), which is not followed: set the "
                "address that it names as url"
            )
        text = f"{self.place} answered {code}"
        if code in (404, 410):
            return NotThere(text)
        if code in (408, 429, 502, 503, 504):
            return PacsAway(text, retry_seconds(error.headers.get("Retry-After")))
        return TooMuch(text) if code == 413 else PullFailed(text)

    def _read_token(self) -> str:
        file = self._pacs.token_file
        if not file:
            return ""
        try:
            return Path(file).expanduser().read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            raise SettingsError(
                f"the PACS {self._pacs.name}: token_file: {file} cannot be read, or is no token"
            ) from None
