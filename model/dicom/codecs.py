"""The pixels of a DICOM file as stored, whatever the codec.

A decoder allocates what the codestream's own header claims, so that header is read first and must
agree with the DICOM header. imagecodecs decodes; what it refuses goes to pydicom's plugins
(docs/develop/performance.md has the gain).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from model.dicom.header import DicomFile, Layout
from model.dicom.jpeg2000 import ReducedCodestream, reduce_codestream
from model.errors import NoPixels, PixelError

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Uncompressed: implicit little, explicit little and explicit big endian."""

UNDEFINED = 0xFFFFFFFF
MAX_TILES = 4096
"""Limit of the tiles of JPEG 2000; each costs the decoder kilobytes before it reads any of them."""

MAX_HALVINGS = 2
"""An image at an eighth of its sides takes a third of the time of one at a quarter, with twice the
error."""

StoredArray = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of an image as bit patterns: unsigned, whatever sign the header gives.

    Attributes:
        stored: (rows, columns) or (rows, columns, 3).
        bits: How many low bits of each sample hold the value; 0: as the header says.
        halvings: How often the sides are halved. Sample (i, j) stands at pixel
            (i, j) * 2**halvings of the whole image, and every such pixel has a sample.
        lift: Halving has amplified detail of w radians a sample by the factor 1 + lift * w**2.
    """

    stored: StoredArray
    bits: int
    halvings: int = 0
    lift: float = 0.0


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """What a codestream's own header says.

    Attributes:
        rows: The height in pixels.
        columns: The width in pixels.
        samples: Samples of each pixel.
        bits: The precision; 0 for RLE, which does not give one.
        signed: Whether coded samples are signed. JPEG has no sign, and some senders set it wrong.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Codec:
    """How a transfer syntax is decoded.

    Attributes:
        name: The codec's name, for people.
        parse_header: Reads the header of a codestream.
        decode: Decodes a codestream.
        reduce: Returns a codestream of the same image with its sides halved the given number of
            times, or None where there is none. It is None for a codec that has no such images.
    """

    name: str
    parse_header: Callable[[bytes, Layout], CodestreamHeader]
    decode: Callable[[bytes, Layout], NDArray[Any]]
    reduce: Callable[[bytes, int], ReducedCodestream | None] | None = None


def read_stored(
    file: DicomFile, layout: Layout, syntax: str, *, implicit: bool, little: bool, min_side: int = 0
) -> Samples:
    """Read the samples of the image in a file.

    Args:
        file: The file, positioned at the pixel data element.
        layout: The layout that the header gives.
        syntax: The transfer syntax UID.
        implicit: Whether the data set is encoded with implicit VR.
        little: Whether it is little endian.
        min_side: A grey image may be decoded with its sides halved as long as both keep so many
            samples; 0 reads the whole image.

    Raises:
        NoPixels: The file has no pixel data.
        PixelError: The pixel data is cut off, damaged, or does not agree with the header.
    """
    vr, length = _pixel_element(file, implicit, little)
    if syntax in NATIVE:
        native = _native(file, layout, length, swap=not little, is_ow=vr == b"OW")
        return Samples(native, 0)
    codec = CODECS.get(syntax)
    if codec is None:
        raise PixelError(f"Transfer syntax {syntax[:64]} is not read.")
    if length != UNDEFINED:
        raise PixelError(f"The pixel data is not encapsulated, as {codec.name} has to be.")
    data = _fragments(file)
    stream = codec.parse_header(data, layout)
    expected = (layout.rows, layout.columns, layout.samples)
    if (stream.rows, stream.columns, stream.samples) != expected:
        raise PixelError(
            f"The {codec.name} data has {stream.columns} x {stream.rows} x {stream.samples}, "
            f"the header says {layout.columns} x {layout.rows} x {layout.samples}."
        )
    if stream.bits > 16 or stream.bits > layout.allocated:
        raise PixelError(f"The {codec.name} data has {stream.bits} bits a sample.")
    reduced = _decode_reduced(data, layout, codec, stream, min_side) if min_side else None
    if reduced is not None:
        return reduced
    try:
        decoded = codec.decode(data, layout)
    except Exception:
        decoded = _decode_with_pydicom(data, layout, syntax, codec)
    shape = (layout.rows, layout.columns)
    if decoded.shape not in (shape, (*shape, 3)) or decoded.dtype.itemsize not in (1, 2):
        raise PixelError(
            f"The {codec.name} data decodes to an image of another shape than its header gives."
        )
    return Samples(decoded.view(f"u{decoded.dtype.itemsize}"), stream.bits)


def _decode_reduced(
    data: bytes, layout: Layout, codec: Codec, stream: CodestreamHeader, min_side: int
) -> Samples | None:
    """Decode the image with its sides halved as often as `min_side` allows.

    Wavelets average the coded samples, so these must be the values themselves and not bit patterns
    of signed values.

    Returns:
        None where only the whole image can be used.
    """
    spare = min(layout.rows, layout.columns) // min_side
    halvings = min(MAX_HALVINGS, spare.bit_length() - 1)
    if codec.reduce is None or halvings < 1 or layout.samples > 1 or stream.signed != layout.signed:
        return None
    reduced = codec.reduce(data, halvings)
    if reduced is None:
        return None
    try:
        decoded = codec.decode(reduced.data, layout)
    except Exception:  # decoding the whole image raises it again
        return None
    power = 2**halvings
    if decoded.shape != (-(-layout.rows // power), -(-layout.columns // power)):
        return None
    limit = 2 ** (layout.stored - 1)
    if layout.signed and not -limit <= decoded.min() <= decoded.max() < limit:
        return None  # the bits above the stored ones would be cut off
    kind = f"u{decoded.dtype.itemsize}"
    return Samples(decoded.view(kind), stream.bits, halvings, reduced.lift)


def _pixel_element(file: DicomFile, implicit: bool, little: bool) -> tuple[bytes, int]:
    """Return VR and length of (7FE0,0010), at which the file is positioned (PS3.5 7.1)."""
    order = "<" if little else ">"
    head = file.read(8 if implicit else 12)
    if not head:
        raise NoPixels("The file has no pixel data.")
    if len(head) < (8 if implicit else 12):
        raise PixelError("The file ends where its pixel data begins.")
    if struct.unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        raise PixelError("The file has no pixel data of whole numbers.")
    length: int = struct.unpack(f"{order}I", head[-4:])[0]
    return (b"OW" if implicit else head[4:6]), length


def _native(
    file: DicomFile, layout: Layout, length: int, *, swap: bool, is_ow: bool
) -> StoredArray:
    """Read uncompressed samples.

    Args:
        file: The file, positioned at the value.
        layout: The layout that the header gives.
        length: The length of the value in bytes.
        swap: Whether the data set is big endian, which swaps single bytes too if they are in OW.
        is_ow: Whether the VR is OW.
    """
    subsampled = layout.photometric == "YBR_FULL_422"  # two pixels share their colour
    samples = 2 if subsampled else layout.samples
    count = layout.rows * layout.columns * samples
    need = count * layout.allocated // 8
    data = file.read(need + need % 2)
    if length == UNDEFINED or len(data) < need or length < need:
        raise PixelError(f"The pixel data ends early: {min(len(data), length)} bytes of {need}.")
    stored: NDArray[Any]
    if layout.allocated == 16:
        stored = np.frombuffer(data, ">u2" if swap else "<u2", count)
    else:
        if swap and is_ow:
            data = np.frombuffer(data, ">u2", len(data) // 2).astype("<u2").tobytes()
        stored = np.frombuffer(data, np.uint8, count)
    if subsampled:  # Y Y Cb Cr: only Y is needed
        return stored.reshape(-1, 4)[:, :2].reshape(layout.rows, layout.columns)
    return _shaped(stored, layout, planar=layout.planar)


def _shaped(samples: NDArray[Any], layout: Layout, *, planar: bool) -> NDArray[Any]:
    """Return samples as (rows, columns) or (rows, columns, 3)."""
    shape = (layout.rows, layout.columns)
    if layout.samples == 1:
        return samples.reshape(shape)
    if planar:
        return samples.reshape(layout.samples, *shape).transpose(1, 2, 0)
    return samples.reshape(*shape, layout.samples)


def _fragments(file: DicomFile) -> bytes:
    """Return all fragments of the one frame, joined, without the offset table (PS3.5 A.4)."""
    fragments: list[bytes] = []
    is_offset_table = True
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise PixelError("The encoded pixel data ends early.")
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000) or length == UNDEFINED:
            raise PixelError("The encoded pixel data is damaged.")
        fragment = file.read(length)
        if len(fragment) < length:
            raise PixelError("The encoded pixel data ends early.")
        if not is_offset_table:
            fragments.append(fragment)
        is_offset_table = False
    if not fragments:
        raise PixelError("The encoded pixel data is empty.")
    return fragments[0] if len(fragments) == 1 else b"".join(fragments)


def _parse_jpeg(data: bytes, _: Layout) -> CodestreamHeader:
    """Read the frame header of JPEG (ISO 10918-1 B.2.2) and JPEG-LS (ISO 14495-1 C.2.2)."""
    _check_end(data)
    position = 2
    if data[:2] != b"\xff\xd8":
        raise PixelError("The encoded pixel data does not begin as JPEG does.")
    while position + 9 < len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, position + 4)
            return CodestreamHeader(rows, columns, samples, bits)
        if marker == 0xDA:
            break
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    raise PixelError("The JPEG data has no frame header.")


def _parse_jpeg2000(data: bytes, _: Layout) -> CodestreamHeader:
    """Read the SIZ marker segment (ISO 15444-1 A.5.1)."""
    _check_end(data)
    has_siz = data[:4] == b"\xff\x4f\xff\x51" and len(data) >= 4 + 41
    if not has_siz:
        raise PixelError("The encoded pixel data does not begin as a JPEG 2000 codestream does.")
    x, y, x0, y0, tile_x, tile_y, tx0, ty0, samples, depth, dx, dy = struct.unpack_from(
        ">8IH3B", data, 8
    )
    if not tile_x or not tile_y or (dx, dy) != (1, 1) or x < x0 or y < y0 or x < tx0 or y < ty0:
        raise PixelError("The JPEG 2000 data has a damaged header.")
    if -(-(x - tx0) // tile_x) * -(-(y - ty0) // tile_y) > MAX_TILES:
        raise PixelError("The JPEG 2000 data has more tiles than any film has.")
    return CodestreamHeader(y - y0, x - x0, samples, (depth & 0x7F) + 1, depth >= 0x80)


def _parse_rle(data: bytes, layout: Layout) -> CodestreamHeader:
    """Check the RLE header: a segment for each byte of a sample, but no sizes (PS3.5 G.5)."""
    segments = layout.samples * layout.allocated // 8
    if len(data) < 64 or int.from_bytes(data[:4], "little") != segments:
        raise PixelError(
            f"The RLE data does not have the {segments} segments that the header asks for."
        )
    return CodestreamHeader(layout.rows, layout.columns, layout.samples, 0)


def _check_end(data: bytes) -> None:
    """Check that the codestream has its end; a cut one would decode, its lower part grey."""
    if b"\xff\xd9" not in data[-64:]:  # a fragment may be padded with anything
        raise PixelError("The encoded pixel data ends early.")


def _decode_jpeg(data: bytes, layout: Layout) -> NDArray[Any]:
    """Decode, colour to grey; the header overrules libjpeg's own guess at the colour space."""
    options: dict[str, Any] = {}
    if layout.samples == 3:
        colour_space = "RGB" if layout.photometric == "RGB" else "YCBCR"
        options = {"colorspace": colour_space, "outcolorspace": "GRAYSCALE"}
    decoded: NDArray[Any] = imagecodecs.jpeg8_decode(data, **options)
    return decoded


def _decode_rle(data: bytes, layout: Layout) -> NDArray[Any]:
    """Decode the byte planes, the high byte first (PS3.5 G.2), and put them together."""
    planes = layout.samples * layout.allocated // 8
    offsets = [*struct.unpack_from(f"<{planes}I", data, 4), len(data)]
    count = layout.rows * layout.columns

    def plane(number: int) -> NDArray[np.uint8]:
        start, end = offsets[number : number + 2]
        if not 64 <= start <= end <= len(data):
            raise PixelError("The RLE data is damaged.")
        buffer = bytearray(count)
        segment: Any = memoryview(data)[start:end]  # the stubs accept only bytes
        decoded = imagecodecs.packbits_decode(segment, out=buffer)
        if len(decoded) != count:
            raise PixelError("The RLE data ends early.")
        return np.frombuffer(buffer, np.uint8)

    shape = (layout.rows, layout.columns)
    if layout.samples > 1:
        return np.stack([plane(number).reshape(shape) for number in range(planes)], axis=-1)
    samples: NDArray[Any] = plane(0)
    if planes == 2:
        samples = samples.astype(np.uint16)
        samples <<= 8
        samples |= plane(1)
    return samples.reshape(shape)


def _leave_to_pydicom(_: bytes, __: Layout) -> NDArray[Any]:
    """Refuse HTJ2K: imagecodecs hides the errors of a damaged codestream and leaves holes."""
    raise PixelError("HTJ2K is decoded by pydicom's plugin.")


def _decode_with_pydicom(data: bytes, layout: Layout, syntax: str, codec: Codec) -> NDArray[Any]:
    """Decode with pydicom's plugins what imagecodecs refused."""
    try:
        decoded, _ = get_decoder(syntax).as_array(
            encapsulate([data], has_bot=False),
            index=0,
            raw=True,
            rows=layout.rows,
            columns=layout.columns,
            samples_per_pixel=layout.samples,
            bits_allocated=layout.allocated,
            bits_stored=layout.stored,
            photometric_interpretation=layout.photometric,
            pixel_representation=int(layout.signed),
            planar_configuration=int(layout.planar),
            number_of_frames=1,
            pixel_keyword="PixelData",
        )
    except Exception as error:
        raise PixelError(f"The {codec.name} data cannot be decoded.") from error
    except BaseException as error:
        # A plugin written in Rust panics on damage, and its panic is not an Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise PixelError(f"The {codec.name} data cannot be decoded.") from error
    return np.ascontiguousarray(decoded)


_JPEG = Codec("JPEG", _parse_jpeg, _decode_jpeg)
_JPEG_LS = Codec("JPEG-LS", _parse_jpeg, lambda data, _: imagecodecs.jpegls_decode(data))
_JPEG_2000 = Codec(
    "JPEG 2000", _parse_jpeg2000, lambda data, _: imagecodecs.jpeg2k_decode(data), reduce_codestream
)
_HTJ2K = Codec("HTJ2K", _parse_jpeg2000, _leave_to_pydicom)

CODECS: dict[str, Codec] = {
    "1.2.840.10008.1.2.4.50": _JPEG,  # baseline
    "1.2.840.10008.1.2.4.51": _JPEG,  # extended, 12 bits
    "1.2.840.10008.1.2.4.57": _JPEG,  # lossless
    "1.2.840.10008.1.2.4.70": _JPEG,  # lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": _JPEG_LS,  # lossless
    "1.2.840.10008.1.2.4.81": _JPEG_LS,  # near lossless
    "1.2.840.10008.1.2.4.90": _JPEG_2000,  # lossless
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _HTJ2K,  # lossless
    "1.2.840.10008.1.2.4.202": _HTJ2K,  # lossless, by resolution
    "1.2.840.10008.1.2.4.203": _HTJ2K,
    "1.2.840.10008.1.2.5": Codec("RLE", _parse_rle, _decode_rle),
}
"""The codecs by transfer syntax (PS3.5 A.4). Deflated files and video are not read."""
