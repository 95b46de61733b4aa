"""The pixels of a DICOM file as stored, whatever the codec. Knows no grey scale and no windows.

A decoder allocates what the codestream's own header says, so that header is read first and must
say what the DICOM header says. imagecodecs decodes; pydicom's plugins where it will not
(docs/develop/performance.md has what that is worth).
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

from model.dicom.header import FilmFile, Layout
from model.dicom.jpeg2000 import Halved, halve
from model.errors import NoPixels, PixelError

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Implicit little, explicit little and explicit big endian."""

UNDEFINED = 0xFFFFFFFF
MAX_TILES = 4096
"""Of JPEG 2000; each costs the decoder kilobytes before it has read any."""

MOST_HALVINGS = 2
"""A film at an eighth is decoded in a third of the time of one at a quarter, and errs twice as
much."""

Stored = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Samples:
    """A film's samples, unsigned whatever the header's sign: bit patterns.

    stored: (rows, columns) or (rows, columns, 3). bits: how many low bits of each mean something;
    0: as the header says. halvings: sample (i, j) stands at pixel (i, j) * 2**halvings of the
    whole film; there are as many as there are such pixels. lift: halving has made detail of w
    radians a sample 1 + lift * w**2 times as strong as it is.
    """

    stored: Stored
    bits: int
    halvings: int = 0
    lift: float = 0.0


@dataclass(frozen=True, slots=True)
class Stream:
    """What a codestream's own header says. bits: its precision; 0 for RLE, which has none.

    signed: of the samples as they are coded; JPEG knows no sign, and some senders set it wrong.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Codec:
    """How a transfer syntax is read: `look` at the header of its codestream, then `decode`.

    halve: the codestream of the same film with its sides halved so many times, if it has one.
    """

    name: str
    look: Callable[[bytes, Layout], Stream]
    decode: Callable[[bytes, Layout], NDArray[Any]]
    halve: Callable[[bytes, int], Halved | None] | None = None


def read_stored(
    file: FilmFile, layout: Layout, syntax: str, *, implicit: bool, little: bool, least: int = 0
) -> Samples:
    """The samples of the film in a file.

    file: standing at the pixel data element. implicit, little: how the data set is encoded.
    least: where a grey film can be decoded halved, it is, and both sides keep so many samples.
    0: the whole film.

    Raises:
        NoPixels: the file has no pixel data.
        PixelError: cut off, damaged, or not what the header says.
    """
    vr, length = _pixel_element(file, implicit, little)
    if syntax in NATIVE:
        native = _native(file, layout, length, swap=not little, words=vr == b"OW")
        return Samples(native, 0)
    codec = CODECS.get(syntax)
    if codec is None:
        raise PixelError(f"Transfer syntax {syntax[:64]} is not read.")
    if length != UNDEFINED:
        raise PixelError(f"The pixel data is not encapsulated, as {codec.name} has to be.")
    data = _fragments(file)
    stream = codec.look(data, layout)
    wanted = (layout.rows, layout.columns, layout.samples)
    if (stream.rows, stream.columns, stream.samples) != wanted:
        raise PixelError(
            f"The {codec.name} data has {stream.columns} x {stream.rows} x {stream.samples}, "
            f"the header says {layout.columns} x {layout.rows} x {layout.samples}."
        )
    if stream.bits > 16 or stream.bits > layout.allocated:
        raise PixelError(f"The {codec.name} data has {stream.bits} bits a sample.")
    halved = _decode_halved(data, layout, codec, stream, least) if least else None
    if halved is not None:
        return halved
    try:
        decoded = codec.decode(data, layout)
    except Exception:
        decoded = _by_pydicom(data, layout, syntax, codec)
    shape = (layout.rows, layout.columns)
    if decoded.shape not in (shape, (*shape, 3)) or decoded.dtype.itemsize not in (1, 2):
        raise PixelError(f"The {codec.name} data decodes to another image than announced.")
    return Samples(decoded.view(f"u{decoded.dtype.itemsize}"), stream.bits)


def _decode_halved(
    data: bytes, layout: Layout, codec: Codec, stream: Stream, least: int
) -> Samples | None:
    """The film halved as often as `least` lets; None where only the whole film will do.

    Wavelets average samples as they are coded, so those have to be the values, not patterns that
    stand for them.
    """
    spare = min(layout.rows, layout.columns) // least
    halvings = min(MOST_HALVINGS, spare.bit_length() - 1)
    if codec.halve is None or halvings < 1 or layout.samples > 1 or stream.signed != layout.signed:
        return None
    small = codec.halve(data, halvings)
    if small is None:
        return None
    try:
        decoded = codec.decode(small.data, layout)
    except Exception:  # whatever it is, the whole film will show it
        return None
    power = 2**halvings
    if decoded.shape != (-(-layout.rows // power), -(-layout.columns // power)):
        return None
    limit = 2 ** (layout.stored - 1)
    if layout.signed and not -limit <= decoded.min() <= decoded.max() < limit:
        return None  # bits above those that are stored would be cut off
    kind = f"u{decoded.dtype.itemsize}"
    return Samples(decoded.view(kind), stream.bits, halvings, small.lift)


def _pixel_element(file: FilmFile, implicit: bool, little: bool) -> tuple[bytes, int]:
    """VR and length of (7FE0,0010), at which the file stands (PS3.5 7.1)."""
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


def _native(file: FilmFile, layout: Layout, length: int, *, swap: bool, words: bool) -> Stored:
    """Uncompressed samples; `swap` for big endian, which turns bytes too where they lie in OW."""
    halved = layout.photometric == "YBR_FULL_422"  # two pixels share their colour
    samples = 2 if halved else layout.samples
    count = layout.rows * layout.columns * samples
    need = count * layout.allocated // 8
    data = file.read(need + need % 2)
    if length == UNDEFINED or len(data) < need or length < need:
        raise PixelError(f"The pixel data ends early: {min(len(data), length)} bytes of {need}.")
    stored: NDArray[Any]
    if layout.allocated == 16:
        stored = np.frombuffer(data, ">u2" if swap else "<u2", count)
    else:
        if swap and words:
            data = np.frombuffer(data, ">u2", len(data) // 2).astype("<u2").tobytes()
        stored = np.frombuffer(data, np.uint8, count)
    if halved:  # Y Y Cb Cr: only Y is wanted
        return stored.reshape(-1, 4)[:, :2].reshape(layout.rows, layout.columns)
    return _shaped(stored, layout, planar=layout.planar)


def _shaped(samples: NDArray[Any], layout: Layout, *, planar: bool) -> NDArray[Any]:
    """(rows, columns) or (rows, columns, 3) of samples in a row."""
    shape = (layout.rows, layout.columns)
    if layout.samples == 1:
        return samples.reshape(shape)
    if planar:
        return samples.reshape(layout.samples, *shape).transpose(1, 2, 0)
    return samples.reshape(*shape, layout.samples)


def _fragments(file: FilmFile) -> bytes:
    """All fragments of the one frame, joined, without the offset table (PS3.5 A.4)."""
    fragments: list[bytes] = []
    first = True
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
        if not first:
            fragments.append(fragment)
        first = False
    if not fragments:
        raise PixelError("The encoded pixel data is empty.")
    return fragments[0] if len(fragments) == 1 else b"".join(fragments)


def _look_at_jpeg(data: bytes, _: Layout) -> Stream:
    """The frame header of JPEG (ISO 10918-1 B.2.2) and JPEG-LS (ISO 14495-1 C.2.2)."""
    _ask_for_end(data)
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
            return Stream(rows, columns, samples, bits)
        if marker == 0xDA:
            break
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    raise PixelError("The JPEG data has no frame header.")


def _look_at_jpeg2000(data: bytes, _: Layout) -> Stream:
    """The SIZ marker segment (ISO 15444-1 A.5.1)."""
    _ask_for_end(data)
    siz = data[:4] == b"\xff\x4f\xff\x51" and len(data) >= 4 + 41
    if not siz:
        raise PixelError("The encoded pixel data does not begin as a JPEG 2000 codestream does.")
    x, y, x0, y0, tile_x, tile_y, tx0, ty0, samples, depth, dx, dy = struct.unpack_from(
        ">8IH3B", data, 8
    )
    if not tile_x or not tile_y or (dx, dy) != (1, 1) or x < x0 or y < y0 or x < tx0 or y < ty0:
        raise PixelError("The JPEG 2000 data has a damaged header.")
    if -(-(x - tx0) // tile_x) * -(-(y - ty0) // tile_y) > MAX_TILES:
        raise PixelError("The JPEG 2000 data has more tiles than any film.")
    return Stream(y - y0, x - x0, samples, (depth & 0x7F) + 1, depth >= 0x80)


def _look_at_rle(data: bytes, layout: Layout) -> Stream:
    """RLE has segments, one a byte of a sample, and no sizes of its own (PS3.5 G.5)."""
    wanted = layout.samples * layout.allocated // 8
    if len(data) < 64 or int.from_bytes(data[:4], "little") != wanted:
        raise PixelError(f"The RLE data has not the {wanted} segments that the header asks for.")
    return Stream(layout.rows, layout.columns, layout.samples, 0)


def _ask_for_end(data: bytes) -> None:
    """A codestream that was cut decodes, to a film with a grey floor; so its end is asked for."""
    if b"\xff\xd9" not in data[-64:]:  # a fragment may be filled up with anything
        raise PixelError("The encoded pixel data ends early.")


def _decode_jpeg(data: bytes, layout: Layout) -> NDArray[Any]:
    """Colour comes back as grey; libjpeg's own guess at the colours is overruled by the header."""
    colours: dict[str, Any] = {}
    if layout.samples == 3:
        stored_as = "RGB" if layout.photometric == "RGB" else "YCBCR"
        colours = {"colorspace": stored_as, "outcolorspace": "GRAYSCALE"}
    decoded: NDArray[Any] = imagecodecs.jpeg8_decode(data, **colours)
    return decoded


def _decode_rle(data: bytes, layout: Layout) -> NDArray[Any]:
    """Byte planes, the high one first (PS3.5 G.2), each decoded in one go and then put together."""
    planes = layout.samples * layout.allocated // 8
    places = [*struct.unpack_from(f"<{planes}I", data, 4), len(data)]
    count = layout.rows * layout.columns

    def plane(number: int) -> NDArray[np.uint8]:
        start, end = places[number : number + 2]
        if not 64 <= start <= end <= len(data):
            raise PixelError("The RLE data is damaged.")
        room = bytearray(count)
        segment: Any = memoryview(data)[start:end]  # the stubs know of bytes only
        decoded = imagecodecs.packbits_decode(segment, out=room)
        if len(decoded) != count:
            raise PixelError("The RLE data ends early.")
        return np.frombuffer(room, np.uint8)

    shape = (layout.rows, layout.columns)
    if layout.samples > 1:
        return np.stack([plane(number).reshape(shape) for number in range(planes)], axis=-1)
    whole: NDArray[Any] = plane(0)
    if planes == 2:
        whole = whole.astype(np.uint16)
        whole <<= 8
        whole |= plane(1)
    return whole.reshape(shape)


def _leave_to_pydicom(_: bytes, __: Layout) -> NDArray[Any]:
    """For imagecodecs drops the error of a damaged HTJ2K codestream and gives a holed film."""
    raise PixelError("HTJ2K is decoded by pydicom's plugin.")


def _by_pydicom(data: bytes, layout: Layout, syntax: str, codec: Codec) -> NDArray[Any]:
    """What imagecodecs refused, by pydicom's plugins."""
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
        # A plugin written in Rust panics on damage, and its panic is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise PixelError(f"The {codec.name} data cannot be decoded.") from error
    return np.ascontiguousarray(decoded)


_JPEG = Codec("JPEG", _look_at_jpeg, _decode_jpeg)
_JPEG_LS = Codec("JPEG-LS", _look_at_jpeg, lambda data, _: imagecodecs.jpegls_decode(data))
_JPEG_2000 = Codec(
    "JPEG 2000", _look_at_jpeg2000, lambda data, _: imagecodecs.jpeg2k_decode(data), halve
)
_HTJ2K = Codec("HTJ2K", _look_at_jpeg2000, _leave_to_pydicom)

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
    "1.2.840.10008.1.2.5": Codec("RLE", _look_at_rle, _decode_rle),
}
"""Transfer syntaxes of encoded films (PS3.5 A.4). Deflated and video are not read."""
