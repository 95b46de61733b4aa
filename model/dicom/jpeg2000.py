"""The small film inside a JPEG 2000 codestream, by its headers alone. Knows no decoder.

Wavelets keep a film as one of half its sides, and what to add to double it; that one again, and
so on. Where all of the small film's packets come first, a decoder that is told of fewer doublings
and of smaller sides decodes the small film and leaves the rest alone (ISO 15444-1, B.5 to B.12).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

SIZ, COD, QCD, TLM, PLM, PLT, CRG, COM = 0x51, 0x52, 0x5C, 0x55, 0x57, 0x58, 0x63, 0x64
SOT, SOD = 0x90, 0x93
HARMLESS = {QCD, TLM, PLM, PLT, CRG, COM}
"""Markers that stay true of the small film. Others may move packets or change tiles' coding."""

LAYERS_FIRST, RESOLUTIONS_FIRST = 0, (1, 2)
"""Orders of packets (A.6.1, table A.16): LRCP; RLCP and RPCL."""

CURVES = {0: -0.230, 1: 0.25}
"""By transformation, 9/7 and 5/3: the wavelet's low pass is 1 + curve * w**2 for small w."""


class Halved(NamedTuple):
    """A codestream of the small film, and its `lift` (model.dicom.codecs.Samples)."""

    data: bytes
    lift: float


def halve(data: bytes, halvings: int) -> Halved | None:
    """The codestream of the film halved so many times, in each side; None where there is none.

    data: a codestream that begins with SIZ and has one component that is not subsampled.
    """
    try:
        return _halve(data, halvings)
    except (struct.error, IndexError):  # it ends within its header
        return None


def _halve(data: bytes, halvings: int) -> Halved | None:
    places = _markers(data, 2, until=SOT)
    if places is None or set(places) - HARMLESS != {SIZ, COD, SOT}:
        return None
    siz, cod = places[SIZ], places[COD]
    x, y, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = struct.unpack_from(">8I", data, siz + 6)
    one_tile = tile_x >= x and tile_y >= y
    power = 1 << halvings
    if x0 or y0 or tile_x0 or tile_y0 or not (one_tile or tile_x % power == tile_y % power == 0):
        return None
    length, style, order, layers, _, levels = struct.unpack_from(">HBBHBB", data, cod + 2)
    first = order in RESOLUTIONS_FIRST or (order == LAYERS_FIRST and layers == 1)
    if levels < halvings or not first or not _tiles_are_plain(data, places[SOT]):
        return None

    header = bytearray(data[: places[SOT]])
    sides = [-(-side // power) for side in (x, y, 0, 0, tile_x, tile_y, 0, 0)]
    struct.pack_into(">8I", header, siz + 6, *sides)
    header[cod + 9] = levels - halvings
    if style & 1:  # a byte for each resolution's precincts, the smallest first
        struct.pack_into(">H", header, cod + 2, length - halvings)
        del header[cod + 2 + length - halvings : cod + 2 + length]
    lift = CURVES.get(data[cod + 13], 0.0) * (1 - 0.25**halvings) / 3
    return Halved(b"".join((header, memoryview(data)[places[SOT] :])), lift)


def _tiles_are_plain(data: bytes, place: int) -> bool:
    """No tile has a way of its own; `place` is that of the first tile's SOT (A.4.2)."""
    while place + 12 <= len(data) and data[place : place + 2] == bytes((0xFF, SOT)):
        markers = _markers(data, place + 12, until=SOD)
        if markers is None or set(markers) - HARMLESS != {SOD}:
            return False
        length = struct.unpack_from(">I", data, place + 6)[0]
        if not length:  # the last one, up to the end
            return True
        if length < 14:
            return False
        place += length
    return data[place : place + 2] == b"\xff\xd9"


def _markers(data: bytes, place: int, until: int) -> dict[int, int] | None:
    """Where each marker from `place` up to `until` stands; None where something else stands."""
    places: dict[int, int] = {}
    while data[place] == 0xFF:
        marker = data[place + 1]
        if marker in (SIZ, COD) and marker in places:
            return None
        places[marker] = place
        if marker == until:
            return places
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    return None
