"""The reduced image inside a JPEG 2000 codestream, by editing the codestream's header.

Wavelets store an image as one of half its sides plus the detail that doubles it, and that one
again in the same way. Where all packets of a reduced image come first, a decoder whose header
gives fewer levels and smaller sides decodes the reduced image and ignores the rest (ISO 15444-1,
B.5 to B.12).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

SIZ, COD, QCD, TLM, PLM, PLT, CRG, COM = 0x51, 0x52, 0x5C, 0x55, 0x57, 0x58, 0x63, 0x64
SOT, SOD = 0x90, 0x93
HARMLESS = {QCD, TLM, PLM, PLT, CRG, COM}
"""Markers that stay valid for the reduced image. Others may move packets or change the coding."""

LAYERS_FIRST, RESOLUTIONS_FIRST = 0, (1, 2)
"""Progression orders (A.6.1, table A.16): LRCP; RLCP and RPCL."""

LOW_PASS_CURVATURE = {0: -0.230, 1: 0.25}
"""By transformation, 9/7 and 5/3: the wavelet's low pass is 1 + curvature * w**2 for small w."""


class ReducedCodestream(NamedTuple):
    """The codestream of a reduced image, and its `lift` (model.dicom.codecs.Samples)."""

    data: bytes
    lift: float


def reduce_codestream(data: bytes, halvings: int) -> ReducedCodestream | None:
    """Return the codestream of the image whose sides are halved `halvings` times.

    Args:
        data: A codestream that begins with SIZ and has one component, which is not subsampled.
        halvings: How often each side is halved.

    Returns:
        None where the codestream has no such image in front.
    """
    try:
        return _reduce(data, halvings)
    except (struct.error, IndexError):  # the codestream ends within its header
        return None


def _reduce(data: bytes, halvings: int) -> ReducedCodestream | None:
    offsets = _marker_offsets(data, 2, stop_marker=SOT)
    if offsets is None or set(offsets) - HARMLESS != {SIZ, COD, SOT}:
        return None
    siz, cod = offsets[SIZ], offsets[COD]
    x, y, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = struct.unpack_from(">8I", data, siz + 6)
    one_tile = tile_x >= x and tile_y >= y
    power = 1 << halvings
    if x0 or y0 or tile_x0 or tile_y0 or not (one_tile or tile_x % power == tile_y % power == 0):
        return None
    length, style, order, layers, _, levels = struct.unpack_from(">HBBHBB", data, cod + 2)
    reduced_first = order in RESOLUTIONS_FIRST or (order == LAYERS_FIRST and layers == 1)
    if levels < halvings or not reduced_first or not _tiles_are_plain(data, offsets[SOT]):
        return None

    header = bytearray(data[: offsets[SOT]])
    sides = [-(-side // power) for side in (x, y, 0, 0, tile_x, tile_y, 0, 0)]
    struct.pack_into(">8I", header, siz + 6, *sides)
    header[cod + 9] = levels - halvings
    if style & 1:  # one byte for the precincts of each resolution, the smallest first
        struct.pack_into(">H", header, cod + 2, length - halvings)
        del header[cod + 2 + length - halvings : cod + 2 + length]
    lift = LOW_PASS_CURVATURE.get(data[cod + 13], 0.0) * (1 - 0.25**halvings) / 3
    return ReducedCodestream(b"".join((header, memoryview(data)[offsets[SOT] :])), lift)


def _tiles_are_plain(data: bytes, offset: int) -> bool:
    """Return whether no tile has a coding of its own; `offset` is the first tile's SOT (A.4.2)."""
    while offset + 12 <= len(data) and data[offset : offset + 2] == bytes((0xFF, SOT)):
        markers = _marker_offsets(data, offset + 12, stop_marker=SOD)
        if markers is None or set(markers) - HARMLESS != {SOD}:
            return False
        length = struct.unpack_from(">I", data, offset + 6)[0]
        if not length:  # the last tile, which goes on to the end
            return True
        if length < 14:
            return False
        offset += length
    return data[offset : offset + 2] == b"\xff\xd9"


def _marker_offsets(data: bytes, start: int, stop_marker: int) -> dict[int, int] | None:
    """Return the offset of each marker from `start` up to `stop_marker`; None on anything else."""
    offsets: dict[int, int] = {}
    offset = start
    while data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker in (SIZ, COD) and marker in offsets:
            return None
        offsets[marker] = offset
        if marker == stop_marker:
            return offsets
        offset += 2 + struct.unpack_from(">H", data, offset + 2)[0]
    return None
