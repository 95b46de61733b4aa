"""The pixels of a DICOM file as stored, whatever the codec.

A decoder allocates what the codestream's own header claims, so that header is read first and must
agree with the DICOM header. imagecodecs decodes; what it refuses goes to pydicom's plugins
(docs/develop/performance.md has the gain).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from model.dicom import codestreams
from model.dicom.codestreams import CodestreamHeader
from model.dicom.header import DicomFile, Layout
from model.dicom.jpeg2000 import ReducedCodestream, reduce_codestream
from model.dicom.pixel_data import (
    UNDEFINED,
    StoredArray,
    native_bytes,
    read_element,
    read_fragments,
    read_native,
)
from model.errors import PixelError

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Uncompressed: implicit little, explicit little and explicit big endian."""

MAX_HALVINGS = 2
"""An image at an eighth of its sides takes a third of the time of one at a quarter, with twice the
error."""

_SHORT_FILLER = 64  # bytes behind a codestream that every decoder ignores


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of an image as bit patterns: unsigned, whatever sign the header gives.

    Attributes:
        stored: (rows, columns) or (rows, columns, 3).
        bits: How many low bits of each sample hold the value; 0: as the header says.
        halvings: How often the sides are halved. Sample (i, j) stands at pixel
            (i, j) * 2**halvings of the whole image, and every such pixel has a sample.
        lift: Halving has amplified detail of w radians a sample by the factor 1 + lift * w**2.
        notes: Sentences for the reader of a draft: how the file's pixel data departs from its
            header.
    """

    stored: StoredArray
    bits: int
    halvings: int = 0
    lift: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Codec:
    """How a transfer syntax is decoded.

    Attributes:
        name: The codec's name, for people.
        parse_header: Reads the header of a codestream.
        decode: Decodes a codestream.
        syntax: The transfer syntax by which pydicom's plugins decode it, too.
        reduce: Returns a codestream of the same image with its sides halved the given number of
            times, or None where there is none. It is None for a codec that has no such images.
    """

    name: str
    parse_header: Callable[[bytes, Layout], CodestreamHeader]
    decode: Callable[[bytes, Layout], NDArray[Any]]
    syntax: str
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
    element = read_element(file, implicit, little)
    codec = CODECS.get(syntax)
    is_encapsulated = element.length == UNDEFINED or (
        element.begins_with_item and (codec is not None or element.length != native_bytes(layout))
    )
    if not is_encapsulated:
        if codec is None and syntax not in NATIVE:
            raise PixelError(f"Transfer syntax {syntax[:64]} is not read.")
        if codec is not None and element.length < native_bytes(layout):
            raise PixelError(f"The pixel data is not encapsulated, as {codec.name} has to be.")
        native = read_native(
            file, layout, element.length, swap=not little, is_ow=element.vr == b"OW"
        )
        return Samples(native, 0, notes=_departure(syntax, codec, "uncompressed"))
    data = codestreams.unwrap_jp2(read_fragments(file))
    # A codestream says itself what it is; only RLE does not.
    name = codestreams.codec_of(data) or (codec.name if codec else "")
    actual = codec if codec and codec.name == name else _BY_NAME.get(name)
    if actual is None:
        raise PixelError(f"Transfer syntax {syntax[:64]} is not read.")
    samples = _decode(data, layout, actual, min_side)
    return replace(samples, notes=_departure(syntax, codec, actual.name))


def _departure(syntax: str, codec: Codec | None, actual: str) -> tuple[str, ...]:
    """Return a note where the pixel data is of another kind than the transfer syntax says."""
    declared = "uncompressed" if syntax in NATIVE else codec.name if codec else "another codec"
    if declared == actual:
        return ()
    return (
        f"The transfer syntax of a film says {declared}, but its pixels are {actual}. "
        "They were read as what they are.",
    )


def _decode(data: bytes, layout: Layout, codec: Codec, min_side: int) -> Samples:
    stream = codec.parse_header(data, layout)
    if stream.end is not None and len(data) - stream.end > _SHORT_FILLER:
        data = data[: stream.end]
    reduced = _decode_reduced(data, layout, codec, stream, min_side) if min_side else None
    if reduced is not None:
        return reduced
    try:
        decoded = codec.decode(data, layout)
    except (MemoryError, PixelError):
        raise
    except Exception:
        decoded = _decode_with_pydicom(data, layout, codec)
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
    if layout.holds_overlay:  # its bits would be averaged into the values
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
    half = 2 ** (layout.stored - 1)
    low, high = (-half, half) if layout.signed else (0, 2 * half)
    if stream.bits > layout.stored and not low <= decoded.min() <= decoded.max() < high:
        return None  # what is not stored is cut off before samples are averaged
    kind = f"u{decoded.dtype.itemsize}"
    return Samples(decoded.view(kind), stream.bits, halvings, reduced.lift)


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
        segment: Any = memoryview(data)[start:end]  # the stubs accept only bytes
        buffer = bytearray(count)
        try:
            decoded = imagecodecs.packbits_decode(segment, out=buffer)
        except imagecodecs.ImcdError:
            segment = segment[: _rle_end(segment, count)]  # filler was decoded, too
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


def _rle_end(segment: memoryview, count: int) -> int:
    """Return where a segment has given `count` bytes (PS3.5 G.3.2).

    Raises:
        PixelError: It ends before, or in the middle of a run.
    """
    position = decoded = 0
    while decoded < count:
        if position >= len(segment):
            raise PixelError("The RLE data ends early.")
        control = segment[position]
        if control < 128:
            decoded += control + 1
            position += control + 2
        elif control > 128:
            decoded += 257 - control
            position += 2
        else:
            position += 1
    if decoded > count or position > len(segment):
        raise PixelError("The RLE data is damaged.")
    return position


def _decode_htj2k(data: bytes, layout: Layout) -> NDArray[Any]:
    """Decode HTJ2K: imagecodecs hides the errors of a damaged codestream and leaves holes."""
    return _decode_with_pydicom(data, layout, _HTJ2K)


def _decode_with_pydicom(data: bytes, layout: Layout, codec: Codec) -> NDArray[Any]:
    """Decode with pydicom's plugins what imagecodecs refused."""
    try:
        decoded, _ = get_decoder(codec.syntax).as_array(
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


_JPEG = Codec("JPEG", codestreams.parse_jpeg, _decode_jpeg, "1.2.840.10008.1.2.4.51")
_JPEG_LOSSLESS = replace(_JPEG, syntax="1.2.840.10008.1.2.4.57")
_JPEG_LS = Codec(
    "JPEG-LS",
    codestreams.parse_jpeg,
    lambda data, _: imagecodecs.jpegls_decode(data),
    "1.2.840.10008.1.2.4.80",
)
_JPEG_2000 = Codec(
    "JPEG 2000",
    codestreams.parse_jpeg2000,
    lambda data, _: imagecodecs.jpeg2k_decode(data),
    "1.2.840.10008.1.2.4.90",
    reduce_codestream,
)
_HTJ2K = Codec("HTJ2K", codestreams.parse_jpeg2000, _decode_htj2k, "1.2.840.10008.1.2.4.201")
_RLE = Codec("RLE", codestreams.parse_rle, _decode_rle, "1.2.840.10008.1.2.5")

CODECS: dict[str, Codec] = {
    "1.2.840.10008.1.2.4.50": _JPEG,  # baseline
    "1.2.840.10008.1.2.4.51": _JPEG,  # extended, 12 bits
    "1.2.840.10008.1.2.4.53": _JPEG,  # spectral selection, retired
    "1.2.840.10008.1.2.4.55": _JPEG,  # full progression, retired
    "1.2.840.10008.1.2.4.57": _JPEG_LOSSLESS,
    "1.2.840.10008.1.2.4.70": _JPEG_LOSSLESS,  # first-order prediction
    "1.2.840.10008.1.2.4.80": _JPEG_LS,  # lossless
    "1.2.840.10008.1.2.4.81": _JPEG_LS,  # near lossless
    "1.2.840.10008.1.2.4.90": _JPEG_2000,  # lossless
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _HTJ2K,  # lossless
    "1.2.840.10008.1.2.4.202": _HTJ2K,  # lossless, by resolution
    "1.2.840.10008.1.2.4.203": _HTJ2K,
    "1.2.840.10008.1.2.5": _RLE,
}
"""The codecs by transfer syntax (PS3.5 A.4). Deflated files and video are not read."""

_BY_NAME = {codec.name: codec for codec in (_JPEG, _JPEG_LS, _JPEG_2000, _HTJ2K, _RLE)}
