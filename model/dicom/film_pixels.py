"""A film in its own resolution and depth, lossless, for a viewer that sets the window itself.

`read_film` decodes a file in the process that calls it, so it belongs into the child of
`model.dicom.image_process`. `pack` and `unpack` are the format in which a film is kept and sent:

    bytes 0-3    `NDF1`
    bytes 4-7    length of the header in bytes, unsigned, little endian
    the header   JSON in UTF-8: the fields of `FilmHeader`, filled up with spaces to a multiple of 4
    the samples  rows x columns unsigned samples of 16 bits. Each is written as its difference from
                 its left neighbour, the first of a row as that from the first of the row above, and
                 the very first as it is, all modulo 65536. First come the high bytes of all samples
                 in row order, then their low bytes.
    the LUTs     `luts` tables of 2**bits unsigned numbers of 16 bits, little endian: the share of
                 white of each sample, from 0 to 65535

A sample s stands for the value (s + offset) * slope + intercept. Windows are in these values, as in
PS3.3 C.11.2.1.2. Where a modality LUT is not linear, the samples are its output, so that offset and
intercept are 0 and slope is 1. The grey level of a value is the share of white that the window
gives, or one minus that where `inverted`, times 255; padding is black.

The differences and the two planes make the film smaller and faster to inflate than plain samples
are (docs/develop/performance.md).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from model.dicom.codecs import read_stored
from model.dicom.grey_scale import GreyScale, Values, own_limits, read_grey_scale
from model.dicom.header import Layout, check_header, open_dicom, transfer_syntax
from model.dicom.pixel_data import StoredArray
from model.dicom.pixels import (
    NO_PADDING,
    NO_VOI,
    OTHER_VOI,
    PERHAPS_NEGATIVE,
    grey_of_colour,
    shows_nothing,
)
from model.errors import PixelError

MAX_SIDE = 3072
"""Longest side of a film that is delivered in its own resolution."""

MAX_NAME = 64
"""Characters of a window's name that are delivered, as many as a Long String may have (PS3.5)."""

COLOUR = "This film is in colour. It is shown by its brightness (ITU-R BT.601), with 8 bits."

_MAGIC = b"NDF1"
_HEAD = struct.Struct("<4sI")
_BAND = 64  # rows at once
_JUDGED_SIDE = 448  # samples of the longer side of the view by which a window is judged


@dataclass(frozen=True, slots=True)
class FilmHeader:
    """What a viewer must know of a film; it names no patient.

    Attributes:
        rows, columns: Of the samples that are delivered.
        film_rows, film_columns: Of the film as it was sent.
        bits: The largest sample may be 2**bits - 1.
        signed: Whether the stored values are signed (0028,0103); the samples are not, see `offset`.
        photometric: (0028,0004).
        inverted: Whether low values are light.
        offset, slope, intercept: From a sample to its value.
        padding: The first and the last sample that are padding; None where none is.
        range: The smallest and the largest sample that are not padding.
        presets: Windows and LUTs to choose from, each with its `name`. A window has its `function`
            (LINEAR, LINEAR_EXACT or SIGMOID), `centre` and `width`. A LUT has the function LUT, the
            number of its table as `lut`, and the window that is nearest to it.
        preset: Which of them is shown first.
        luts: How many tables follow the samples.
        spacing: `rows` and `columns`, the distance of the centres of neighbouring rows and of
            neighbouring columns in millimetres, and where it is measured (`at`): DETECTOR,
            CALIBRATED, SCANNED or UNKNOWN. None where the header gives none.
        aspect: Height of a sample by its width.
        view: `position` (0018,5101), `laterality` (0020,0062) (0020,0060), `orientation`
            (0020,0020), `body_part` (0018,0015); "" where the header does not say.
        notes: Sentences for the reader.
    """

    rows: int
    columns: int
    film_rows: int
    film_columns: int
    bits: int
    signed: bool
    photometric: str
    inverted: bool
    offset: int
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    range: tuple[int, int]
    presets: tuple[dict[str, Any], ...]
    preset: int
    luts: int
    spacing: dict[str, Any] | None
    aspect: float
    view: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FilmPixels:
    """A film for a viewer.

    Attributes:
        header: What it is.
        samples: (rows, columns) uint16.
        luts: (header.luts, 2**bits) uint16.
    """

    header: FilmHeader
    samples: NDArray[np.uint16]
    luts: NDArray[np.uint16]


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


def pack(film: FilmPixels) -> bytes:
    """Return a film in the format that the module describes."""
    encoded = json.dumps(asdict(film.header), separators=(",", ":"), allow_nan=False).encode()
    encoded += b" " * (-len(encoded) % 4)
    differences = film.samples.astype("<u2")  # a copy
    differences[:, 1:] -= film.samples[:, :-1]
    differences[1:, 0] -= film.samples[:-1, 0]
    pairs = differences.view(np.uint8).reshape(-1, 2)
    return b"".join(
        (
            _HEAD.pack(_MAGIC, len(encoded)),
            encoded,
            pairs[:, 1].tobytes(),
            pairs[:, 0].tobytes(),
            film.luts.astype("<u2").tobytes(),
        )
    )


def unpack(content: bytes) -> FilmPixels:
    """Return the film that `pack` wrote.

    Raises:
        ValueError: The bytes are no such film.
    """
    if len(content) < _HEAD.size or not content.startswith(_MAGIC):
        raise ValueError("these bytes are no film")
    _, length = _HEAD.unpack_from(content)
    start = _HEAD.size + length
    fields = json.loads(content[_HEAD.size : start])
    for name in ("padding", "range", "presets", "notes"):
        fields[name] = fields[name] if fields[name] is None else tuple(fields[name])
    header = FilmHeader(**fields)
    count, lut = header.rows * header.columns, 2**header.bits
    if len(content) != start + 2 * count + 2 * header.luts * lut:
        raise ValueError("the film is cut off")
    high = np.frombuffer(content, np.uint8, count, start).astype(np.uint16)
    low = np.frombuffer(content, np.uint8, count, start + count)
    samples = ((high << 8) | low).reshape(header.rows, header.columns)
    samples[:, 0] = np.cumsum(samples[:, 0], dtype=np.uint16)
    luts = np.frombuffer(content, "<u2", header.luts * lut, start + 2 * count)
    return FilmPixels(
        header,
        np.cumsum(samples, axis=1, dtype=np.uint16),
        luts.reshape(header.luts, lut).astype(np.uint16),
    )


# ---- From stored patterns to samples ----


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
    presets, luts, first, padding, judged = _presets(scale, layout, stored, counts)
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
    spacing = _spacing(header, block)
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
            aspect=_aspect(header, spacing),
            view=_view(header),
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


# ---- Windows ----


def _presets(
    scale: GreyScale, layout: Layout, stored: StoredArray, counts: NDArray[np.int64]
) -> tuple[list[dict[str, Any]], list[Values], int, NDArray[np.bool_], list[str]]:
    """Return presets, the shares of LUTs, which preset is first, the padding, and notes.

    A window is judged as for the network's view, so that picture and film look alike.
    """
    presets: list[dict[str, Any]] = []
    luts: list[Values] = []
    shares: list[Values] = []
    limits = own_limits(scale.values, np.where(scale.padding, 0, counts))
    for voi in scale.vois:
        if voi.share is None:
            continue
        number = len(presets) + 1
        shares.append(voi.share)
        if voi.window is not None:
            function = voi.function if voi.function in ("SIGMOID", "LINEAR_EXACT") else "LINEAR"
            name = voi.name or f"Window {number} of the film"
            presets.append(_window(name, function, *voi.window))
        else:
            centre, width = _window_of_lut(voi.share, scale.values, limits)
            presets.append(
                _window(voi.name or f"Lookup table {number} of the film", "LUT", centre, width)
                | {"lut": len(luts)}
            )
            luts.append(voi.share)
    if not scale.vois and layout.stored <= 8 and scale.values is scale.raw and not layout.signed:
        # Eight bits without a window were made for display, so they are shown unchanged.
        white = float(2**layout.stored - 1)
        shares.append(scale.raw / white)
        presets.append(_window("As stored", "LINEAR_EXACT", white / 2, white))
    padding, notes = scale.padding, []
    step = max(1, max(stored.shape) // _JUDGED_SIDE)
    view = stored[::step, ::step]
    first = _first_that_shows(scale, shares, padding, view)
    if first is None and padding.any() and not _shows(scale, limits, padding, view):
        bare, whole = np.zeros_like(padding), own_limits(scale.values, counts)
        first = _first_that_shows(scale, shares, bare, view)
        if first is not None or _shows(scale, whole, bare, view):
            padding, limits = bare, whole
            notes.append(NO_PADDING)
    if first is None:
        first = len(presets)
        if scale.vois:
            notes.append(NO_VOI)
    elif first > 0:
        notes.append(OTHER_VOI)
    low, high = limits or (float(scale.values.min()), float(scale.values.max()))
    width = (high - low) or 1.0
    presets.append(_window("Range of this film", "LINEAR_EXACT", (low + high) / 2, width))
    ends = (("Dark parts", low + width / 4), ("Light parts", high - width / 4))
    if scale.is_inverted:
        ends = (("Dark parts", ends[1][1]), ("Light parts", ends[0][1]))
    presets += [_window(name, "LINEAR_EXACT", centre, width / 2) for name, centre in ends]
    return presets, luts, min(first, len(presets) - 1), padding, notes


def _window(name: str, function: str, centre: float, width: float) -> dict[str, Any]:
    return {"name": name[:MAX_NAME], "function": function, "centre": centre, "width": width}


def _first_that_shows(
    scale: GreyScale, shares: list[Values], padding: NDArray[np.bool_], view: StoredArray
) -> int | None:
    for number, share in enumerate(shares):
        if not shows_nothing(_levels(scale, share, padding).take(view)):
            return number
    return None


def _levels(scale: GreyScale, share: Values, padding: NDArray[np.bool_]) -> NDArray[np.uint8]:
    levels = np.rint(255 * np.clip(1 - share if scale.is_inverted else share, 0, 1))
    levels[padding] = 0
    return levels.astype(np.uint8)


def _shows(
    scale: GreyScale,
    limits: tuple[float, float] | None,
    padding: NDArray[np.bool_],
    view: StoredArray,
) -> bool:
    """Return whether the range between two values shows something."""
    if limits is None:
        return False
    low, high = limits
    share = np.asarray((scale.values - low) / ((high - low) or 1.0))
    return not shows_nothing(_levels(scale, share, padding).take(view))


def _window_of_lut(
    share: Values, values: Values, limits: tuple[float, float] | None
) -> tuple[float, float]:
    """Return the centre and width of the window from which changing a LUT's window begins."""
    inner = values[(share > 0.02) & (share < 0.98)]
    if inner.size:
        low, high = float(inner.min()), float(inner.max())
    else:
        low, high = limits or (float(values.min()), float(values.max()))
    return (low + high) / 2, (high - low) or 1.0


def _lut_tables(
    luts: list[Values], sample_of: NDArray[np.uint16], depth: int
) -> NDArray[np.uint16]:
    tables = np.zeros((len(luts), 2**depth), np.uint16)
    for table, share in zip(tables, luts, strict=True):
        table[sample_of] = np.rint(65535 * np.clip(share, 0, 1))
    return tables


# ---- The rest of the header ----


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
    for keyword in _SPACINGS + _VIEW + ("PixelSpacingCalibrationType", "PixelAspectRatio"):
        if keyword in header:
            setattr(kept, keyword, header.get(keyword))
    return kept


_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_VIEW = (
    "ViewPosition", "ImageLaterality", "Laterality", "PatientOrientation", "BodyPartExamined",
)  # fmt: skip


def _spacing(header: pydicom.Dataset, block: int) -> dict[str, Any] | None:
    """Return the spacing of samples and where it is measured (PS3.3 10.7.1.3, C.8.11.4).

    Pixel Spacing (0028,0030) of a projection is calibrated if (0028,0A02) says so, or if it differs
    from Imager Pixel Spacing (0018,1164), which is at the front of the detector. Where both are
    equal it is that of the detector, too. Alone and without (0028,0A02) it may be either.
    """
    calibrated, detector, scanned = (_pair(header, keyword) for keyword in _SPACINGS)
    kind = str(header.get("PixelSpacingCalibrationType") or "").strip().upper()
    if calibrated and (kind or (detector and not _are_equal(calibrated, detector))):
        pair, at = calibrated, "CALIBRATED"
    elif detector:
        pair, at = detector, "DETECTOR"
    elif calibrated:
        pair, at = calibrated, "UNKNOWN"
    elif scanned:
        pair, at = scanned, "SCANNED"
    else:
        return None
    return {"rows": pair[0] * block, "columns": pair[1] * block, "at": at}


def _pair(header: pydicom.Dataset, keyword: str) -> tuple[float, float] | None:
    """Return two numbers above 0; None where the header does not give them."""
    try:
        first, second = (float(number) for number in header.get(keyword) or ())
    except (TypeError, ValueError):
        return None
    if not (0 < first < math.inf and 0 < second < math.inf):
        return None
    return first, second


def _are_equal(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(first, second, strict=True))


def _aspect(header: pydicom.Dataset, spacing: dict[str, Any] | None) -> float:
    """Return the height of a pixel by its width, by its spacing or else (0028,0034)."""
    pair = _pair(header, "PixelAspectRatio")
    aspect = pair[0] / pair[1] if pair else 1.0
    if spacing:
        aspect = spacing["rows"] / spacing["columns"]
    return aspect if 0.2 <= aspect <= 5 else 1.0


def _view(header: pydicom.Dataset) -> dict[str, str]:
    orientation = header.get("PatientOrientation") or ""
    if not isinstance(orientation, str):
        orientation = "\\".join(str(part) for part in orientation)
    laterality = header.get("ImageLaterality") or header.get("Laterality") or ""
    fields = {
        "position": header.get("ViewPosition") or "",
        "laterality": laterality,
        "orientation": orientation,
        "body_part": header.get("BodyPartExamined") or "",
    }
    return {name: str(value).strip()[:16] for name, value in fields.items()}
