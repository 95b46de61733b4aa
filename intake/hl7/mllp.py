"""MLLP, the frames in which HL7 v2 messages travel: <VT> content <FS> <CR>.

Source: HL7 v2 Transport Specification, MLLP, release 1. The reader takes bytes as they come off the
network, in whatever pieces, and knows nothing of sockets and nothing of HL7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

START, END, TAIL = b"\x0b", b"\x1c", b"\r"

_BLANK = b"\r\n \t\x00\x1c\xef\xbb\xbf"
"""Bytes that senders put between frames and that nobody misses: line ends, a byte order mark."""

_BEGINS_ANEW = re.compile(rb"\x0b(?=(?:\xef\xbb\xbf)?(?:MSH|BHS|FHS))")


@dataclass(frozen=True, slots=True)
class Frame:
    """What stood in one frame.

    Attributes:
        content: The bytes between the marks; of a frame that is too long only its beginning.
        is_too_long: Whether it was longer than the limit.
    """

    content: bytes
    is_too_long: bool = False


class FrameReader:
    """Takes bytes off a connection and yields whole frames.

    The content ends at FS, whether a CR follows or not: an FS can be no part of a message. So a
    peer that leaves the CR out does not wait for its answer in vain. A VT within a frame may be a
    line break of a text; where a message begins after it, the sender has given up the first one.

    Args:
        limit: Bytes of the longest content that is kept.

    Attributes:
        skipped: Bytes outside of frames that were dropped, blanks apart.
    """

    def __init__(self, limit: int) -> None:
        self.skipped = 0
        self._limit = limit
        self._content: bytearray | None = None  # None: outside of a frame
        self._is_too_long = False

    @property
    def is_within_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._content is not None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that these bytes complete; the rest is kept for the next call."""
        position = 0
        while position < len(data):
            if self._content is None:
                start = data.find(START, position)
                outside = data[position : len(data) if start < 0 else start]
                self.skipped += len(outside.translate(None, _BLANK))
                if start < 0:
                    return
                position = start + 1
                self._content, self._is_too_long = bytearray(), False
            end = data.find(END, position)
            piece = data[position : len(data) if end < 0 else end]
            room = self._limit - len(self._content)
            self._is_too_long |= len(piece) > room
            self._content += piece[: max(0, room)]
            if end < 0:
                return
            content, self._content = bytes(self._content), None
            position = end + 1
            yield self._make_frame(content)

    def _make_frame(self, content: bytes) -> Frame:
        start = max((match.start() for match in _BEGINS_ANEW.finditer(content)), default=-1)
        self.skipped += max(0, start)
        return Frame(content[start + 1 :], self._is_too_long)


def make_frame(content: bytes) -> bytes:
    """The frame of a content."""
    return START + content + END + TAIL
