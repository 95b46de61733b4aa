"""Divides a multipart/related answer into its parts as it comes in (RFC 2387, RFC 2046 5.1).

Nothing is held in memory but the last bytes, which may be the beginning of a boundary.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.message import Message

MAX_HEADER_BYTES = 16_384

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


class BrokenMultipart(Exception):
    """The answer is no multipart/related, or ends too soon."""


def read_boundary(content_type: str) -> bytes:
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
    return boundary.encode("ascii")


class MultipartReader:
    """Takes the bytes of an answer, and gives the content of each part to a sink.

    Args:
        boundary: of the answer.
        begin: called where a part begins; returns what takes its bytes.
        end: called where it ends.
    """

    def __init__(
        self,
        boundary: bytes,
        begin: Callable[[], Callable[[bytes], object]],
        end: Callable[[], None],
    ) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._begin = begin
        self._end = end
        self._buffer = bytearray(b"\r\n")  # the first boundary has no line before it
        self._sink: Callable[[bytes], object] | None = None
        self._is_preamble = True
        self.is_ended = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            BrokenMultipart: they are not as a multipart goes on.
        """
        self._buffer += chunk
        while not self.is_ended and self._step():
            pass

    def close(self) -> None:
        """Say that no more bytes come.

        Raises:
            BrokenMultipart: the closing boundary did not come.
        """
        if not self.is_ended:
            raise BrokenMultipart("ends too soon")

    def _step(self) -> bool:
        """Go as far as the bytes reach; returns whether there may be more to do."""
        if self._sink is None and not self._is_preamble:
            return self._read_headers()
        at = self._buffer.find(self._delimiter)
        if at < 0:
            keep = len(self._delimiter) - 1
            if len(self._buffer) > keep:
                self._give(len(self._buffer) - keep)
            return False
        after = at + len(self._delimiter)
        line_end = self._buffer.find(b"\r\n", after)
        if self._buffer[after : after + 2] == b"--":
            self._give(at)
            self._end_part()
            self.is_ended = True
            self._buffer.clear()
            return False
        if line_end < 0:
            if len(self._buffer) - after > MAX_HEADER_BYTES:
                raise BrokenMultipart("has a boundary that does not end")
            return False
        if self._buffer[after:line_end].strip(b" \t"):
            # A longer boundary than ours: content.
            self._give(after)
            return True
        self._give(at)
        self._end_part()
        del self._buffer[: line_end - at]  # the line end stays, for a part may have no header
        self._is_preamble = False
        return True

    def _read_headers(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise BrokenMultipart("has a part whose header does not end")
            return False
        del self._buffer[: end + 4]
        self._sink = self._begin()
        return True

    def _give(self, count: int) -> None:
        if self._sink is not None and count:
            self._sink(bytes(self._buffer[:count]))
        del self._buffer[:count]

    def _end_part(self) -> None:
        if self._sink is not None:
            self._sink = None
            self._end()
