"""`nightdraft bench films`: milliseconds from file to view, by codec, beside the plain way.

The plain way is what most scripts do: pydicom's `pixel_array`, `apply_modality_lut` and
`apply_voi_lut`, then Pillow. Both read one drawn film of a real film's size, in turns, in one
thread. Knows codecs' names; the work is `model.pixels`'.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import UID
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model.pixels import view_pixels
from nightdraft.backlog import FIRST_SEED
from nightdraft.bench.machine import facts, spread
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom

ROWS, COLUMNS, BITS = 3000, 2500, 14
"""A usual film: 35 x 43 cm at 0.14 mm."""
VIEW = 224
"""Pixels a side of ClinicalBLIP's views."""

CODECS: dict[str, str] = {
    "uncompressed": "1.2.840.10008.1.2.1",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG Lossless SV1": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}
"""Name and transfer syntax of what is measured; all are lossless, so all show the same film."""


def measure(runs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Read the film `runs` times each way in every codec; one object of plain words and numbers."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="nightdraft-bench-") as folder:
        say(f"drawing a film of {COLUMNS} x {ROWS}, {BITS} bits")
        paths = _write_films(Path(folder))
        for name, path in paths.items():
            say(f"{name}: {path.stat().st_size / 1e6:.1f} MB")
            ours, plain = [], []
            view, plainly = view_pixels(path, VIEW), view_plainly(path, VIEW)  # warm
            for _ in range(runs):
                ours.append(_milliseconds(view_pixels, path))
                plain.append(_milliseconds(view_plainly, path))
            apart = np.abs(view.astype(int) - plainly)
            found[name] = {
                "mb": round(path.stat().st_size / 1e6, 1),
                "ms": spread(ours),
                "ms_plain": spread(plain),
                "times_faster": round(spread(plain)["median"] / spread(ours)["median"], 2),
                "grey_levels_apart": {
                    "mean": round(float(apart.mean()), 3),
                    "greatest": int(apart.max()),
                },
            }
    return {
        "bench": "films",
        "film": {"rows": ROWS, "columns": COLUMNS, "bits": BITS, "view": VIEW},
        "runs": runs,
        "codecs": found,
        **facts(),
    }


def view_plainly(path: Path, size: int) -> NDArray[np.uint8]:
    """(size, size) uint8 as most scripts make it: whole arrays, in float64."""
    film = pydicom.dcmread(path)
    shown = np.asarray(apply_voi_lut(apply_modality_lut(film.pixel_array, film), film), np.float64)
    share = shown / (2**film.BitsStored - 1)
    if film.PhotometricInterpretation == "MONOCHROME1":
        share = 1 - share
    grey = Image.fromarray(np.rint(255 * share).astype(np.uint8))
    return np.array(grey.resize((size, size), Image.Resampling.BICUBIC))


def _milliseconds(way: Callable[[Path, int], object], path: Path) -> float:
    started = time.perf_counter()
    way(path, VIEW)
    return (time.perf_counter() - started) * 1000


def _write_films(folder: Path) -> dict[str, Path]:
    """The same film in every codec, one file each."""
    (film, *_) = phantom_dicom(phantom(FIRST_SEED), size=64)
    samples = _samples()
    film.Rows, film.Columns = samples.shape
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, BITS, BITS - 1
    film.PhotometricInterpretation, film.PixelRepresentation = "MONOCHROME2", 0
    film.WindowCenter, film.WindowWidth = 2 ** (BITS - 1), 2**BITS * 3 // 4
    written = {}
    for name, data in _encoded(samples).items():
        film.file_meta.TransferSyntaxUID = UID(CODECS[name])
        plain = name == "uncompressed"
        film.PixelData = data if plain else encapsulate([data])
        film["PixelData"].VR = "OW" if plain else "OB"
        film["PixelData"].is_undefined_length = not plain
        written[name] = folder / f"{CODECS[name]}.dcm"
        film.save_as(written[name], enforce_file_format=True)
    return written


def _samples() -> NDArray[np.uint16]:
    """(ROWS, COLUMNS) of BITS bits: a phantom, with the noise that makes films hard to compress."""
    drawn = Image.fromarray(phantom(FIRST_SEED).film("frontal", 1024))
    smooth = np.asarray(drawn.resize((COLUMNS, ROWS), Image.Resampling.BICUBIC), np.float32) / 255
    noise = np.random.default_rng(0).normal(0, 0.004, smooth.shape).astype(np.float32)
    share = np.clip(smooth + noise, 0, 1)
    return np.asarray(np.rint(share * (2**BITS - 1)), np.uint16)


def _encoded(samples: NDArray[np.uint16]) -> dict[str, bytes]:
    rows, columns = samples.shape
    rle = RLELosslessEncoder.encode(
        samples.tobytes(),
        rows=rows,
        columns=columns,
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=BITS,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )
    return {
        "uncompressed": samples.tobytes(),
        "RLE": bytes(rle),
        "JPEG Lossless SV1": bytes(
            imagecodecs.jpeg8_encode(samples, predictor=1, lossless=True, bitspersample=BITS)
        ),
        "JPEG-LS": bytes(imagecodecs.jpegls_encode(samples)),
        "JPEG 2000": bytes(
            imagecodecs.jpeg2k_encode(
                samples, level=0, codecformat="j2k", reversible=True, bitspersample=BITS
            )
        ),
    }


def show(measured: dict[str, Any]) -> RenderableType:
    """The measurements as a table."""
    film = measured["film"]
    table = Table(box=None, header_style="bold")
    for column in ("codec", "MB", "ms", "ms, plain way", "times faster", "levels apart"):
        table.add_column(column, justify="left" if column == "codec" else "right")
    for name, row in measured["codecs"].items():
        table.add_row(
            name,
            f"{row['mb']:.1f}",
            f"{row['ms']['median']:.0f}",
            f"{row['ms_plain']['median']:.0f}",
            f"{row['times_faster']:.1f}",
            f"{row['grey_levels_apart']['mean']:.2f}, at most "
            f"{row['grey_levels_apart']['greatest']}",
        )
    return Group(
        Text(
            f"One film of {film['columns']} x {film['rows']}, {film['bits']} bits, to a view of "
            f"{film['view']} x {film['view']}; median of {measured['runs']} runs, in turns"
        ),
        table,
    )
