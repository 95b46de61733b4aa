"""The header of a DICOM file, and a check whether its claims can be true of a radiograph.

A file from outside may claim anything, so no claim of it decides what is allocated: a read asks for
no more than the file really has, and a header has limits that no radiograph comes near.
"""

from __future__ import annotations

import io
import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue

from model.dicom.characters import decode_texts
from model.errors import HeaderLimit, PixelError

MAX_SIDE = 10_000
"""Limit of rows and of columns. The largest detectors have 6,000."""
MAX_PIXELS = 40_000_000
"""Limit of rows times columns: 80 MB at 16 bits."""
MAX_HEADER_BYTES = 4 << 20
"""Limit of the bytes read for a header; values above LARGE_VALUE are not read and do not count."""
MAX_HEADER_READS = 20_000
"""Limit of the reads for a header. A radiograph takes a few hundred; a million tiny elements would
take gigabytes of memory."""
LARGE_VALUE = 1 << 20
"""Longer values, in bytes, stay in the file: makers' raw data, thumbnails. A LUT has 128 KB."""
OVERLAY_GROUPS, OVERLAY_BIT_POSITION = range(0x6000, 0x6020, 2), 0x0102
IMPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"

# pydicom's log quotes unusual values, which may be patients' names.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


class DicomFile(io.BufferedReader):
    """An open DICOM file whose reads never ask for more bytes than the file still has.

    Python allocates the requested number of bytes before it reads them, and a damaged element may
    request 4 GB.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size
        self.read_count = self.bytes_read = 0
        self.in_header = True

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            PixelError: The whole rest is requested, which pydicom does only for a deflated file.
            HeaderLimit: The limits of a header are exceeded.
        """
        if size is None or size < 0:
            # pydicom reads all of a data set at once only to inflate it, and one deflated megabyte
            # may become two gigabytes.
            raise PixelError(f"The file is deflated ({DEFLATED}), which is not read.")
        data = super().read(min(size, max(0, self.size - self.tell())))
        if self.in_header:
            self.read_count += 1
            self.bytes_read += len(data)
            if self.read_count > MAX_HEADER_READS or self.bytes_read > MAX_HEADER_BYTES:
                raise HeaderLimit("The file's header is longer than a film's can be.")
        return data


@dataclass(frozen=True, slots=True)
class Layout:
    """How pixels are stored in a file (PS3.3 C.7.6.3), checked against the limits.

    Attributes:
        rows: The height in pixels.
        columns: The width in pixels.
        samples: Samples of each pixel, 1 or 3.
        allocated: Bits of each sample in the file, 8 or 16.
        stored: How many of these bits hold the value.
        high: The number of the highest bit of the value.
        signed: Whether values are in two's complement.
        photometric: The photometric interpretation, in capitals.
        planar: Whether the samples of colour are stored plane by plane.
        holds_overlay: Whether an overlay is stored in the samples' spare bits (PS3.5 8.1.2).
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: bool
    holds_overlay: bool = False


def read_header(path: str | Path) -> pydicom.Dataset:
    """Return everything of a DICOM file but its pixels, with every value converted already.

    Values that cannot be converted are left out, so that later use of the header neither raises
    nor warns. Values above LARGE_VALUE are left out too. A file without preamble is read if it
    begins like a data set.

    Raises:
        PixelError: There is no such file, or it is not DICOM, deflated or damaged.
        HeaderLimit: The header is longer than that of any radiograph.
    """
    with open_dicom(path) as (_, header):
        return header


@contextmanager
def open_dicom(path: str | Path) -> Iterator[tuple[DicomFile, pydicom.Dataset]]:
    """Open a file; yield it at its pixel data (or its end), and its header as in `read_header`."""
    try:
        file = DicomFile(path)
    except OSError as error:
        raise PixelError(f"The file cannot be opened ({error.strerror}).") from error
    with file:
        yield file, _parse(file)


def check_header(header: pydicom.Dataset) -> Layout:
    """Return the layout of the one image that a header claims; nothing is allocated.

    Raises:
        HeaderLimit: The claimed image is larger than any radiograph, or has several frames.
        PixelError: There is no image, or it has a form that no radiograph has.
    """
    rows, columns = _integer(header, "Rows"), _integer(header, "Columns")
    if rows < 1 or columns < 1:
        raise PixelError("The file has no image: it gives no rows and columns.")
    if max(rows, columns) > MAX_SIDE or rows * columns > MAX_PIXELS:
        raise HeaderLimit(f"The header claims {columns} x {rows} pixels; no film has so many.")
    frames = _integer(header, "NumberOfFrames", 1)
    if frames > 1:
        raise HeaderLimit(f"The header claims {frames} frames; a chest film has one.")
    samples = _integer(header, "SamplesPerPixel", 1)
    allocated = _integer(header, "BitsAllocated")
    stored = _integer(header, "BitsStored", allocated)
    high = _integer(header, "HighBit", stored - 1)
    if samples not in (1, 3):
        raise PixelError(f"The image has {samples} samples a pixel; 1 and 3 are read.")
    if allocated not in (8, 16) or (samples == 3 and allocated != 8):
        raise PixelError(f"The image has {allocated} bits a sample, which is not read.")
    if not (1 <= stored <= high + 1 <= allocated):
        raise PixelError(f"Bits stored {stored}, high bit {high} of {allocated} cannot be.")
    photometric = str(header.get("PhotometricInterpretation") or "").strip().upper()
    grey = photometric in ("MONOCHROME1", "MONOCHROME2")
    colour = photometric == "RGB" or photometric.startswith("YBR")
    if not (grey and samples == 1) and not (colour and samples == 3):
        raise PixelError(
            f"Photometric interpretation {photometric[:20]!r} is not read "
            f"with {samples} samples a pixel."
        )
    return Layout(
        rows,
        columns,
        samples,
        allocated,
        stored,
        high,
        _integer(header, "PixelRepresentation", 0) == 1,
        photometric,
        _integer(header, "PlanarConfiguration", 0) == 1,
        any(header.get((group, OVERLAY_BIT_POSITION)) for group in OVERLAY_GROUPS),
    )


def transfer_syntax(header: pydicom.Dataset) -> str:
    """Return the transfer syntax UID; without meta information, the one that pydicom tried."""
    uid = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if uid:
        return str(uid)
    implicit, little = header.original_encoding
    return IMPLICIT if implicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"


def _parse(file: DicomFile) -> pydicom.Dataset:
    start = file.read(132)
    # A data set without preamble begins with a short element of group 0002 or 0008.
    no_preamble = start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\x00"
    if start[128:] != b"DICM" and not no_preamble:
        raise PixelError("The file is not DICOM.")
    file.seek(0)
    try:
        with _quietly():
            header = pydicom.dcmread(
                file, stop_before_pixels=True, defer_size=LARGE_VALUE, force=no_preamble
            )
            decode_texts(header)
            _convert(header)
    except PixelError:
        raise
    except Exception as error:
        # pydicom raises whatever error the damage leads to, even a RecursionError.
        raise PixelError("The file's header is damaged.") from error
    file.in_header = False
    return header


@contextmanager
def _quietly() -> Iterator[None]:
    """Turn off pydicom's checks of values and their warnings, which quote the values."""
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _convert(dataset: pydicom.Dataset) -> None:
    """Convert every value in place; drop those that cannot be converted or stayed in the file."""
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        try:
            deferred = isinstance(raw, RawDataElement) and raw.value is None and raw.length
            element = None if deferred else dataset[tag]
        except Exception:
            element = None
        # pydicom keeps the text of a number that it cannot parse.
        if element is not None and element.VR == "DS":
            _read_decimal_commas(element)
        if element is None or (element.VR in ("IS", "DS") and isinstance(element.value, str)):
            del dataset[tag]
        elif element.VR == "SQ":
            for item in element.value:
                _convert(item)


def _read_decimal_commas(element: pydicom.DataElement) -> None:
    """Replace texts such as "1500,5" by their numbers, as viewers read them.

    One of several values that is no number becomes empty, so that the others keep their places.
    """
    several = isinstance(element.value, MultiValue)
    values = list(element.value) if several else [element.value]
    if not any(isinstance(value, str) and value for value in values):
        return
    numbers = [_decimal_or_none(value) for value in values]
    if several:
        element.value = ["" if number is None else number for number in numbers]
    elif numbers[0] is not None:
        element.value = numbers[0]


def _decimal_or_none(value: object) -> float | None:
    try:
        number = float(str(value).strip().replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _integer(header: pydicom.Dataset, keyword: str, default: int = 0) -> int:
    """Return a value as an integer, whatever its VR; `default` where there is none."""
    value = header.get(keyword)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise PixelError(f"{keyword} is not a number.") from error
