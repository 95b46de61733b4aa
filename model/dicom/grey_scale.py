"""The grey scale of a header, from a stored value to a share of white (PS3.3 C.11.1, C.11.2).

Everything here depends on one sample alone, so it is computed once for every bit pattern of a
sample. Headers in use break the standard in known ways; what they mean is read where only one
meaning is possible, as DCMTK and the larger viewers read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from model.dicom.header import Layout
from model.errors import PixelError

MAX_VOIS = 8
"""Windows and lookup tables of one header that are tried, of each kind."""

CLIPPED_SHARE = 0.001
"""Without window or LUT, the share of pixels at either end that may become black or white."""

BORDER_GAP = 0.5
"""A lightest or darkest value that stands further from the rest than this share of the rest's range
is a border (collimation, padding that is not declared) and does not count for the range."""

Values = NDArray[np.float64]
"""One value for each bit pattern of a sample: (256,) or (65536,)."""


@dataclass(frozen=True, slots=True)
class Voi:
    """A window or VOI LUT of a header.

    Attributes:
        share: The share of white of each bit pattern, not clipped; None where the window or LUT
            cannot be used (a width of 0, a damaged LUT).
        window: The centre and the width of a window; None of a LUT.
        function: How a window maps values (0028,1056); "" of a LUT.
        name: What the header calls it (0028,1055) (0028,3003), as sent; "" where it does not.
    """

    share: Values | None
    window: tuple[float, float] | None = None
    function: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class GreyScale:
    """What a header says of the values of its image.

    Attributes:
        raw: The stored value of each bit pattern, its sign considered.
        values: The same after Modality LUT or rescale; `raw` itself where there is neither.
        padding: Which patterns are padding, to be shown black.
        is_inverted: Whether low values are light.
        is_negative_unclear: Whether the header says both that low values are light and that they
            are dark.
        vois: The header's VOI LUTs, then its windows. All have no share where the values are not
            known because the Modality LUT is damaged.
        rescale: Slope and intercept from `raw` to `values`; None where a Modality LUT gives them.
    """

    raw: Values
    values: Values
    padding: NDArray[np.bool_]
    is_inverted: bool
    is_negative_unclear: bool
    vois: tuple[Voi, ...]
    rescale: tuple[float, float] | None = (1.0, 0.0)

    def table(self, share: Values) -> NDArray[np.uint8]:
        """Return the grey level of each bit pattern for a share of white."""
        levels = np.rint(255 * np.clip(1 - share if self.is_inverted else share, 0, 1))
        levels[self.padding] = 0
        return levels.astype(np.uint8)


def read_grey_scale(header: pydicom.Dataset, layout: Layout, bits: int, depth: int) -> GreyScale:
    """Read the grey scale of a header.

    Args:
        header: The header.
        layout: The layout that it gives.
        bits: The codestream's precision, or 0 where samples are stored as BitsStored and HighBit
            say.
        depth: The bits of a sample's pattern, 8 or 16.
    """
    patterns = np.arange(2**depth)
    raw = _raw_values(patterns, bits, layout)
    padding = _padding(patterns, raw, header, layout)
    is_inverted, is_unclear = _read_polarity(header, layout)
    try:
        values, rescale = _apply_modality(raw, header)
    except PixelError:
        return GreyScale(raw, raw, padding, is_inverted, is_unclear, (Voi(None),))
    vois = tuple(_vois(values, header))
    return GreyScale(raw, values, padding, is_inverted, is_unclear, vois, rescale)


def own_range(values: Values, counts: NDArray[np.int64]) -> Values:
    """Return shares of white from an image's darkest to its lightest value (`own_limits`)."""
    limits = own_limits(values, counts)
    if limits is None:
        return np.zeros_like(values)
    low, high = limits
    return np.asarray((values - low) / ((high - low) or 1.0))


def own_limits(values: Values, counts: NDArray[np.int64]) -> tuple[float, float] | None:
    """Return an image's darkest and its lightest value; None where no pixel counts.

    CLIPPED_SHARE of the pixels at either end, and borders, do not count.

    Args:
        values: The value of each bit pattern.
        counts: How many pixels have each pattern; padding has none.
    """
    used = np.flatnonzero(counts)
    if not used.size:
        return None
    # Patterns may share a value: the bits above the stored ones do not count.
    levels, positions = np.unique(values[used], return_inverse=True)
    pixels = np.bincount(positions, weights=counts[used]).astype(np.int64)
    first, last = _clipped(pixels)
    if last - first > 1:
        inner_first, inner_last = (first + 1 + end for end in _clipped(pixels[first + 1 : last]))
        least_gap = BORDER_GAP * (levels[inner_last] - levels[inner_first])
        if levels[inner_first] - levels[first] > least_gap > 0:
            first = inner_first
        if levels[last] - levels[inner_last] > least_gap > 0:
            last = inner_last
    return float(levels[first]), float(levels[last])


def _clipped(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Return the first and the last level that remain without CLIPPED_SHARE at either end."""
    cumulative = np.cumsum(counts)
    total = cumulative[-1]
    return (
        int(np.searchsorted(cumulative, total * CLIPPED_SHARE, side="right")),
        int(np.searchsorted(cumulative, total * (1 - CLIPPED_SHARE))),
    )


def _raw_values(patterns: NDArray[np.int_], bits: int, layout: Layout) -> Values:
    """Return the value of each bit pattern: only the stored bits count, the sign among them.

    Overlays may lie in the other bits. A codestream of fewer bits than HighBit + 1 holds the
    stored bits as its lowest ones, a longer one whole samples (PS3.5 8.1.1, 8.2).
    """
    if not bits or bits > layout.high:
        patterns = patterns >> (layout.high + 1 - layout.stored)
        bits = layout.stored
    bits = min(bits, layout.stored)
    values = patterns & (2**bits - 1)
    if layout.signed:
        values = np.where(values >= 2 ** (bits - 1), values - 2**bits, values)
    return np.asarray(values, np.float64)


def _apply_modality(
    raw: Values, header: pydicom.Dataset
) -> tuple[Values, tuple[float, float] | None]:
    """Apply modality LUT or rescale (PS3.3 C.11.1).

    Returns:
        The values, `raw` itself where there is neither; and slope and intercept, or None of a LUT.

    Raises:
        PixelError: The LUT is damaged, so that the values are not known.
    """
    for item in _lookup_items(header, "ModalityLUTSequence"):
        return _read_table(item, raw, _is_little(header)).look_up(raw), None
    slope, intercept = _decimal(header, "RescaleSlope"), _decimal(header, "RescaleIntercept")
    if not slope or (slope == 1 and not intercept):
        return raw, (1.0, 0.0)
    return raw * slope + (intercept or 0.0), (slope, intercept or 0.0)


def _vois(values: Values, header: pydicom.Dataset) -> Iterator[Voi]:
    """Yield the VOI LUTs and the windows of a header (PS3.3 C.11.2)."""
    for item in _lookup_items(header, "VOILUTSequence")[:MAX_VOIS]:
        try:
            table = _read_table(item, values, _is_little(header))
        except PixelError:
            yield Voi(None)
        else:
            name = _text(item.get("LUTExplanation"))
            yield Voi(table.look_up(values) / table.white, name=name)
    function = str(header.get("VOILUTFunction") or "LINEAR").strip().upper()
    centres, widths = _decimals(header, "WindowCenter"), _decimals(header, "WindowWidth")
    names = _texts(header.get("WindowCenterWidthExplanation"))
    for number, (centre, width) in enumerate(list(zip(centres, widths, strict=False))[:MAX_VOIS]):
        share = _window(values, centre, width, function)
        if share is None or centre is None or width is None:
            yield Voi(None)
        else:
            name = names[number] if number < len(names) else ""
            yield Voi(share, (centre, width), function, name)


def _window(
    values: Values, centre: float | None, width: float | None, function: str
) -> Values | None:
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


def _padding(
    patterns: NDArray[np.int_], raw: Values, header: pydicom.Dataset, layout: Layout
) -> NDArray[np.bool_]:
    """Return which patterns are padding (PS3.3 C.7.5.1.1.2); its limits have either order.

    A limit has the sign of the pixels and is often written with the other. One that no stored value
    has may still be the pattern of a whole sample (65535 in an image of 12 bits).
    """
    value = _decimal(header, "PixelPaddingValue")
    if value is None:
        return np.zeros(len(raw), bool)
    limit = _decimal(header, "PixelPaddingRangeLimit")
    value = _with_the_pixels_sign(value, layout)
    limit = value if limit is None else _with_the_pixels_sign(limit, layout)
    is_padding = (raw >= min(value, limit)) & (raw <= max(value, limit))
    if value == limit and not is_padding.any():
        is_padding = patterns == int(value) % len(patterns)
    return np.asarray(is_padding, bool)


def _with_the_pixels_sign(value: float, layout: Layout) -> float:
    """Return a value that was written with the other sign in the samples' bits as it was meant."""
    if layout.signed and value >= 2 ** (layout.allocated - 1):
        return value - float(2**layout.allocated)
    if not layout.signed and value < 0:
        return value + float(2**layout.allocated)
    return value


def _read_polarity(header: pydicom.Dataset, layout: Layout) -> tuple[bool, bool]:
    """Return whether low values are light, and whether the header contradicts itself there.

    MONOCHROME1 and Presentation LUT Shape INVERSE both say so, and a header that has the shape must
    give both or neither (PS3.3 C.8.11.3.1.2). Viewers differ on a header that gives one of them.
    """
    shape = str(header.get("PresentationLUTShape") or "").strip().upper()
    is_mono1 = layout.photometric == "MONOCHROME1"
    is_unclear = shape == ("IDENTITY" if is_mono1 else "INVERSE")
    return is_mono1 or shape == "INVERSE", is_unclear


# ---- Lookup tables ----


@dataclass(frozen=True, slots=True)
class _LookupTable:
    """A LUT: `entries` from `first` on; `white` is the largest entry that its bits can hold."""

    first: int
    entries: NDArray[np.int64]
    white: float

    def look_up(self, values: Values) -> Values:
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return np.asarray(self.entries[index], np.float64)


def _lookup_items(header: pydicom.Dataset, sequence: str) -> list[pydicom.Dataset]:
    """Return the items of a sequence that hold a LUT; one with values left in the file does not."""
    items = header.get(sequence) or ()
    return [item for item in items if "LUTDescriptor" in item and "LUTData" in item]


def _read_table(item: pydicom.Dataset, values: Values, little: bool) -> _LookupTable:
    """Read a LUT (PS3.3 C.11.1.1, C.11.2.1.1).

    Args:
        item: The item of the sequence.
        values: The values that will be looked up.
        little: Whether the data set is little endian.

    Raises:
        PixelError: It has no descriptor of three numbers or no entries.
    """
    try:
        descriptor = [int(number) for number in _words(item.LUTDescriptor, little)]
        words = _words(item.LUTData, little)
    except (TypeError, ValueError) as error:
        raise PixelError("The film's lookup table is damaged.") from error
    if len(descriptor) < 3 or not len(words):
        raise PixelError("The film's lookup table is damaged.")
    length, first, bits = descriptor[:3]
    length = length or 65536
    if len(words) == (length + 1) // 2 and length > 1:
        # Entries of eight bits, two in a word, the first in the low byte.
        words = np.stack((words & 0xFF, words >> 8), axis=-1).ravel()
    entries = words[:length]
    return _LookupTable(
        _first_value(first, length, values), entries, float(2 ** _entry_bits(bits, entries) - 1)
    )


def _entry_bits(claimed: int, entries: NDArray[np.int64]) -> int:
    """Return how many bits the entries of a LUT have, by its descriptor or by what they fill.

    Some devices claim the 16 bits of a word for entries of fewer. The standard's meaning stands
    where the entries need all bits but one, unless the largest is exactly white.
    """
    largest = int(entries.max())
    filled = max(1, largest.bit_length())
    is_too_wide = filled <= claimed - 2 or (filled == claimed - 1 and largest == 2**filled - 1)
    return filled if is_too_wide or not filled <= claimed <= 16 else claimed


def _first_value(word: int, length: int, values: Values) -> int:
    """Return the first value that a LUT maps, which is written with or without a sign.

    The standard says which, and senders err both ways, so the meaning counts that covers more of
    the values; and of two that cover as many the one that has the values' sign.
    """
    low, high = float(values.min()), float(values.max())
    signed = word - 65536 if word > 32767 else word
    candidates = (signed, word) if low < 0 else (word, signed)

    def covered(first: int) -> float:
        return min(high, first + length - 1) - max(low, first)

    return max(candidates, key=covered)


def _words(value: Any, little: bool) -> NDArray[np.int64]:
    """Return the 16-bit words of a value that pydicom left as bytes or parsed, without a sign."""
    if isinstance(value, bytes):
        value = np.frombuffer(value[: len(value) // 2 * 2], "<u2" if little else ">u2")
    return np.atleast_1d(np.asarray(value)).astype(np.int64) & 0xFFFF


def _texts(value: Any) -> list[str]:
    """Return the texts of a value that may have several."""
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    return [_text(entry) for entry in (value if several else [value])]


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _is_little(header: pydicom.Dataset) -> bool:
    return bool(header.original_encoding[1])


# ---- Numbers ----


def _decimals(header: pydicom.Dataset, keyword: str) -> list[float | None]:
    """Return the numbers of a value; None for those that are not finite."""
    value = header.get(keyword)
    if isinstance(value, bytes) and len(value) == 2:
        value = int.from_bytes(value, "little" if _is_little(header) else "big")
    if value is None:
        return []
    several = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    numbers: list[float | None] = []
    for entry in value if several else [value]:
        try:
            number = float(entry)
        except (TypeError, ValueError):
            number = math.nan
        numbers.append(number if math.isfinite(number) else None)
    return numbers


def _decimal(header: pydicom.Dataset, keyword: str) -> float | None:
    """Return the first number of a value, or None where it is not finite."""
    return next(iter(_decimals(header, keyword)), None)
