"""The header of a DICOM film, and whether what it claims can be a film. Reads no pixels.

A file comes from outside and may claim anything, so nothing is allocated on its word: a read is
held to what the file really has, and a header has a budget that no film comes near.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import config
from pydicom.dataelem import RawDataElement

from model.errors import HeaderLimit, PixelError

MAX_SIDE = 10_000
"""Rows and columns. The largest plates have 6,000."""
MAX_PIXELS = 40_000_000
"""Rows times columns: 80 MB at 16 bits."""
MAX_HEADER_BYTES = 4 << 20
"""Bytes read for a header; single values above LARGE_VALUE are not read and do not count."""
MAX_HEADER_READS = 20_000
"""Reads of a header. A film takes a few hundred; a million tiny elements would take gigabytes."""
LARGE_VALUE = 1 << 20
"""Bytes of one value that are left in the file: makers' raw data, thumbnails. A LUT has 128 KB."""
IMPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"

# pydicom's log quotes the values that it finds odd, and those are patients' names.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


class FilmFile(io.BufferedReader):
    """An open DICOM file whose reads never ask for more than the file still has.

    Python allocates the number of bytes asked for before it reads them, and a damaged element
    asks for 4 GB.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size
        self.reads = self.taken = 0
        self.within_header = True

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes and at most what is left."""
        if size is None or size < 0:
            # pydicom reads a data set to its end in one go only in order to inflate it, and one
            # deflated megabyte may become two gigabytes.
            raise PixelError(f"The file is deflated ({DEFLATED}), which is not read.")
        data = super().read(min(size, max(0, self.size - self.tell())))
        if self.within_header:
            self.reads += 1
            self.taken += len(data)
            if self.reads > MAX_HEADER_READS or self.taken > MAX_HEADER_BYTES:
                raise HeaderLimit("The file's header is longer than a film's can be.")
        return data


@dataclass(frozen=True, slots=True)
class Layout:
    """How pixels lie in a file (PS3.3 C.7.6.3), checked against the limits.

    allocated: 8 or 16 bits a sample; stored of them mean something, the highest being `high`.
    signed: two's complement. planar: samples of colour lie plane by plane.
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


def read_header(path: str | Path) -> pydicom.Dataset:
    """Everything of a DICOM file but its pixels, every value converted already.

    What cannot be converted is left out, so that a later look at the header neither raises nor
    warns. Values above LARGE_VALUE are left out too. A file without preamble is read where it
    begins like a data set.

    Raises:
        PixelError: no such file, not DICOM, deflated or damaged.
        HeaderLimit: the header is longer than any film's.
    """
    with open_film(path) as (_, header):
        return header


@contextmanager
def open_film(path: str | Path) -> Iterator[tuple[FilmFile, pydicom.Dataset]]:
    """The file, standing at its pixel data (or its end), and its header as in `read_header`."""
    try:
        file = FilmFile(path)
    except OSError as error:
        raise PixelError(f"The file cannot be opened ({error.strerror}).") from error
    with file:
        yield file, _parse(file)


def check_header(header: pydicom.Dataset) -> Layout:
    """The layout of the one image that a header claims; nothing is allocated.

    Raises:
        HeaderLimit: it claims more than a film can be.
        PixelError: it has no image, several, or one of a kind that no film is.
    """
    rows, columns = _number(header, "Rows"), _number(header, "Columns")
    if rows < 1 or columns < 1:
        raise PixelError("The file has no image: it gives no rows and columns.")
    if max(rows, columns) > MAX_SIDE or rows * columns > MAX_PIXELS:
        raise HeaderLimit(f"The header claims {columns} x {rows} pixels; no film has so many.")
    frames = _number(header, "NumberOfFrames", 1)
    if frames > 1:
        raise HeaderLimit(f"The header claims {frames} frames; a chest film has one.")
    samples = _number(header, "SamplesPerPixel", 1)
    allocated = _number(header, "BitsAllocated")
    stored = _number(header, "BitsStored", allocated)
    high = _number(header, "HighBit", stored - 1)
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
        _number(header, "PixelRepresentation", 0) == 1,
        photometric,
        _number(header, "PlanarConfiguration", 0) == 1,
    )


def transfer_syntax(header: pydicom.Dataset) -> str:
    """The file's transfer syntax UID; for a file without meta information, that found by trying."""
    named = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if named:
        return str(named)
    implicit, little = header.original_encoding
    return IMPLICIT if implicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"


def _parse(file: FilmFile) -> pydicom.Dataset:
    start = file.read(132)
    # A data set without preamble begins with a short element of group 0002 or 0008.
    bare = start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\x00"
    if start[128:] != b"DICM" and not bare:
        raise PixelError("The file is not DICOM.")
    file.seek(0)
    try:
        with _quietly():
            header = pydicom.dcmread(
                file, stop_before_pixels=True, defer_size=LARGE_VALUE, force=bare
            )
            _convert(header)
    except PixelError:
        raise
    except Exception as error:
        # pydicom answers damage with whatever the damage led to, a RecursionError among them.
        raise PixelError("The file's header is damaged.") from error
    file.within_header = False
    return header


@contextmanager
def _quietly() -> Iterator[None]:
    """Without pydicom's checks of values and their warnings, which quote the values."""
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _convert(dataset: pydicom.Dataset) -> None:
    """Converts every value in place; drops those that cannot be, and those left in the file."""
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        try:
            left = isinstance(raw, RawDataElement) and raw.value is None and raw.length
            element = None if left else dataset[tag]
        except Exception:
            element = None
        # pydicom leaves a number that is none as the text it was.
        if element is None or (element.VR in ("IS", "DS") and isinstance(element.value, str)):
            del dataset[tag]
        elif element.VR == "SQ":
            for part in element.value:
                _convert(part)


def _number(header: pydicom.Dataset, keyword: str, otherwise: int = 0) -> int:
    """A whole number, of whatever kind the file made it; `otherwise` where there is none."""
    value = header.get(keyword)
    if value is None or value == "":
        return otherwise
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise PixelError(f"{keyword} is not a number.") from error
