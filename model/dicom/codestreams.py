"""What a codestream's own header says, judged before a decoder believes it.

A decoder allocates and loops by what the codestream claims: sides, tiles, precincts, layers, scans.
Each has a limit here that no film comes near, so that a few kilobytes cannot ask for gigabytes or
for minutes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.dicom.header import Layout
from model.errors import DecodingLimit, PixelError

JPEG, JPEG_LS, JPEG_2000, HTJ2K, RLE = "JPEG", "JPEG-LS", "JPEG 2000", "HTJ2K", "RLE"

MAX_SCANS = 100
"""Limit of the scans of a JPEG, each of which passes over the whole image. Progressive encoders
write some ten."""

MAX_TILES = 4096
"""Limit of the tiles of JPEG 2000; each costs the decoder kilobytes before it reads any of them."""

MAX_CODE_BLOCKS = 1 << 18
"""Limit of the precincts and of the code-blocks of a JPEG 2000 image, for each of which the decoder
keeps a record. The largest image in blocks of 16 x 16 has 210,000."""

MAX_PACKETS = 1 << 21
"""Limit of the layers times the precincts of a JPEG 2000 image."""

MAX_LEVELS = 32
"""Limit of JPEG 2000's decomposition levels (ISO 15444-1 table A.15)."""

EOI = b"\xff\xd9"
"""End of image, in JPEG 2000 end of codestream. Entropy-coded data never contains it (ISO 10918-1
B.1.1.2, ISO 14495-1 A.1, ISO 15444-1 B.10.1 and D.4.1)."""

_USUAL_FILLER = 64
"""Most bytes behind the end of a codestream, but for rare files."""

_SOS = b"\xff\xda"
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_SOC_SIZ = b"\xff\x4f\xff\x51"
_COD, _COC, _SOT, _SOD, _SIZ = 0x52, 0x53, 0x90, 0x93, 0x51
_HTJ2K_CAPABILITY = 0x4000  # bit 14 of Rsiz: the codestream has a CAP segment (ISO 15444-15 A.3)


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """What a codestream's own header says.

    Attributes:
        rows: The height in pixels.
        columns: The width in pixels.
        samples: Samples of each pixel.
        bits: The precision; 0 for RLE, which does not give one.
        signed: Whether coded samples are signed. JPEG has no sign, and some senders set it wrong.
        end: Where the codestream ends; what follows is filler.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False
    end: int | None = None


def codec_of(data: bytes) -> str:
    """Return the codec of a codestream by its first bytes; "" for RLE, which has no mark."""
    if data[:2] == b"\xff\xd8":
        for marker, _ in _jpeg_segments(data):
            if marker == 0xF7:
                return JPEG_LS
            if _is_frame_header(marker):
                break
        return JPEG
    if data[:4] == _SOC_SIZ:
        capabilities = int.from_bytes(data[6:8], "big")
        return HTJ2K if capabilities & _HTJ2K_CAPABILITY else JPEG_2000
    return ""


def unwrap_jp2(data: bytes) -> bytes:
    """Return the codestream inside a JP2 file, which some senders store whole; else `data`."""
    if data[:12] != _JP2_SIGNATURE:
        return data
    start = data.find(_SOC_SIZ)
    return data[start:] if start > 0 else data


def parse_jpeg(data: bytes, layout: Layout) -> CodestreamHeader:
    """Read the frame header of JPEG (ISO 10918-1 B.2.2) or JPEG-LS (ISO 14495-1 C.2.2)."""
    if data[:2] != b"\xff\xd8":
        raise PixelError("The encoded pixel data does not begin as JPEG does.")
    header, is_progressive = None, False
    for marker, position in _jpeg_segments(data):
        if _is_frame_header(marker):
            if header is not None:
                raise PixelError("The JPEG data has two frame headers.")
            if position + 10 > len(data):
                break
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, position + 4)
            header = CodestreamHeader(rows, columns, samples, bits)
            _compare(header, layout, JPEG_LS if marker == 0xF7 else JPEG)
            is_progressive = marker in _PROGRESSIVE
        if marker == 0xDA:
            if header is None:
                break
            end = _end_of(data, position)
            if is_progressive or header.samples > 1:  # else decoders stop after the first scan
                scans = data.count(_SOS, position, end)
                if scans > MAX_SCANS:
                    raise DecodingLimit(
                        f"The JPEG data has {scans:,} scans; no film has more than {MAX_SCANS}."
                    )
            return replace(header, end=end)
    if header is not None:
        raise PixelError("The encoded pixel data ends early.")
    raise PixelError("The JPEG data has no frame header.")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker before the first scan, and that scan's, with its position."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        yield marker, position
        if marker == 0xDA:
            return
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])


def _is_frame_header(marker: int) -> bool:
    return marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC))


def _compare(stream: CodestreamHeader, layout: Layout, name: str) -> None:
    """Check that a codestream has the image that the DICOM header claims, and nothing larger."""
    if (stream.rows, stream.columns, stream.samples) != (
        layout.rows,
        layout.columns,
        layout.samples,
    ):
        raise PixelError(
            f"The {name} data has {stream.columns} x {stream.rows} x {stream.samples}, "
            f"the header says {layout.columns} x {layout.rows} x {layout.samples}."
        )
    if stream.bits > 16 or stream.bits > layout.allocated:
        raise PixelError(f"The {name} data has {stream.bits} bits a sample.")


def _end_of(data: bytes, start: int) -> int:
    """Return where the codestream ends; a cut one would decode, its lower part grey."""
    end = data.rfind(EOI, max(start, len(data) - _USUAL_FILLER))
    if end < 0:
        end = data.find(EOI, start)  # this takes as long as half of decoding
    if end < 0:
        raise PixelError("The encoded pixel data ends early.")
    return end + len(EOI)


# ---- JPEG 2000 ----


@dataclass(frozen=True, slots=True)
class _Grid:
    """The reference grid of SIZ: the image's area and its tiles (ISO 15444-1 A.5.1, B.3)."""

    x: int
    y: int
    x0: int
    y0: int
    tile_x: int
    tile_y: int
    tile_x0: int
    tile_y0: int

    @property
    def tiles(self) -> int:
        across = -(-(self.x - self.tile_x0) // self.tile_x)
        return across * -(-(self.y - self.tile_y0) // self.tile_y)


def parse_jpeg2000(data: bytes, layout: Layout) -> CodestreamHeader:
    """Read the main header (ISO 15444-1 A.5), and judge it and those of the tiles."""
    if data[:4] != _SOC_SIZ or len(data) < 4 + 41:
        raise PixelError("The encoded pixel data does not begin as a JPEG 2000 codestream does.")
    *sides, samples, depth = struct.unpack_from(">8IHB", data, 8)
    grid = _Grid(*sides)
    components = data[42 : 42 + 3 * samples]
    has_faults = (
        not grid.tile_x
        or not grid.tile_y
        or grid.x < max(grid.x0, grid.tile_x0)
        or grid.y < max(grid.y0, grid.tile_y0)
        or len(components) < 3 * samples
        or set(components[1::3]) | set(components[2::3]) != {1}
    )
    if has_faults:
        raise PixelError("The JPEG 2000 data has a damaged header.")
    header = CodestreamHeader(
        grid.y - grid.y0, grid.x - grid.x0, samples, (depth & 0x7F) + 1, depth >= 0x80
    )
    _compare(header, layout, JPEG_2000)
    if grid.tiles > MAX_TILES:
        raise DecodingLimit(
            f"The JPEG 2000 data has {grid.tiles} tiles; no film has more than {MAX_TILES}."
        )
    return replace(header, end=_judge_coding(data, grid, samples))


def _judge_coding(data: bytes, grid: _Grid, components: int) -> int:
    """Check what each COD and COC makes the decoder allocate; return where the codestream ends."""
    layers = 1
    position = 2
    is_main_header = True
    tile_end = first_data = 0
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == EOI[1]:
            break
        if marker == _SOD:
            first_data = first_data or position
            if not tile_end:  # the last tile-part, which goes on to the end
                break
            position = tile_end
            continue
        length = int(struct.unpack_from(">H", data, position + 2)[0])
        if length < 2 or position + 2 + length > len(data):
            break
        segment = data[position + 4 : position + 2 + length]
        # A component's own coding (COC) and a tile's count as if all had it.
        tiles = grid.tiles if is_main_header else 1
        if marker == _SIZ and position != 2:
            raise PixelError("The JPEG 2000 data has a damaged header.")
        if marker == _COD and len(segment) >= 10:
            layers = max(layers, struct.unpack_from(">H", segment, 2)[0])
            _judge_blocks(segment[5:], grid, tiles * components, layers, segment[0])
        elif marker == _COC and len(segment) >= 7:
            skip = 1 if components < 257 else 2
            _judge_blocks(segment[skip + 1 :], grid, tiles, layers, segment[skip])
        elif marker == _SOT and len(segment) >= 8:
            is_main_header = False
            part_length = int(struct.unpack_from(">I", segment, 2)[0])
            tile_end = position + part_length if part_length >= 14 else 0
        position += 2 + length
    if not first_data:
        raise PixelError("The encoded pixel data ends early.")
    if data[position : position + 2] == EOI:  # where the lengths of all tiles lead
        return position + 2
    return _end_of(data, first_data)


def _judge_blocks(coding: bytes, grid: _Grid, components: int, layers: int, style: int) -> None:
    """Check the precincts and code-blocks of a coding style (ISO 15444-1 A.6.1, B.6, B.7).

    Args:
        coding: The SPcod or SPcoc parameters: levels, code-block sides, ..., precinct sides.
        grid: The reference grid.
        components: How many components of tiles have this coding.
        layers: The quality layers.
        style: Scod or Scoc, whose first bit says that precinct sides are given.
    """
    if len(coding) < 5:
        raise PixelError("The JPEG 2000 data has a damaged header.")
    levels = coding[0]
    block_x, block_y = coding[1] + 2, coding[2] + 2  # as powers of two
    precinct_sides = coding[5 : 6 + levels]
    if levels > MAX_LEVELS or block_x > 10 or block_y > 10 or block_x + block_y > 12:
        raise PixelError("The JPEG 2000 data has a damaged header.")
    if style & 1 and len(precinct_sides) <= levels:
        raise PixelError("The JPEG 2000 data has a damaged header.")
    width, height = min(grid.tile_x, grid.x), min(grid.tile_y, grid.y)
    precincts = blocks = 0
    for resolution in range(levels + 1):
        power = levels - resolution
        sides = precinct_sides[resolution] if style & 1 else 0xFF
        precinct_x, precinct_y = sides & 15, sides >> 4
        # A tile that does not begin at a precinct's edge has one more.
        across = -(-width >> power >> precinct_x) + 1
        down = -(-height >> power >> precinct_y) + 1
        precincts += across * down
        # In all but the lowest resolution, a precinct covers half of its sides in each of three
        # sub-bands.
        halved = 1 if resolution else 0
        bands = 3 if resolution else 1
        x = min(block_x, max(0, precinct_x - halved))
        y = min(block_y, max(0, precinct_y - halved))
        blocks += (
            bands * ((width >> power + halved >> x) + 1) * ((height >> power + halved >> y) + 1)
        )
    if max(precincts, blocks) * components > MAX_CODE_BLOCKS:
        raise DecodingLimit(
            f"The JPEG 2000 data has {precincts * components:,} precincts and "
            f"{blocks * components:,} code-blocks; no film has more than {MAX_CODE_BLOCKS:,}."
        )
    if precincts * components * layers > MAX_PACKETS:
        raise DecodingLimit(
            f"The JPEG 2000 data has {precincts * components * layers:,} packets; no film has more "
            f"than {MAX_PACKETS:,}."
        )


# ---- RLE ----


def parse_rle(data: bytes, layout: Layout) -> CodestreamHeader:
    """Check the RLE header: a segment for each byte of a sample, but no sizes (PS3.5 G.5)."""
    segments = layout.samples * layout.allocated // 8
    if len(data) < 64 or int.from_bytes(data[:4], "little") != segments:
        raise PixelError(
            f"The RLE data does not have the {segments} segments that the header asks for."
        )
    return CodestreamHeader(layout.rows, layout.columns, layout.samples, 0)
