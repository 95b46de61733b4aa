"""A DICOM film as the network wants it: a small square of grey. Knows no torch and no patients.

file -> header, checked before anything is allocated -> stored samples -> modality LUT -> VOI LUT
or window -> MONOCHROME1 inversion -> resize (PS3.4 N.2). All steps up to the resize depend on one
sample alone, so they are worked out once for every bit pattern and looked up. Which films to read
is model.dicom.views' word.
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

from model.dicom.codecs import Samples, Stored, read_stored
from model.dicom.header import Layout, check_header, open_film, read_header, transfer_syntax
from model.errors import PixelError

__all__ = ["RESIZES", "check_header", "read_header", "shown_pixels", "view_pixels"]

RESIZES = ("square",)
"""square: the whole film pressed into a square, bicubic, as the paper's network was trained."""

OUTERMOST = 0.001
"""Without window or LUT, the share of pixels at either end that may be cut to black or white."""

DECODED = 2
"""A codec may leave a view's film halved, with both sides at least so many times the view's."""

STEEPEST = 4
"""Grey levels from one value to the next, above which a film is decoded whole: the mean of what
is shown is then no longer what is shown of the mean."""

AVERAGED = 5
"""Blocks of pixels are averaged first, down to no less than so many times the view's sides; at 3
sharp edges err by up to 20 grey levels, at 5 by 2 or 3. Blocks must fit: one that is cut by the
film's edge stands for less than it is given room for."""

REDUCING_GAP = 3.0
"""The same for eyes, by Pillow, which lets blocks be cut."""

_BAND = 64  # rows looked up at a time: few enough to stay in the cache, and no copy in 64 bits

Values = NDArray[np.float64]
"""One value for each bit pattern of a sample: (256,) or (65536,)."""


def view_pixels(path: str | Path, size: int, resize: str = "square") -> NDArray[np.uint8]:
    """The film in a file as (size, size) uint8, 0 black to 255 white, air dark.

    Raises:
        PixelError: these pixels cannot be read; the words say why, without a patient in them.
        HeaderLimit: the header claims more than a film can be; nothing was allocated.
        ValueError: no such resize.
    """
    if resize not in RESIZES:
        raise ValueError(f"no such resize: {resize}; there are {', '.join(RESIZES)}")
    return _resized(_film(path, least=DECODED * size), size)


def shown_pixels(path: str | Path, longest: int) -> NDArray[np.uint8]:
    """The film for eyes: its own shape, no side longer than `longest`, otherwise as view_pixels.

    Raises:
        PixelError, HeaderLimit: as view_pixels.
    """
    film = Image.fromarray(_film(path).pixels)
    film.thumbnail((longest, longest), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    return np.array(film)


@dataclass(frozen=True, slots=True)
class Grey:
    """A film as a viewer would show it: `pixels` (rows, columns) uint8, perhaps halved (Samples).

    sides: columns and rows of the whole film.
    """

    pixels: NDArray[np.uint8]
    sides: tuple[int, int]
    halvings: int = 0
    lift: float = 0.0


def _film(path: str | Path, least: int = 0) -> Grey:
    """The film in a file; halved, where that serves, with at least `least` pixels a side."""
    with open_film(path) as (file, header):
        layout = check_header(header)
        implicit, little = header.original_encoding
        syntax = transfer_syntax(header)
        start = file.tell()
        for kept in (least, 0):
            file.seek(start)
            film = read_stored(file, layout, syntax, implicit=implicit, little=little, least=kept)
            grey = _grey(film, layout, header)
            if grey is not None:
                return Grey(grey, (layout.columns, layout.rows), film.halvings, film.lift)
    raise AssertionError("a whole film is always shown")


def _grey(film: Samples, layout: Layout, header: pydicom.Dataset) -> NDArray[np.uint8] | None:
    """(rows, columns) uint8 as a viewer would show it; None where a halved film will not do."""
    try:
        if layout.samples == 3:
            return _grey_of_colour(film.stored, layout)
        return _shown(film, layout, header)
    except PixelError:
        raise
    except Exception as error:  # whatever a header may say of its window and tables
        raise PixelError("The film's grey scale is damaged.") from error


def _shown(film: Samples, layout: Layout, header: pydicom.Dataset) -> NDArray[np.uint8] | None:
    stored = film.stored
    patterns = np.arange(256 if stored.dtype == np.uint8 else 65536)
    raw = _raw_values(patterns, film.bits, layout)
    values = _modality(raw, header)
    padding = _padding(raw, header)
    share = _voi(values, header)
    windowed = share is not None
    if not windowed and layout.stored <= 8 and values is raw and not layout.signed:
        # Eight bits without a window have been made for display; they are shown as they are.
        share = raw / (2**layout.stored - 1)
    if share is not None:
        table = _table(share, padding, layout, header)
        if film.halvings and _steepest(table, raw) > STEEPEST:
            return None
        grey = _looked_up(table, stored)
        if not windowed or grey.min() < grey.max():
            return grey
        # A window that leaves nothing to see belongs to other values than these.
    if film.halvings:  # the lightest and darkest values are in the whole film only
        return None
    return _looked_up(_table(_range(values, stored, padding), padding, layout, header), stored)


def _table(
    share: Values, padding: NDArray[np.bool_], layout: Layout, header: pydicom.Dataset
) -> NDArray[np.uint8]:
    """What is shown of each bit pattern."""
    table = np.rint(255 * np.clip(1 - share if _inverted(layout, header) else share, 0, 1))
    table[padding] = 0
    return table.astype(np.uint8)


def _steepest(table: NDArray[np.uint8], raw: Values) -> int:
    """The most grey levels from one raw value to the next."""
    levels = table[np.argsort(raw, kind="stable")].astype(np.int16)
    return int(np.abs(np.diff(levels)).max())


def _raw_values(patterns: NDArray[np.int_], bits: int, layout: Layout) -> Values:
    """The value of each bit pattern: what is not stored bits is cut off, then the sign is read.

    bits: the codestream's precision, or 0 where samples lie as BitsStored and HighBit say. An
    encoder may keep more bits than BitsStored; fewer are meant only where there is a sign.
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


def _modality(raw: Values, header: pydicom.Dataset) -> Values:
    """Modality LUT or rescale (PS3.3 C.11.1); `raw` itself where there is neither."""
    table = _lookup_table(header, "ModalityLUTSequence")
    if table is not None:
        return table(raw)[0]
    slope, intercept = _decimal(header, "RescaleSlope"), _decimal(header, "RescaleIntercept")
    if not slope or (slope == 1 and not intercept):
        return raw
    return raw * slope + (intercept or 0.0)


def _voi(values: Values, header: pydicom.Dataset) -> Values | None:
    """VOI LUT, else the first window (PS3.3 C.11.2), as shares of white; None without either."""
    table = _lookup_table(header, "VOILUTSequence")
    if table is not None:
        looked_up, white = table(values)
        return looked_up / white
    centre, width = _decimal(header, "WindowCenter"), _decimal(header, "WindowWidth")
    function = str(header.get("VOILUTFunction") or "LINEAR").strip().upper()
    if centre is None or width is None or width <= 0 or (width < 1 and function == "LINEAR"):
        return None
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # far below the window the exponent runs out: share 0
            return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if width == 1:
        return np.where(values > centre - 0.5, 1.0, 0.0)
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _range(values: Values, stored: Stored, padding: NDArray[np.bool_]) -> Values:
    """From the darkest to the lightest value of the film, as shares of white, ends cut."""
    counts = np.zeros(len(values), np.int64)
    for top in range(0, len(stored), _BAND):
        counts += np.bincount(stored[top : top + _BAND].ravel(), minlength=len(values))
    counts[padding] = 0
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    total = int(reached[-1])
    if not total:
        return np.zeros_like(values)
    low = values[order[np.searchsorted(reached, total * OUTERMOST, side="right")]]
    high = values[order[np.searchsorted(reached, total * (1 - OUTERMOST))]]
    return np.asarray((values - low) / ((high - low) or 1.0))


def _padding(raw: Values, header: pydicom.Dataset) -> NDArray[np.bool_]:
    """Which patterns are padding, shown black (PS3.3 C.7.5.1.1.2). The range may be either way."""
    value = _decimal(header, "PixelPaddingValue")
    if value is None:
        return np.zeros(len(raw), bool)
    limit = _decimal(header, "PixelPaddingRangeLimit")
    limit = value if limit is None else limit
    low, high = min(value, limit), max(value, limit)
    if raw.min() < 0 and low > raw.max():  # written as unsigned in a signed film
        low, high = low - 65536, high - 65536
    return (raw >= low) & (raw <= high)


def _inverted(layout: Layout, header: pydicom.Dataset) -> bool:
    """MONOCHROME1, or Presentation LUT Shape INVERSE, which says the same: never twice."""
    shape = str(header.get("PresentationLUTShape") or "").strip().upper()
    return layout.photometric == "MONOCHROME1" or shape == "INVERSE"


def _lookup_table(
    header: pydicom.Dataset, sequence: str
) -> Callable[[Values], tuple[Values, float]] | None:
    """The first LUT of a sequence: values in, entries and the largest possible entry out."""
    first = next(iter(header.get(sequence) or ()), None)
    if first is None or "LUTDescriptor" not in first or "LUTData" not in first:
        return None
    little = header.original_encoding[1]
    length, start, bits = (int(n) for n in _words(first.LUTDescriptor, 3, little)[:3])
    length = length or 65536
    entries = _words(first.LUTData, length, little)[:length]
    if not len(entries) or not 1 <= bits <= 16:
        raise PixelError("The film's lookup table is damaged.")

    def look_up(values: Values) -> tuple[Values, float]:
        # The first value is signed where the film is; it is often written as if it were not.
        first_value = start - 65536 if start > 32767 and values.min() < 0 else start
        index = np.clip(np.rint(values) - first_value, 0, len(entries) - 1).astype(np.intp)
        return entries[index].astype(np.float64), float(2**bits - 1)

    return look_up


def _words(value: Any, count: int, little: bool) -> NDArray[np.int64]:
    """Whole numbers of a value that pydicom left as bytes (one or two each) or made a list of."""
    if isinstance(value, bytes):
        kind = "u1" if len(value) < 2 * count else "<u2" if little else ">u2"
        value = np.frombuffer(value[: count * np.dtype(kind).itemsize], kind)
    return np.atleast_1d(np.asarray(value)).astype(np.int64)


def _decimal(header: pydicom.Dataset, keyword: str) -> float | None:
    """The first number of a value, or None where it is not a finite one."""
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


def _grey_of_colour(stored: Stored, layout: Layout) -> NDArray[np.uint8]:
    """A colour film (a photograph of one, a secondary capture) by its brightness (ITU-R BT.601)."""
    if stored.ndim == 2:  # the decoder has done it
        return stored.astype(np.uint8, copy=False)
    if layout.photometric.startswith("YBR") and layout.photometric not in ("YBR_RCT", "YBR_ICT"):
        return np.ascontiguousarray(stored[:, :, 0]).astype(np.uint8, copy=False)
    colours = Image.fromarray(np.ascontiguousarray(stored).astype(np.uint8, copy=False))
    return np.asarray(colours.convert("L"))


def _looked_up(table: NDArray[np.uint8], stored: Stored) -> NDArray[np.uint8]:
    grey = np.empty(stored.shape, np.uint8)
    for top in range(0, len(stored), _BAND):
        # Looking up into an array of its own is faster than `out=`, whatever the mode.
        grey[top : top + _BAND] = table.take(stored[top : top + _BAND])
    return grey


def _resized(film: Grey, size: int) -> NDArray[np.uint8]:
    """(size, size): blocks that fit averaged, then bicubic by Pillow."""
    whole, box = film.pixels, None
    if film.halvings:
        # Samples stand at the first pixel of those that they stand for, not in their middle.
        power = 2**film.halvings
        first = 0.5 - 0.5 / power
        box = (first, first, film.sides[0] / power + first, film.sides[1] / power + first)
        whole = np.pad(whole, ((0, 1), (0, 1)), mode="edge")
    image = Image.fromarray(whole)
    if film.lift:
        line = np.array([film.lift, 1 - 2 * film.lift, film.lift])
        image = image.filter(
            ImageFilter.Kernel((3, 3), np.outer(line, line).ravel().tolist(), scale=1)
        )
    blocks = [_block(side, size) for side in image.size]
    if box is None and max(blocks) > 1:
        image = image.reduce((blocks[0], blocks[1]))
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _block(side: int, size: int) -> int:
    """Pixels to average along a side: as many as AVERAGED allows and as divide it."""
    most = max(1, side // (AVERAGED * size))
    return next(block for block in range(most, 0, -1) if side % block == 0)
