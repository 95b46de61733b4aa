"""The element (7FE0,0010) of a file: samples as they are, or the fragments of a codestream."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.dicom.header import DicomFile, Layout
from model.errors import NoPixels, PixelError

UNDEFINED = 0xFFFFFFFF
_ITEM, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_ITEM_BYTES = struct.pack("<HH", *_ITEM)
_CODESTREAM_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")

StoredArray = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The head of the pixel data element.

    Attributes:
        vr: The value representation.
        length: The length of the value in bytes, or UNDEFINED.
        begins_with_item: Whether the value begins with an item, as encapsulated pixel data does
            (PS3.5 A.4), whatever its transfer syntax and length say.
    """

    vr: bytes
    length: int
    begins_with_item: bool


def read_element(file: DicomFile, implicit: bool, little: bool) -> PixelElement:
    """Read the head of (7FE0,0010), at which the file is positioned (PS3.5 7.1).

    Raises:
        NoPixels: The file has no pixel data.
        PixelError: It has other pixel data, or is cut off.
    """
    order = "<" if little else ">"
    head = file.read(8 if implicit else 12)
    if not head:
        raise NoPixels("The file has no pixel data.")
    if len(head) < (8 if implicit else 12):
        raise PixelError("The file ends where its pixel data begins.")
    if struct.unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        raise PixelError("The file has no pixel data of whole numbers.")
    length: int = struct.unpack(f"{order}I", head[-4:])[0]
    return PixelElement(b"OW" if implicit else head[4:6], length, file.peek(4)[:4] == _ITEM_BYTES)


def native_bytes(layout: Layout) -> int:
    """Return how many bytes the uncompressed samples of an image take."""
    samples = 2 if layout.photometric == "YBR_FULL_422" else layout.samples
    return layout.rows * layout.columns * samples * layout.allocated // 8


def read_native(
    file: DicomFile, layout: Layout, length: int, *, swap: bool, is_ow: bool
) -> StoredArray:
    """Read uncompressed samples.

    Args:
        file: The file, positioned at the value.
        layout: The layout that the header gives.
        length: The length of the value in bytes.
        swap: Whether the data set is big endian, which swaps single bytes too if they are in OW.
        is_ow: Whether the VR is OW.

    Returns:
        (rows, columns) or (rows, columns, 3).

    Raises:
        PixelError: The value is shorter than the image.
    """
    need = native_bytes(layout)
    data = file.read(need + need % 2)
    if length == UNDEFINED or len(data) < need or length < need:
        raise PixelError(f"The pixel data ends early: {min(len(data), length)} bytes of {need}.")
    stored: NDArray[Any]
    if layout.allocated == 16:
        stored = np.frombuffer(data, ">u2" if swap else "<u2", need // 2)
    else:
        if swap and is_ow:
            data = np.frombuffer(data, ">u2", len(data) // 2).astype("<u2").tobytes()
        stored = np.frombuffer(data, np.uint8, need)
    if layout.photometric == "YBR_FULL_422":
        # Two pixels share their colour: Y Y Cb Cr, of which only Y is needed.
        return stored.reshape(-1, 4)[:, :2].reshape(layout.rows, layout.columns)
    return _shaped(stored, layout)


def _shaped(samples: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return samples as (rows, columns) or (rows, columns, 3)."""
    shape = (layout.rows, layout.columns)
    if layout.samples == 1:
        return samples.reshape(shape)
    if layout.planar:
        return samples.reshape(layout.samples, *shape).transpose(1, 2, 0)
    return samples.reshape(*shape, layout.samples)


def read_fragments(file: DicomFile) -> bytes:
    """Return all fragments of the one frame, joined, without the offset table (PS3.5 A.4).

    Whether the codestream is whole is for its own codec to say: the last fragment may be cut or
    have no delimiter behind it, and still hold the end.

    Raises:
        PixelError: There is no fragment.
    """
    fragments: list[bytes] = []
    is_first = True
    while len(head := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == _DELIMITER:
            break
        if (group, element) != _ITEM or length == UNDEFINED:
            raise PixelError("The encoded pixel data is damaged.")
        fragment = file.read(length)
        # The first item is the offset table; some senders leave it out.
        if not is_first or fragment.startswith(_CODESTREAM_STARTS):
            fragments.append(fragment)
        is_first = False
        if len(fragment) < length:
            break
    if not any(fragments):
        raise PixelError("The encoded pixel data is empty.")
    return fragments[0] if len(fragments) == 1 else b"".join(fragments)
