"""The pixels of a DICOM file as the network reads them: a small square of grey.

file -> header, checked before anything is allocated -> stored samples -> modality LUT -> VOI LUT
or window -> MONOCHROME1 inversion -> resize (PS3.4 N.2). All steps before the resize depend on one
sample alone, so they are computed once for every bit pattern and looked up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from model.dicom.codecs import Samples, StoredArray, read_stored
from model.dicom.header import Layout, check_header, open_dicom, read_header, transfer_syntax
from model.errors import PixelError

__all__ = ["RESIZES", "check_header", "display_pixels", "read_header", "view_pixels"]

RESIZES = ("square",)
"""square: the whole image resized to a square, bicubic, as the paper's network was trained."""

CLIPPED_SHARE = 0.001
"""Without window or LUT, the share of pixels at either end that may become black or white."""

DECODED_SIDES = 2
"""A codec may decode a reduced image for a view, with sides at least so many times the view's."""

MAX_STEP = 4
"""Where one value is more grey levels from the next, the whole image is decoded: the grey of a mean
value is then too far from the mean of the greys."""

AVERAGED_SIDES = 5
"""Blocks of pixels are averaged first, to sides not less than so many times the view's. At 3, sharp
edges err by up to 20 grey levels, at 5 by 2 or 3. Blocks must fit the image: one that its edge cuts
would represent fewer pixels than the space it gets."""

REDUCING_GAP = 3.0
"""The same factor for display, by Pillow, which allows cut blocks."""

_BAND = 64  # rows looked up at once: few enough for the cache, and for a small copy in 64 bits

Values = NDArray[np.float64]
"""One value for each bit pattern of a sample: (256,) or (65536,)."""


def view_pixels(path: str | Path, size: int, resize: str = "square") -> NDArray[np.uint8]:
    """Return the image in a file as the network reads it.

    Args:
        path: The DICOM file.
        size: The sides of the view in pixels.
        resize: One of RESIZES.

    Returns:
        (size, size) uint8, from 0 for black to 255 for white, air dark.

    Raises:
        PixelError: The pixels cannot be read; the message says why and names no patient.
        HeaderLimit: The header claims more than a radiograph can have; nothing was allocated.
        ValueError: There is no such resize.
    """
    if resize not in RESIZES:
        raise ValueError(f"no such resize: {resize}; there are {', '.join(RESIZES)}")
    return _resize(_read_grey(path, min_side=DECODED_SIDES * size), size)


def display_pixels(path: str | Path, max_side: int) -> NDArray[np.uint8]:
    """Return the image for display: its own shape, no side longer than `max_side`.

    Everything else is as in `view_pixels`.

    Raises:
        PixelError, HeaderLimit: As `view_pixels`.
    """
    image = Image.fromarray(_read_grey(path).pixels)
    image.thumbnail((max_side, max_side), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    return np.array(image)


@dataclass(frozen=True, slots=True)
class GreyImage:
    """An image as a viewer would show it.

    Attributes:
        pixels: (rows, columns) uint8, perhaps reduced.
        sides: Columns and rows of the whole image.
        halvings: As `Samples.halvings`.
        lift: As `Samples.lift`.
    """

    pixels: NDArray[np.uint8]
    sides: tuple[int, int]
    halvings: int = 0
    lift: float = 0.0


def _read_grey(path: str | Path, min_side: int = 0) -> GreyImage:
    """Read the image in a file; perhaps reduced, with at least `min_side` pixels a side."""
    with open_dicom(path) as (file, header):
        layout = check_header(header)
        implicit, little = header.original_encoding
        syntax = transfer_syntax(header)
        start = file.tell()
        for side in (min_side, 0):
            file.seek(start)
            samples = read_stored(
                file, layout, syntax, implicit=implicit, little=little, min_side=side
            )
            grey = _render(samples, layout, header)
            if grey is not None:
                sides = (layout.columns, layout.rows)
                return GreyImage(grey, sides, samples.halvings, samples.lift)
    raise AssertionError("a whole image can always be rendered")


def _render(samples: Samples, layout: Layout, header: pydicom.Dataset) -> NDArray[np.uint8] | None:
    """Return the samples as (rows, columns) uint8; None where the whole image is needed."""
    try:
        if layout.samples == 3:
            return _grey_of_colour(samples.stored, layout)
        return _render_grey(samples, layout, header)
    except PixelError:
        raise
    except Exception as error:  # window and tables may hold anything
        raise PixelError("The film's grey scale is damaged.") from error


def _render_grey(
    samples: Samples, layout: Layout, header: pydicom.Dataset
) -> NDArray[np.uint8] | None:
    stored = samples.stored
    patterns = np.arange(256 if stored.dtype == np.uint8 else 65536)
    raw = _raw_values(patterns, samples.bits, layout)
    values = _apply_modality(raw, header)
    padding = _padding(raw, header)
    share = _apply_voi(values, header)
    windowed = share is not None
    if not windowed and layout.stored <= 8 and values is raw and not layout.signed:
        # Eight bits without a window were made for display, so they are shown unchanged.
        share = raw / (2**layout.stored - 1)
    if share is not None:
        table = _table(share, padding, layout, header)
        if samples.halvings and _max_step(table, raw) > MAX_STEP:
            return None
        grey = _look_up(table, stored)
        if not windowed or grey.min() < grey.max():
            return grey
        # A window that leaves one grey level belongs to other values than these.
    if samples.halvings:  # only the whole image has the lightest and darkest values
        return None
    return _look_up(_table(_full_range(values, stored, padding), padding, layout, header), stored)


def _table(
    share: Values, padding: NDArray[np.bool_], layout: Layout, header: pydicom.Dataset
) -> NDArray[np.uint8]:
    """Return the grey level of each bit pattern."""
    table = np.rint(255 * np.clip(1 - share if _inverted(layout, header) else share, 0, 1))
    table[padding] = 0
    return table.astype(np.uint8)


def _max_step(table: NDArray[np.uint8], raw: Values) -> int:
    """Return the largest step in grey levels from one raw value to the next."""
    levels = table[np.argsort(raw, kind="stable")].astype(np.int16)
    return int(np.abs(np.diff(levels)).max())


def _raw_values(patterns: NDArray[np.int_], bits: int, layout: Layout) -> Values:
    """Return the value of each bit pattern: only the stored bits count, the sign among them.

    Args:
        patterns: All bit patterns of a sample.
        bits: The codestream's precision, or 0 where samples are stored as BitsStored and HighBit
            say. An encoder may keep more bits than BitsStored; they are cut off only where there
            is a sign.
        layout: The layout that the header gives.
    """
    if not bits:
        patterns = patterns >> (layout.high + 1 - layout.stored)
        bits = layout.stored
    elif layout.signed:
        bits = min(bits, layout.stored)
    values = patterns & (2**bits - 1)
    if layout.signed:
        values = np.where(values >= 2 ** (bits - 1), values - 2**bits, values)
    return np.asarray(values, np.float64)


def _apply_modality(raw: Values, header: pydicom.Dataset) -> Values:
    """Apply modality LUT or rescale (PS3.3 C.11.1); return `raw` itself where there is neither."""
    table = _lookup_table(header, "ModalityLUTSequence")
    if table is not None:
        return table(raw)[0]
    slope, intercept = _decimal(header, "RescaleSlope"), _decimal(header, "RescaleIntercept")
    if not slope or (slope == 1 and not intercept):
        return raw
    return raw * slope + (intercept or 0.0)


def _apply_voi(values: Values, header: pydicom.Dataset) -> Values | None:
    """Return shares of white by VOI LUT or first window (PS3.3 C.11.2); None without either."""
    table = _lookup_table(header, "VOILUTSequence")
    if table is not None:
        looked_up, white = table(values)
        return looked_up / white
    centre, width = _decimal(header, "WindowCenter"), _decimal(header, "WindowWidth")
    function = str(header.get("VOILUTFunction") or "LINEAR").strip().upper()
    if centre is None or width is None or width <= 0 or (width < 1 and function == "LINEAR"):
        return None
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # far below the window exp overflows: the share is 0
            return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if width == 1:
        return np.where(values > centre - 0.5, 1.0, 0.0)
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _full_range(values: Values, stored: StoredArray, padding: NDArray[np.bool_]) -> Values:
    """Return shares of white from the darkest to the lightest value, but for CLIPPED_SHARE."""
    counts = np.zeros(len(values), np.int64)
    for top in range(0, len(stored), _BAND):
        counts += np.bincount(stored[top : top + _BAND].ravel(), minlength=len(values))
    counts[padding] = 0
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(counts[order])
    total = int(cumulative[-1])
    if not total:
        return np.zeros_like(values)
    low = values[order[np.searchsorted(cumulative, total * CLIPPED_SHARE, side="right")]]
    high = values[order[np.searchsorted(cumulative, total * (1 - CLIPPED_SHARE))]]
    return np.asarray((values - low) / ((high - low) or 1.0))


def _padding(raw: Values, header: pydicom.Dataset) -> NDArray[np.bool_]:
    """Return which patterns are padding (PS3.3 C.7.5.1.1.2); its limits have either order."""
    value = _decimal(header, "PixelPaddingValue")
    if value is None:
        return np.zeros(len(raw), bool)
    limit = _decimal(header, "PixelPaddingRangeLimit")
    limit = value if limit is None else limit
    low, high = min(value, limit), max(value, limit)
    if raw.min() < 0 and low > raw.max():  # written as unsigned in a signed image
        low, high = low - 65536, high - 65536
    return (raw >= low) & (raw <= high)


def _inverted(layout: Layout, header: pydicom.Dataset) -> bool:
    """Return whether MONOCHROME1 or Presentation LUT Shape INVERSE is given; both mean the same."""
    shape = str(header.get("PresentationLUTShape") or "").strip().upper()
    return layout.photometric == "MONOCHROME1" or shape == "INVERSE"


def _lookup_table(
    header: pydicom.Dataset, sequence: str
) -> Callable[[Values], tuple[Values, float]] | None:
    """Return the first LUT of a sequence as values -> (entries, largest possible entry)."""
    first = next(iter(header.get(sequence) or ()), None)
    if first is None or "LUTDescriptor" not in first or "LUTData" not in first:
        return None
    little = header.original_encoding[1]
    length, start, bits = (int(n) for n in _integers(first.LUTDescriptor, 3, little)[:3])
    length = length or 65536
    entries = _integers(first.LUTData, length, little)[:length]
    if not len(entries) or not 1 <= bits <= 16:
        raise PixelError("The film's lookup table is damaged.")

    def look_up(values: Values) -> tuple[Values, float]:
        # The first value is signed where the image is, but it is often written as unsigned.
        first_value = start - 65536 if start > 32767 and values.min() < 0 else start
        index = np.clip(np.rint(values) - first_value, 0, len(entries) - 1).astype(np.intp)
        return entries[index].astype(np.float64), float(2**bits - 1)

    return look_up


def _integers(value: Any, count: int, little: bool) -> NDArray[np.int64]:
    """Return the integers of a value that pydicom left as bytes (one or two each) or parsed."""
    if isinstance(value, bytes):
        kind = "u1" if len(value) < 2 * count else "<u2" if little else ">u2"
        value = np.frombuffer(value[: count * np.dtype(kind).itemsize], kind)
    return np.atleast_1d(np.asarray(value)).astype(np.int64)


def _decimal(header: pydicom.Dataset, keyword: str) -> float | None:
    """Return the first number of a value, or None where it is not finite."""
    value = header.get(keyword)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        value = value[0] if value else None
    if isinstance(value, bytes) and len(value) == 2:
        value = int.from_bytes(value, "little" if header.original_encoding[1] else "big")
    try:
        number = float(value) if value is not None else math.nan
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _grey_of_colour(stored: StoredArray, layout: Layout) -> NDArray[np.uint8]:
    """Return the brightness (ITU-R BT.601) of a colour image, as of a secondary capture."""
    if stored.ndim == 2:  # the decoder has converted it
        return stored.astype(np.uint8, copy=False)
    if layout.photometric.startswith("YBR") and layout.photometric not in ("YBR_RCT", "YBR_ICT"):
        return np.ascontiguousarray(stored[:, :, 0]).astype(np.uint8, copy=False)
    colours = Image.fromarray(np.ascontiguousarray(stored).astype(np.uint8, copy=False))
    return np.asarray(colours.convert("L"))


def _look_up(table: NDArray[np.uint8], stored: StoredArray) -> NDArray[np.uint8]:
    grey = np.empty(stored.shape, np.uint8)
    for top in range(0, len(stored), _BAND):
        # `take` into a new array is faster than with `out=`, whatever the mode.
        grey[top : top + _BAND] = table.take(stored[top : top + _BAND])
    return grey


def _resize(grey: GreyImage, size: int) -> NDArray[np.uint8]:
    """Return (size, size): blocks that fit are averaged, then Pillow resizes (bicubic)."""
    pixels, box = grey.pixels, None
    if grey.halvings:
        # A sample of a reduced image stands at the first pixel of its block, not at the centre.
        power = 2**grey.halvings
        first = 0.5 - 0.5 / power
        box = (first, first, grey.sides[0] / power + first, grey.sides[1] / power + first)
        pixels = np.pad(pixels, ((0, 1), (0, 1)), mode="edge")
    image = Image.fromarray(pixels)
    if grey.lift:
        line = np.array([grey.lift, 1 - 2 * grey.lift, grey.lift])
        image = image.filter(
            ImageFilter.Kernel((3, 3), np.outer(line, line).ravel().tolist(), scale=1)
        )
    blocks = [_block_side(side, size) for side in image.size]
    if box is None and max(blocks) > 1:
        image = image.reduce((blocks[0], blocks[1]))
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _block_side(side: int, size: int) -> int:
    """Return the longest block that divides a side and that AVERAGED_SIDES allows, in pixels."""
    limit = max(1, side // (AVERAGED_SIDES * size))
    return next(block for block in range(limit, 0, -1) if side % block == 0)
