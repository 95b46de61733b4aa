"""A film in its own resolution and depth, for a viewer that sets the window itself.

`read_film` decodes a file in the process that calls it, so it belongs into the child of
`model.dicom.image_process`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from model.dicom.codecs import read_stored
from model.dicom.film_format import FilmHeader, FilmPixels
from model.dicom.film_geometry import SPACINGS, VIEW, describe_view, find_aspect, find_spacing
from model.dicom.film_windows import list_presets
from model.dicom.grey_scale import GreyScale, Values, read_grey_scale
from model.dicom.header import Layout, check_header, open_dicom, transfer_syntax
from model.dicom.pixel_data import StoredArray
from model.dicom.pixels import PERHAPS_NEGATIVE, grey_of_colour
from model.errors import PixelError

MAX_SIDE = 3072
"""Longest side of a film that is delivered in its own resolution."""

COLOUR = "This film is in colour. It is shown by its brightness (ITU-R BT.601), with 8 bits."

_BAND = 64  # rows at once


def read_film(path: str | Path, max_side: int = MAX_SIDE) -> FilmPixels:
    """Read the film in a file; of several frames the first.

    Args:
        path: The DICOM file.
        max_side: A film with a longer side is reduced by averaging blocks, and a note says so.

    Raises:
        PixelError: The pixels cannot be read; the message says why and names no patient.
        HeaderLimit: The header claims more than a radiograph can have; nothing was allocated.
    """
    with open_dicom(path) as (file, header):
        notes = list(_first_frame(header))
        layout = check_header(header)
        implicit, little = header.original_encoding
        read = read_stored(file, layout, transfer_syntax(header), implicit=implicit, little=little)
    notes += read.notes
    try:
        if layout.samples == 3:
            stored: StoredArray = grey_of_colour(read.stored, layout)
            layout = Layout(
                layout.rows, layout.columns, 1, 8, 8, 7, False, layout.photometric, False
            )
            header = _without_grey_scale(header)
            bits = 0
            notes.append(COLOUR)
        else:
            stored, bits = read.stored, read.bits
        return _film(stored, bits, layout, header, max_side, notes)
    except PixelError:
        raise
    except Exception as error:  # window and tables may hold anything
        raise PixelError("The film's grey scale is damaged.") from error


def _film(
    stored: StoredArray,
    bits: int,
    layout: Layout,
    header: pydicom.Dataset,
    max_side: int,
    notes: list[str],
) -> FilmPixels:
    scale = read_grey_scale(header, layout, bits, 8 * stored.dtype.itemsize)
    counts = _pattern_counts(stored, len(scale.raw))
    presets, luts, first, padding, judged = list_presets(scale, layout, stored, counts)
    notes += judged
    if scale.is_negative_unclear:
        notes.append(PERHAPS_NEGATIVE)
    sample_of, depth, (offset, slope, intercept) = _sample_table(scale)
    sample_of, depth, padded = _mark_padding(sample_of, depth, padding, counts)
    samples: NDArray[np.uint16] = np.empty(stored.shape, np.uint16)
    for top in range(0, len(stored), _BAND):
        samples[top : top + _BAND] = sample_of.take(stored[top : top + _BAND])
    used = sample_of[(counts > 0) & ~padding]
    block = max(1, math.ceil(max(stored.shape) / max_side))
    if block > 1:
        notes.append(
            f"This film has {layout.columns} x {layout.rows} pixels. It is shown with its sides "
            f"reduced to 1/{block}; your viewer shows all of it."
        )
        samples = _reduce(samples, block, padded)
    spacing = find_spacing(header, block)
    return FilmPixels(
        FilmHeader(
            rows=samples.shape[0],
            columns=samples.shape[1],
            film_rows=layout.rows,
            film_columns=layout.columns,
            bits=depth,
            signed=layout.signed,
            photometric=layout.photometric,
            inverted=scale.is_inverted,
            offset=offset,
            slope=slope,
            intercept=intercept,
            padding=padded,
            range=(int(used.min()), int(used.max())) if used.size else (0, 2**depth - 1),
            presets=tuple(presets),
            preset=first,
            luts=len(luts),
            spacing=spacing,
            aspect=find_aspect(header, spacing),
            view=describe_view(header),
            notes=tuple(notes),
        ),
        samples,
        _lut_tables(luts, sample_of, depth),
    )


def _sample_table(
    scale: GreyScale,
) -> tuple[NDArray[np.uint16], int, tuple[int, float, float]]:
    """Return the sample of each pattern, the samples' bits, and (offset, slope, intercept)."""
    if scale.rescale is not None:
        lowest = int(scale.raw.min())
        samples = (scale.raw - lowest).astype(np.uint16)
        return samples, _depth(samples), (lowest, *scale.rescale)
    samples = np.clip(np.rint(scale.values), 0, 65535).astype(np.uint16)
    return samples, _depth(samples), (0, 1.0, 0.0)


def _depth(samples: NDArray[np.uint16]) -> int:
    return max(1, int(samples.max()).bit_length())


def _mark_padding(
    sample_of: NDArray[np.uint16],
    depth: int,
    padding: NDArray[np.bool_],
    counts: NDArray[np.int64],
) -> tuple[NDArray[np.uint16], int, tuple[int, int] | None]:
    """Return the samples so that those of padding are a range of their own.

    Only patterns that the film has count. Where a padded one shares its sample with one that is
    not (a pattern with bits above the stored ones), it gets a sample that no other has.
    """
    has = counts > 0
    padded, others = sample_of[has & padding], np.unique(sample_of[has & ~padding])
    if not padded.size:
        return sample_of, depth, None
    low, high = int(padded.min()), int(padded.max())
    if not np.any((others >= low) & (others <= high)):
        return sample_of, depth, (low, high)
    free = np.setdiff1d(np.arange(65536), others)
    if not free.size:
        return sample_of, depth, None
    above = free[free >= 2**depth]
    mark = int(above[0]) if above.size else int(free[0])
    marked = sample_of.copy()
    marked[padding] = mark
    return marked, max(depth, mark.bit_length()), (mark, mark)


def _reduce(
    samples: NDArray[np.uint16], block: int, padded: tuple[int, int] | None
) -> NDArray[np.uint16]:
    """Return the means of blocks; the last ones may reach over the edge, which is repeated.

    A block whose first sample is padding is padding, and others leave theirs out.
    """
    rows, columns = (-(-side // block) for side in samples.shape)
    reduced = np.empty((rows, columns), np.uint16)
    for row in range(rows):
        band = samples[row * block : (row + 1) * block]
        missing = ((0, block - len(band)), (0, columns * block - samples.shape[1]))
        band = np.pad(band, missing, mode="edge").reshape(block, columns, block)
        first = band[0, :, 0]
        if padded is None:
            reduced[row] = np.rint(band.mean(axis=(0, 2)))
            continue
        counted = (band < padded[0]) | (band > padded[1])
        total = np.where(counted, band, 0).sum(axis=(0, 2), dtype=np.int64)
        mean = np.rint(total / np.maximum(counted.sum(axis=(0, 2)), 1)).astype(np.uint16)
        is_padding = (first >= padded[0]) & (first <= padded[1])
        # A mean may fall between values into the range of padding.
        mean = np.where((mean >= padded[0]) & (mean <= padded[1]), first, mean)
        reduced[row] = np.where(is_padding, first, mean)
    return reduced


def _pattern_counts(stored: StoredArray, patterns: int) -> NDArray[np.int64]:
    counts = np.zeros(patterns, np.int64)
    for top in range(0, len(stored), _BAND):
        counts += np.bincount(stored[top : top + _BAND].ravel(), minlength=patterns)
    return counts


def _lut_tables(
    luts: list[Values], sample_of: NDArray[np.uint16], depth: int
) -> NDArray[np.uint16]:
    tables = np.zeros((len(luts), 2**depth), np.uint16)
    for table, share in zip(tables, luts, strict=True):
        table[sample_of] = np.rint(65535 * np.clip(share, 0, 1))
    return tables


def _first_frame(header: pydicom.Dataset) -> Iterator[str]:
    """Let the header of several frames be that of the first one; yield a note about it."""
    try:
        frames = int(header.get("NumberOfFrames") or 1)
    except (TypeError, ValueError, OverflowError):
        return  # `check_header` says that it is no number
    if frames > 1:
        header.NumberOfFrames = 1
        yield f"This object has {frames} frames, and only the first one is shown."


def _without_grey_scale(header: pydicom.Dataset) -> pydicom.Dataset:
    """Return what a colour film's header says without windows, LUTs and padding."""
    kept = pydicom.Dataset()
    for keyword in SPACINGS + VIEW + ("PixelSpacingCalibrationType", "PixelAspectRatio"):
        if keyword in header:
            setattr(kept, keyword, header.get(keyword))
    return kept
