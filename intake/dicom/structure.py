"""Walks over the data set of a file without building anything of it: counts, and finds elements.

pydicom makes an object of each element and item: 10 MB of empty items become 2 GB. So each file is
walked over first, in constant memory, and pydicom is given only the few elements that are wanted.
The walk reads lengths as pydicom does (PS3.5 7.1, 7.5), and skips values.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Literal

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.uid import UID
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from intake.dicom.limits import MAX_NESTING, RefusalReason

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_MAX_META_BYTES = 65_536
_META_HEAD_BYTES = 144  # preamble, prefix and (0002,0000): PS3.10 table 7.1-1

_KNOWN_VRS = frozenset(vr.value.encode() for vr in VR if len(vr.value) == 2)
_LONG_VRS = frozenset(vr.value.encode() for vr in EXPLICIT_VR_LENGTH_32)

_TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UI"})
"""Representations of many short values, each of which becomes an object."""
MAX_TEXT_BYTES = 65_534
"""Longest value of these: what a length of two bytes can say, as with explicit VR (PS3.5 7.1.2)."""


class TooComplex(Exception):
    """A data set is over a limit.

    Attributes:
        reason: which limit.
        begun: a Part 10 file of the wanted elements that stand before.
    """

    def __init__(self, reason: RefusalReason, begun: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.begun = begun


@dataclass(frozen=True, slots=True)
class StructureLimits:
    """What a data set may have.

    Attributes:
        elements: elements, items and fragments together, at all levels.
        header_bytes: bytes of values other than pixel data.
        text_bytes: bytes of one value whose representation is of many short values.
        nesting: sequences within sequences.
    """

    elements: int = 50_000
    header_bytes: int = 64_000_000
    text_bytes: int = MAX_TEXT_BYTES
    nesting: int = MAX_NESTING


@dataclass(slots=True)
class _Level:
    """A data set, a sequence or a row of fragments that the walk is in; `end` is its last byte."""

    kind: Literal["data set", "sequence", "fragments"]
    end: int
    is_implicit: bool


def read_wanted(
    path: Path,
    wanted: Collection[int],
    most_bytes: int,
    limits: StructureLimits,
) -> bytes:
    """Walk over a Part 10 file, and return one with nothing but the wanted elements of its root.

    Args:
        path: the file.
        wanted: tags, as (group << 16 | element).
        most_bytes: a wanted element may not be longer.
        limits: what the data set may have.

    Raises:
        TooComplex: it has more than that, or a wanted element is too long.
        ValueError, struct.error: it is no such file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _Walk(content, wanted, most_bytes, limits).run()


class _Walk:
    """One walk over a file."""

    def __init__(
        self,
        content: mmap.mmap,
        wanted: Collection[int],
        most_bytes: int,
        limits: StructureLimits,
    ) -> None:
        self._content = content
        self._wanted = wanted
        self._most_bytes = most_bytes
        self._limits = limits
        (meta_length,) = struct.unpack_from("<L", content, _META_HEAD_BYTES - 4)
        self._begin = _META_HEAD_BYTES + meta_length
        if content[128:132] != b"DICM" or self._begin > min(len(content), _MAX_META_BYTES):
            raise ValueError("no Part 10 file")
        meta = dcmread(BytesIO(content[: self._begin])).file_meta
        syntax = UID(meta.TransferSyntaxUID)
        if syntax.is_deflated:
            raise ValueError("a deflated data set cannot be walked over")
        self._is_implicit = syntax.is_implicit_VR
        order = "<" if syntax.is_little_endian else ">"
        self._tag_length = struct.Struct(f"{order}HHL")
        self._short_length = struct.Struct(f"{order}H")
        self._long_length = struct.Struct(f"{order}L")
        self._count = 0
        self._header_bytes = 0

    def run(self) -> bytes:
        """The file with the wanted elements of its root alone."""
        content, end = self._content, len(self._content)
        position = self._begin
        pieces = [content[:position]]
        try:
            self._collect(position, end, pieces)
        except TooComplex as error:
            raise TooComplex(error.reason, b"".join(pieces)) from None
        return b"".join(pieces)

    def _collect(self, position: int, end: int, pieces: list[bytes]) -> None:
        """Walk over the root, and add its wanted elements to `pieces`."""
        is_implicit = self._guess_implicit(position, end, self._is_implicit)
        while position + 8 <= end:
            begin = position
            tag, position, inner = self._element(begin, end, is_implicit, is_root=True)
            if inner is not None:
                position = self._walk(position, inner)
            if tag in self._wanted:
                if position - begin > self._most_bytes:
                    raise TooComplex(RefusalReason.UNREADABLE)
                pieces.append(self._content[begin : min(position, end)])

    def _walk(self, position: int, level: _Level) -> int:
        """Walk over a sequence or a row of fragments; returns the position behind it."""
        levels = [level]
        while levels:
            level = levels[-1]
            if position + 8 > level.end:
                position = max(position, level.end)
                levels.pop()
            elif level.kind == "data set":
                if self._tag(position) == _ITEM_END:
                    position += 8
                    levels.pop()
                    continue
                _, position, inner = self._element(position, level.end, level.is_implicit)
                if inner is not None:
                    levels.append(inner)
                    # A sequence and its item are two levels.
                    if len(levels) > 2 * self._limits.nesting:
                        raise TooComplex(RefusalReason.TOO_MANY_ELEMENTS)
            else:
                tag = self._tag(position)
                _, _, length = self._tag_length.unpack_from(self._content, position)
                position += 8
                if tag == _SEQUENCE_END:
                    levels.pop()
                    continue
                self._add(1)
                if level.kind == "fragments":
                    position += 0 if length == _UNDEFINED else length
                else:
                    end = level.end if length == _UNDEFINED else min(level.end, position + length)
                    is_implicit = self._guess_implicit(position, end, level.is_implicit)
                    levels.append(_Level("data set", end, is_implicit))
        return position

    def _element(
        self, position: int, end: int, is_implicit: bool, *, is_root: bool = False
    ) -> tuple[int, int, _Level | None]:
        """Read the head of an element.

        Returns:
            Its tag; the position behind the element, or at its value where that is a sequence or
            fragments; and that sequence.
        """
        self._add(1)
        tag = self._tag(position)
        vr, length, position = self._vr_and_length(tag, position, is_implicit)
        if length == _UNDEFINED:
            if tag in _PIXELS:
                return tag, position, _Level("fragments", end, is_implicit)
            if vr in ("SQ", "UN") or self._starts_with_item(position):
                return tag, position, _Level("sequence", end, is_implicit or vr == "UN")
            return tag, position, _Level("fragments", end, is_implicit)
        value_end = position + length
        if vr == "SQ" or (vr == "UN" and _dictionary_vr(tag) == "SQ"):
            # What is UN is encoded with implicit VR (PS3.5 6.2.2).
            return tag, position, _Level("sequence", min(end, value_end), is_implicit or vr == "UN")
        if not (is_root and tag in _PIXELS):
            self._header_bytes += length
            if self._header_bytes > self._limits.header_bytes:
                raise TooComplex(RefusalReason.HEADER_TOO_LARGE)
            if length > self._limits.text_bytes and vr in _TEXT_VRS:
                raise TooComplex(RefusalReason.HEADER_TOO_LARGE)
        return tag, value_end, None

    def _vr_and_length(self, tag: int, position: int, is_implicit: bool) -> tuple[str, int, int]:
        """Representation and length of the element at a position, and where its value begins."""
        content = self._content
        vr = content[position + 4 : position + 6]
        # As pydicom: what is no pair of letters begins a length of four bytes.
        if is_implicit or not b"AA" <= vr <= b"ZZ":
            _, _, length = self._tag_length.unpack_from(content, position)
            return _dictionary_vr(tag), length, position + 8
        if vr in _LONG_VRS:
            if position + 12 > len(content):
                return vr.decode(), 0, len(content)
            (length,) = self._long_length.unpack_from(content, position + 8)
            return vr.decode(), length, position + 12
        (length,) = self._short_length.unpack_from(content, position + 6)
        return vr.decode("ascii", "replace"), length, position + 8

    def _guess_implicit(self, position: int, end: int, assumed: bool) -> bool:
        """Whether a data set has implicit VR: some senders write other than they declare."""
        if position + 8 > end or self._tag(position) >> 16 == 0xFFFE:
            return assumed
        vr = self._content[position + 4 : position + 6]
        if assumed:
            return vr not in _KNOWN_VRS
        return not b"AA" <= vr <= b"ZZ"

    def _starts_with_item(self, position: int) -> bool:
        return position + 8 <= len(self._content) and self._tag(position) == _ITEM

    def _tag(self, position: int) -> int:
        group, element, _ = self._tag_length.unpack_from(self._content, position)
        return int(group) << 16 | int(element)

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > self._limits.elements:
            raise TooComplex(RefusalReason.TOO_MANY_ELEMENTS)


@lru_cache(maxsize=10_000)
def _dictionary_vr(tag: int) -> str:
    """The representation of a tag by the dictionary; "UN" where it does not have it."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "UN"
