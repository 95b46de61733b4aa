"""The format in which a film is kept and sent to the viewer, lossless.

`pack` writes it and `unpack` reads it:

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
import struct
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"NDF1"
_HEAD = struct.Struct("<4sI")


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
