"""Reads multipart/related as it comes (RFC 2046, 5.1; RFC 2387), in whatever pieces it comes.

No part is held in memory: its bytes are handed on as soon as they cannot belong to a delimiter any
more. A part is whole only once the delimiter behind it has come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from enum import Enum, auto

MAX_PREAMBLE_BYTES = 65_536
MAX_HEADER_BYTES = 16_384
_MAX_PADDING = 100

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_AFTER_DELIMITER = re.compile(rb"(--)?[ \t]{0,%d}(\r?\n)?" % _MAX_PADDING)


class BrokenMultipart(Exception):
    """The answer is no multipart/related, or ends too soon. Its words quote nothing."""


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part begins.

    Attributes:
        headers: its header fields, their names in lower case.
    """

    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part that began last is whole."""


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    BODY = auto()
    ENDED = auto()


class _After(Enum):
    """What the bytes behind something like a delimiter make of it."""

    ANOTHER_PART = auto()
    END = auto()
    CONTENT = auto()
    UNDECIDED = auto()


def read_boundary(content_type: str) -> str:
    """The boundary that a Content-Type names.

    Raises:
        BrokenMultipart: it is no multipart, or has no boundary.
    """
    message = Message()
    message["Content-Type"] = content_type.replace("\r", "").replace("\n", "")
    boundary = message.get_param("boundary")
    if message.get_content_maintype() != "multipart" or not isinstance(boundary, str):
        raise BrokenMultipart("is no multipart")
    if not _BOUNDARY.fullmatch(boundary):
        raise BrokenMultipart("has a boundary that is none")
    return boundary


class MultipartReader:
    """One message.

    Lines end as the first delimiter's line does: with CRLF as the standard wants it, or with LF
    alone as some servers send it.

    Args:
        boundary: as `read_boundary` gives it.
    """

    def __init__(self, boundary: str) -> None:
        self._dashed = b"--" + boundary.encode("ascii")
        self._newline = b"\r\n"
        self._buffer = bytearray()
        self._state = _State.PREAMBLE
        self._read = 0  # bytes of the preamble, or of the header
        self._headers: dict[str, str] = {}
        self._is_fresh = False  # the buffer begins with the line end before the content

    @property
    def has_ended(self) -> bool:
        """Whether the end delimiter came; what comes behind it means nothing."""
        return self._state is _State.ENDED

    def feed(self, piece: bytes) -> Iterator[PartBegins | PartEnds | bytes]:
        """Take the next piece; yields parts' begins and ends, and the bytes between them.

        Raises:
            BrokenMultipart: this is no multipart message.
        """
        self._buffer += piece
        while True:
            if self._state is _State.PREAMBLE:
                if not self._skip_preamble():
                    return
            elif self._state is _State.HEADERS:
                if not self._read_headers():
                    return
                yield PartBegins(self._headers)
            elif self._state is _State.BODY:
                content, after = self._read_body(is_last=False)
                if content:
                    yield content
                if after is None:
                    return
                yield PartEnds()
            else:
                self._buffer.clear()
                return

    def close(self) -> Iterator[PartEnds]:
        """Nothing more comes; yields the end of a part that only now is known to be whole.

        Raises:
            BrokenMultipart: the end delimiter is missing. A part that began is not whole.
        """
        if self._state is _State.PREAMBLE:
            if self._buffer.rstrip(b" \t\r") == self._dashed + b"--":
                self._state = _State.ENDED
        elif self._state is _State.BODY:
            content, after = self._read_body(is_last=True)
            if after is _After.END and not content:
                yield PartEnds()
        if self._state is not _State.ENDED:
            raise BrokenMultipart("ends too soon")

    def _skip_preamble(self) -> bool:
        """Go on to the first part, or to the end; returns whether it came."""
        for line in self._lines(MAX_PREAMBLE_BYTES, "has no delimiter"):
            stripped = line.rstrip(b" \t\r\n")
            if stripped == self._dashed:
                if not line.endswith(b"\r\n"):
                    self._newline = b"\n"
                self._begin_headers()
                return True
            if stripped == self._dashed + b"--":
                self._state = _State.ENDED
                return True
        return False

    def _begin_headers(self) -> None:
        self._state, self._read, self._headers = _State.HEADERS, 0, {}

    def _read_headers(self) -> bool:
        """Read to the empty line; returns whether it came."""
        for line in self._lines(MAX_HEADER_BYTES, "has a part whose header does not end"):
            stripped = line.rstrip(b"\r\n")
            if not stripped:
                # A part without content has its delimiter right behind the empty line.
                self._buffer[:0] = self._newline
                self._state, self._is_fresh = _State.BODY, True
                return True
            if stripped.startswith(self._dashed):
                raise BrokenMultipart("has a part whose header does not end")
            name, colon, value = stripped.decode("latin-1").partition(":")
            if colon:
                self._headers[name.strip().lower()] = value.strip()
        return False

    def _lines(self, limit: int, sentence: str) -> Iterator[bytes]:
        """Whole lines of the buffer, each taken out of it."""
        while (end := self._buffer.find(b"\n") + 1) > 0:
            line = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._read += end
            if self._read > limit:
                raise BrokenMultipart(sentence)
            yield line
        if self._read + len(self._buffer) > limit:
            raise BrokenMultipart(sentence)

    def _read_body(self, *, is_last: bool) -> tuple[bytes, _After | None]:
        """Content that is known to be content, and what ended the part, if anything did."""
        delimiter = self._newline + self._dashed
        start = 0
        while True:
            found = self._buffer.find(delimiter, start)
            if found < 0:
                return self._take(len(self._buffer) - len(delimiter) + 1), None
            after, length = _look_behind(self._buffer, found + len(delimiter), is_last=is_last)
            if after is _After.CONTENT:
                start = found + 1
                continue
            content = self._take(found)
            if after is _After.UNDECIDED:
                return content, None
            self._is_fresh = False
            del self._buffer[: len(delimiter) + length]
            if after is _After.END:
                self._state = _State.ENDED
            else:
                self._begin_headers()
            return content, after

    def _take(self, count: int) -> bytes:
        """Take so many bytes out of the buffer; the line end that was put there is not content."""
        if count <= 0:
            return b""
        skipped = 0
        if self._is_fresh:
            skipped = len(self._newline)
            if count < skipped:
                return b""
            self._is_fresh = False
        content = bytes(memoryview(self._buffer)[skipped:count])
        del self._buffer[:count]
        return content


def _look_behind(buffer: bytearray, start: int, *, is_last: bool) -> tuple[_After, int]:
    """What stands behind a delimiter, and how many bytes of it belong to the delimiter."""
    match = _AFTER_DELIMITER.match(buffer, start)
    assert match is not None  # the pattern matches nothing, too
    is_end = match[1] is not None
    length = match.end() - start
    if match[2] is not None:
        return (_After.END if is_end else _After.ANOTHER_PART), length
    rest = bytes(buffer[match.end() : match.end() + 2])
    may_go_on = rest in (b"", b"\r") or (rest == b"-" and length == 0)
    if not may_go_on:
        return _After.CONTENT, 0
    if not is_last:
        return _After.UNDECIDED, 0
    return (_After.END if is_end else _After.CONTENT), length
