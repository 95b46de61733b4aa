"""The pixels of a DICOM file as the network reads them: a small square of grey.

file -> header, checked before anything is allocated -> stored samples -> modality LUT -> VOI LUT
or window -> MONOCHROME1 inversion -> resize (PS3.4 N.2). All steps before the resize depend on one
sample alone, so they are computed once for every bit pattern and looked up (`grey_scale`).

A window or LUT may belong to other values than the image's, or be damaged. So each view is judged.
One that shows nothing gives way to the next window of the header, and at last to the image's own
range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from model.dicom.codecs import Samples, read_stored
from model.dicom.grey_scale import GreyScale, Values, own_range, read_grey_scale
from model.dicom.header import Layout, check_header, open_dicom, read_header, transfer_syntax
from model.dicom.pixel_data import StoredArray
from model.errors import EmptyImage, PixelError

__all__ = [
    "RESIZES", "RenderedImage", "check_header", "grey_of_colour", "grey_view", "read_header",
    "render", "shows_nothing", "view_pixels",
]  # fmt: skip

RESIZES = ("square",)
"""square: the whole image resized to a square, bicubic, as the paper's network was trained."""

LEAST_INNER_SHARE = 0.1
"""A view of which a smaller share is neither black nor white shows nothing. Collimated films of the
samples have .29 and more."""

LEAST_SPREAD = 32
"""So does one whose greys between black and white span fewer levels, but for a twentieth at either
end. The least of the samples is 77."""

END_LEVELS = 1
"""So many grey levels from either end still count as black or white."""

DECODED_SIDES = 2
"""A codec may decode a reduced image for a view, with sides at least so many times the view's."""

MAX_STEP = 4
"""Where one value is more grey levels from the next, the whole image is decoded: the grey of a mean
value is then too far from the mean of the greys."""

AVERAGED_SIDES = 5
"""Blocks of pixels are averaged first, to sides not less than so many times the view's. At 3, sharp
edges err by up to 20 grey levels, at 5 by 2 or 3. Blocks must fit the image: one that its edge cuts
would represent fewer pixels than the space it gets."""

OTHER_VOI = (
    "The first window or lookup table in the header shows nothing of a film, "
    "so another one of the header is used."
)
NO_VOI = (
    "The window or lookup table in the header shows nothing of a film, "
    "so the range of the film's own values is used."
)

NO_PADDING = (
    "The padding in the header covers all that a film shows, so it is not taken for padding."
)

PERHAPS_NEGATIVE = (
    "The header of a film says both that low values are light and that they are dark. They were "
    "read as light; compare the picture, which may be a negative."
)

_SHOWS_NOTHING = "The film shows nothing: its pixels are almost of one grey."

_BAND = 64  # rows looked up at once: few enough for the cache, and for a small copy in 64 bits


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """An image as the network reads it, and what a reader should know of how it was read.

    Attributes:
        view: (size, size) uint8, from 0 for black to 255 for white, air dark.
        reduced: The image in its own shape, perhaps smaller, with all that is visible in the view.
        notes: Sentences for the reader of a draft.
        is_empty: Whether the view shows nothing, whatever window is taken.
    """

    view: NDArray[np.uint8]
    reduced: Image.Image
    notes: tuple[str, ...] = ()
    is_empty: bool = False

    def picture(self, max_side: int) -> Image.Image:
        """Return the image for people: its own shape, no side longer than `max_side`."""
        picture = self.reduced.copy()
        picture.thumbnail((max_side, max_side), Image.Resampling.BILINEAR, reducing_gap=1.0)
        return picture


def view_pixels(path: str | Path, size: int, resize: str = "square") -> NDArray[np.uint8]:
    """Return the image in a file as the network reads it.

    Args:
        path: The DICOM file.
        size: The sides of the view in pixels.
        resize: One of RESIZES.

    Returns:
        (size, size) uint8, from 0 for black to 255 for white, air dark.

    Raises:
        EmptyImage: The view would show nothing.
        PixelError, HeaderLimit, ValueError: As `render`.
    """
    rendering = render(path, size, resize)
    if rendering.is_empty:
        raise EmptyImage(_SHOWS_NOTHING)
    return rendering.view


def grey_view(stored: StoredArray, size: int) -> NDArray[np.uint8]:
    """Return samples that have no header, as of a PNG of 16 bits, as the network reads them.

    They are shown by their own range, like a film without a window.

    Args:
        stored: (rows, columns), air dark.
        size: The sides of the view in pixels.

    Returns:
        (size, size) uint8, from 0 for black to 255 for white.

    Raises:
        EmptyImage: The view would show nothing.
    """
    bits = 8 * stored.dtype.itemsize
    rows, columns = stored.shape
    layout = Layout(rows, columns, 1, bits, bits, bits - 1, False, "MONOCHROME2", False)
    rendering = _render(Samples(stored, bits), layout, pydicom.Dataset(), size)
    if rendering is None or rendering.is_empty:
        raise EmptyImage(_SHOWS_NOTHING)
    return rendering.view


def render(path: str | Path, size: int, resize: str = "square") -> RenderedImage:
    """Read the image in a file as the network reads it, and judge the view.

    Args:
        path: The DICOM file.
        size: The sides of the view in pixels.
        resize: One of RESIZES.

    Raises:
        PixelError: The pixels cannot be read; the message says why and names no patient.
        HeaderLimit: The header claims more than a radiograph can have; nothing was allocated.
        ValueError: There is no such resize.
    """
    if resize not in RESIZES:
        raise ValueError(f"no such resize: {resize}; there are {', '.join(RESIZES)}")
    with open_dicom(path) as (file, header):
        layout = check_header(header)
        implicit, little = header.original_encoding
        syntax = transfer_syntax(header)
        start = file.tell()
        for min_side in (DECODED_SIDES * size, 0):
            file.seek(start)
            samples = read_stored(
                file, layout, syntax, implicit=implicit, little=little, min_side=min_side
            )
            rendering = _render(samples, layout, header, size)
            if rendering is not None:
                return rendering
    raise AssertionError("a whole image can always be rendered")


def shows_nothing(view: NDArray[np.uint8]) -> bool:
    """Return whether a view is black or white almost everywhere, or grey almost without change."""
    counts = np.bincount(view.ravel(), minlength=256)
    inner = counts[1 + END_LEVELS : 255 - END_LEVELS]
    cumulative = np.cumsum(inner)
    if cumulative[-1] < LEAST_INNER_SHARE * view.size:
        return True
    low, high = np.searchsorted(cumulative, np.array([0.05, 0.95]) * cumulative[-1])
    return bool(high - low < LEAST_SPREAD)


def _render(
    samples: Samples, layout: Layout, header: pydicom.Dataset, size: int
) -> RenderedImage | None:
    """Return the samples as a view; None where the whole image is needed."""
    try:
        if layout.samples == 3:
            view, reduced = _resize(grey_of_colour(samples.stored, layout), samples, layout, size)
            return RenderedImage(view, reduced, samples.notes, shows_nothing(view))
        return _render_grey(samples, layout, header, size)
    except PixelError:
        raise
    except Exception as error:  # window and tables may hold anything
        raise PixelError("The film's grey scale is damaged.") from error


def _render_grey(
    samples: Samples, layout: Layout, header: pydicom.Dataset, size: int
) -> RenderedImage | None:
    scale = read_grey_scale(header, layout, samples.bits, 8 * samples.stored.dtype.itemsize)
    rendering = _render_by(scale, samples, layout, size)
    if rendering is not None and rendering.is_empty and scale.padding.any():
        bare = replace(scale, padding=np.zeros_like(scale.padding))
        whole = _render_by(bare, samples, layout, size)
        if whole is not None and not whole.is_empty:
            rendering = replace(whole, notes=(*whole.notes, NO_PADDING))
    if rendering is not None and scale.is_negative_unclear:
        rendering = replace(rendering, notes=(*rendering.notes, PERHAPS_NEGATIVE))
    return rendering


def _render_by(
    scale: GreyScale, samples: Samples, layout: Layout, size: int
) -> RenderedImage | None:
    """Return the samples as a view by a grey scale; None where the whole image is needed."""
    for share, note in _shares(scale, layout):
        table = scale.table(share)
        if samples.halvings and _max_step(table, scale.raw) > MAX_STEP:
            return None
        view, reduced = _resize(_look_up(table, samples.stored), samples, layout, size)
        if not shows_nothing(view):
            return RenderedImage(view, reduced, samples.notes + ((note,) if note else ()))
    if samples.halvings:  # only the whole image has the lightest and darkest values
        return None
    share = own_range(scale.values, _pattern_counts(samples.stored, scale))
    grey = _look_up(scale.table(share), samples.stored)
    view, reduced = _resize(grey, samples, layout, size)
    notes = samples.notes + ((NO_VOI,) if scale.vois else ())
    return RenderedImage(view, reduced, notes, shows_nothing(view))


def _shares(scale: GreyScale, layout: Layout) -> Iterator[tuple[Values, str]]:
    """Yield the shares of white to try in order, each with its note for the reader, or ""."""
    is_first = True
    for voi in scale.vois:
        if voi.share is not None:
            yield voi.share, "" if is_first else OTHER_VOI
            is_first = False
    if not scale.vois and layout.stored <= 8 and scale.values is scale.raw and not layout.signed:
        # Eight bits without a window were made for display, so they are shown unchanged.
        yield scale.raw / (2**layout.stored - 1), ""


def _pattern_counts(stored: StoredArray, scale: GreyScale) -> NDArray[np.int64]:
    """Return how many pixels have each bit pattern; padding counts none."""
    counts = np.zeros(len(scale.raw), np.int64)
    for top in range(0, len(stored), _BAND):
        counts += np.bincount(stored[top : top + _BAND].ravel(), minlength=len(counts))
    counts[scale.padding] = 0
    return counts


def _max_step(table: NDArray[np.uint8], raw: Values) -> int:
    """Return the largest step in grey levels from one raw value to the next."""
    levels = table[np.argsort(raw, kind="stable")].astype(np.int16)
    return int(np.abs(np.diff(levels)).max())


def grey_of_colour(stored: StoredArray, layout: Layout) -> NDArray[np.uint8]:
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


def _resize(
    grey: NDArray[np.uint8], samples: Samples, layout: Layout, size: int
) -> tuple[NDArray[np.uint8], Image.Image]:
    """Resize an image: blocks that fit are averaged, then Pillow resizes (bicubic).

    Args:
        grey: (rows, columns) as a viewer would show it, of the sides of `samples`.
        samples: What it was made from; says how the sides are halved.
        layout: The layout of the whole image.
        size: The sides of the view in pixels.

    Returns:
        (size, size), and the image in its own shape, perhaps with blocks averaged.
    """
    if samples.halvings:
        return _resize_halved(grey, samples, layout, size), Image.fromarray(grey)
    whole = reduced = Image.fromarray(grey)
    blocks = [_block_side(side, size) for side in whole.size]
    if max(blocks) > 1:
        reduced = whole.reduce((blocks[0], blocks[1]))
    view = np.array(reduced.resize((size, size), Image.Resampling.BICUBIC))
    return view, reduced if blocks[0] == blocks[1] else whole


def _resize_halved(
    grey: NDArray[np.uint8], samples: Samples, layout: Layout, size: int
) -> NDArray[np.uint8]:
    # A sample of a reduced image stands at the first pixel of its block, not at the centre.
    power = 2**samples.halvings
    first = 0.5 - 0.5 / power
    box = (first, first, layout.columns / power + first, layout.rows / power + first)
    image = Image.fromarray(np.pad(grey, ((0, 1), (0, 1)), mode="edge"))
    if samples.lift:
        line = np.array([samples.lift, 1 - 2 * samples.lift, samples.lift])
        image = image.filter(
            ImageFilter.Kernel((3, 3), np.outer(line, line).ravel().tolist(), scale=1)
        )
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _block_side(side: int, size: int) -> int:
    """Return the longest block that divides a side and that AVERAGED_SIDES allows, in pixels."""
    limit = max(1, side // (AVERAGED_SIDES * size))
    return next(block for block in range(limit, 0, -1) if side % block == 0)
