"""DICOM images for tests, in any codec, and their views by a slow and exact reader."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import UID

from model.dicom.pixels import view_pixels

EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
MEBIBYTE = 1 << 20

ImageWriter = Callable[..., Path]


def write_image(
    path: Path, samples: NDArray[Any] | bytes, syntax: str = EXPLICIT, **tags: Any
) -> Path:
    """Write a DX image of `samples` or of encoded bytes; `tags` replace the usual ones."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(DX), UID("1.2.3")
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = DX, "1.2.3", "DX"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    if isinstance(samples, bytes):
        dataset.PixelData = encapsulate([samples])
        dataset.BitsAllocated, dataset.PixelRepresentation = 16, 0
    else:
        order = ">" if syntax == BIG_ENDIAN else "<"
        dataset.PixelData = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
        dataset.Rows, dataset.Columns = samples.shape[:2]
        dataset.BitsAllocated = samples.dtype.itemsize * 8
        dataset.PixelRepresentation = int(samples.dtype.kind == "i")
    dataset["PixelData"].VR = "OB" if isinstance(samples, bytes) else "OW"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.BitsStored = tags.get("BitsStored", dataset.BitsAllocated)
    dataset.HighBit = tags.get("HighBit", dataset.BitsStored - 1)
    pydicom.dcmwrite(
        path,
        dataset,
        implicit_vr=False,
        little_endian=syntax != BIG_ENDIAN,
        enforce_file_format=True,
    )
    return path


def chest(bits: int = 12, side: int = 96) -> NDArray[np.uint16]:
    """Return a smooth image of `bits` bits that uses their whole range."""
    y, x = np.mgrid[0:side, 0 : side + 32]
    wave = (np.sin(x / 11) + np.cos(y / 7) + 2) / 4
    return np.rint((wave - wave.min()) / np.ptp(wave) * (2**bits - 1)).astype(np.uint16)


def resize_exactly(share: NDArray[np.float64], size: int) -> NDArray[np.int_]:
    """Return shares of white as a view, by the slow and exact resize."""
    grey = Image.fromarray(np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8))
    return np.asarray(grey.resize((size, size), Image.Resampling.BICUBIC)).astype(int)


def view_by_pydicom(path: Path, size: int) -> NDArray[np.int_]:
    """Return the view by pydicom's decoding, modality and VOI LUT; the image needs a window."""
    header = pydicom.dcmread(path)
    displayed = apply_voi_lut(apply_modality_lut(header.pixel_array, header), header).astype(float)
    white = 2**header.BitsStored - 1
    low = -(2 ** (header.BitsStored - 1)) if header.PixelRepresentation else 0
    if "RescaleSlope" in header:  # pydicom windows to the rescaled range
        slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
        low, white = low * slope + intercept, white * slope
    share = (displayed - low) / white
    return resize_exactly(
        1 - share if header.PhotometricInterpretation == "MONOCHROME1" else share, size
    )


def lut_item(first: int, bits: int, entries: list[int], signed: bool = False) -> pydicom.Dataset:
    item = pydicom.Dataset()
    # 0 stands for 65,536 entries (PS3.3 C.11.1.1).
    number = len(entries) % 65_536
    item.add_new("LUTDescriptor", "SS" if signed else "US", [number, first, bits])
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return item


def largest_error(path: Path, expected: NDArray[np.int_]) -> int:
    return int(np.abs(view_pixels(path, len(expected)) - expected).max())


@contextmanager
def limited_memory(limit: int) -> Iterator[None]:
    """Check that the allocations of Python and numpy stay under `limit` bytes."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit


def encode_all(samples: NDArray[np.uint16], bits: int) -> dict[str, bytes]:
    """Return the image losslessly encoded in every codec, by transfer syntax."""
    rows, columns = samples.shape
    rle = RLELosslessEncoder.encode(
        samples.tobytes(), rows=rows, columns=columns, samples_per_pixel=1, bits_allocated=16,
        bits_stored=bits, pixel_representation=0, photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )  # fmt: skip
    j2k = {"level": 0, "codecformat": "j2k", "reversible": True, "bitspersample": bits}
    jpeg = {"lossless": True, "bitspersample": bits}
    return {
        "1.2.840.10008.1.2.4.57": imagecodecs.jpeg8_encode(samples, predictor=6, **jpeg),
        "1.2.840.10008.1.2.4.70": imagecodecs.jpeg8_encode(samples, predictor=1, **jpeg),
        "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode(samples),
        "1.2.840.10008.1.2.4.90": imagecodecs.jpeg2k_encode(samples, **j2k),
        "1.2.840.10008.1.2.4.201": imagecodecs.htj2k_encode(samples),
        "1.2.840.10008.1.2.5": rle,
    }


def change_coding(data: bytes, **changes: Any) -> bytes:
    """Change COD of JPEG 2000 (ISO 15444-1 A.6.1).

    Args:
        data: The codestream.
        changes: `layers`, `levels`, code-block exponents `x` and `y`, or `precincts`, a byte for
            each resolution.
    """
    at = data.index(b"\xff\x52") + 2
    length = struct.unpack_from(">H", data, at)[0]
    segment = bytearray(data[at : at + length])
    for name, place in {"levels": 7, "x": 8, "y": 9}.items():
        if name in changes:
            segment[place] = changes[name]
    if "layers" in changes:
        segment[4:6] = struct.pack(">H", changes["layers"])
    if "precincts" in changes:
        segment[2] |= 1
        segment[12:] = changes["precincts"]
        segment[:2] = struct.pack(">H", len(segment))
    return data[:at] + bytes(segment) + data[at + length :]


def enlarge(data: bytes, side: int) -> bytes:
    """Make a JPEG 2000 codestream claim an image of this side in one tile."""
    content = bytearray(data)
    for place in (8, 12, 24, 28):
        content[place : place + 4] = side.to_bytes(4, "big")
    return bytes(content)
