"""`nightdraft bench prepare`: from file to view, by codec, beside the plain way.

The plain way is what most scripts do: pydicom's `pixel_array`, `apply_modality_lut` and
`apply_voi_lut` in float64, then Pillow. Both read one drawn film of a real film's size, in turns,
in one thread. Knows codecs' names; the work is `model.dicom.pixels`'.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
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

from model.dicom.pixels import view_pixels
from nightdraft.bench.machine import machine_facts, summarise
from nightdraft.phantom_studies import FIRST_SEED
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom

ROWS, COLUMNS, BITS = 3000, 2500, 14
"""A usual film: 35 x 43 cm at 0.14 mm."""
VIEW = 224
"""Pixels a side of ClinicalBLIP's views."""
THREADS_SECONDS = 0.5
"""The least time of one measurement of threads; in less, the last film of one alone counts."""
HASHED = bytes(8_000_000)
"""Hashed for the ceiling of threads: work that needs neither memory nor Python's lock."""

CODECS: dict[str, tuple[str, str]] = {
    "uncompressed": ("uncompressed", "1.2.840.10008.1.2.1"),
    "rle": ("RLE", "1.2.840.10008.1.2.5"),
    "jpeg_lossless": ("JPEG Lossless SV1", "1.2.840.10008.1.2.4.70"),
    "jpeg_ls": ("JPEG-LS", "1.2.840.10008.1.2.4.80"),
    "jpeg_2000": ("JPEG 2000", "1.2.840.10008.1.2.4.90"),
}
"""Name and transfer syntax of what is measured; all are lossless, so all show the same film."""


def measure(runs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Read the film `runs` times each way in every codec; one object of plain words and numbers."""
    with tempfile.TemporaryDirectory(prefix="nightdraft-bench-") as name:
        folder = Path(name)
        say(f"drawing a film of {COLUMNS} x {ROWS}, {BITS} bits")
        samples = _samples()
        films = _write_films(folder / "films", samples)
        corners = _write_films(folder / "corners", samples[:64, :64].copy())
        found = {}
        for codec, film in films.items():
            say(f"{CODECS[codec][0]}: {film.stat().st_size / 1e6:.1f} MB")
            found[codec] = {
                "mb": round(film.stat().st_size / 1e6, 1),
                **_paces(film, runs),
                "error": _error(film),
                "memory_mb": _memory_of(film, corners[codec]),
                **_two_threads(partial(view_pixels, film, VIEW), runs),
            }
    return {
        "bench": "prepare",
        "film": {"rows": ROWS, "columns": COLUMNS, "bits": BITS, "view": VIEW},
        "runs": runs,
        "two_threads_ratio": median(row["two_threads_ratio"] for row in found.values()),
        **found,
        **machine_facts(),
    }


# ---- What is measured ----


def _paces(film: Path, runs: int) -> dict[str, Any]:
    """Milliseconds of both ways, in turns; films a second on one core; how many times faster."""
    view_pixels(film, VIEW), view_plainly(film, VIEW)  # warm
    ours, plain = [], []
    for _ in range(runs):
        ours.append(1000 * _seconds(lambda: view_pixels(film, VIEW)))
        plain.append(1000 * _seconds(lambda: view_plainly(film, VIEW)))
    ms, ms_plain = summarise(ours), summarise(plain)
    return {
        "films_per_s_core": round(1000 / ms["median"], 1),
        "ratio_plain": round(ms_plain["median"] / ms["median"], 2),
        "ms": ms,
        "ms_plain": ms_plain,
    }


def _error(film: Path) -> dict[str, float]:
    """Grey levels between our view and one that was rounded once, at its end."""
    apart = np.abs(view_pixels(film, VIEW) - view_in_floats(film, VIEW).astype(int))
    return {"mean": round(float(apart.mean()), 3), "largest": int(apart.max())}


def _two_threads(work: Callable[[], object], runs: int) -> dict[str, float]:
    """How many times as much two threads do as one does: of `work`, and of hashing in between.

    Hashing shares nothing, so what it gains is what the machine had to give at that time.
    """
    ways = {"two_threads_ratio": work, "two_threads_ceiling": lambda: hashlib.sha256(HASHED)}
    often = {name: 2 * math.ceil(THREADS_SECONDS / _seconds(way) / 2) for name, way in ways.items()}
    ratios: dict[str, list[float]] = {name: [] for name in ways}

    def work_all(pool: Executor, name: str) -> None:
        for done in [pool.submit(ways[name]) for _ in range(often[name])]:
            done.result()

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(2) as two:
        work_all(two, "two_threads_ratio")  # the threads are started, their memory is there
        for _ in range(runs):
            for name, found in ratios.items():
                alone = _seconds(partial(work_all, one, name))
                found.append(alone / _seconds(partial(work_all, two, name)))
    return {name: round(median(found), 2) for name, found in ratios.items()}


def _memory_of(film: Path, corner: Path) -> float:
    """MB that a fresh process takes at its peak to read a film, over what it has for a corner."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        process.submit(view_pixels, corner, VIEW).result()  # codecs are loaded
        return process.submit(_peak_over_now, film).result()


def _peak_over_now(film: Path) -> float:
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    view_pixels(film, VIEW)
    return round((_resident("VmHWM") - before) / 1e6, 1)


def _resident(row: str) -> int:
    """Bytes of this process, by a row of its status."""
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows[row].split()[0]) * 1024


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# ---- The plain way, and the exact one ----


def view_plainly(path: Path, size: int) -> NDArray[np.uint8]:
    """(size, size) uint8 as most scripts make it: whole arrays, in float64."""
    grey = Image.fromarray(np.rint(255 * _share_of_white(path)).astype(np.uint8))
    return np.array(grey.resize((size, size), Image.Resampling.BICUBIC))


def view_in_floats(path: Path, size: int) -> NDArray[np.uint8]:
    """(size, size) uint8, rounded only now: Pillow keeps 24 bits of floats, and sums in 53."""
    grey = Image.fromarray((255 * _share_of_white(path)).astype(np.float32))
    view = np.asarray(grey.resize((size, size), Image.Resampling.BICUBIC))
    return np.asarray(np.rint(np.clip(view, 0, 255)), np.uint8)


def _share_of_white(path: Path) -> NDArray[np.float64]:
    """(rows, columns), by pydicom."""
    film = pydicom.dcmread(path)
    shown = np.asarray(apply_voi_lut(apply_modality_lut(film.pixel_array, film), film), np.float64)
    share = np.asarray(shown / (2**film.BitsStored - 1))
    return 1 - share if film.PhotometricInterpretation == "MONOCHROME1" else share


# ---- The film ----


def _write_films(folder: Path, samples: NDArray[np.uint16]) -> dict[str, Path]:
    """The same film in every codec, one file each."""
    folder.mkdir()
    (film, *_) = phantom_dicom(phantom(FIRST_SEED), size=64)
    film.Rows, film.Columns = samples.shape
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, BITS, BITS - 1
    film.PhotometricInterpretation, film.PixelRepresentation = "MONOCHROME2", 0
    film.WindowCenter, film.WindowWidth = 2 ** (BITS - 1), 2**BITS * 3 // 4
    written = {}
    for codec, data in _encoded(samples).items():
        film.file_meta.TransferSyntaxUID = UID(CODECS[codec][1])
        plain = codec == "uncompressed"
        film.PixelData = data if plain else encapsulate([data])
        film["PixelData"].VR = "OW" if plain else "OB"
        film["PixelData"].is_undefined_length = not plain
        written[codec] = folder / f"{codec}.dcm"
        film.save_as(written[codec], enforce_file_format=True)
    return written


def _samples() -> NDArray[np.uint16]:
    """(ROWS, COLUMNS) of BITS bits: a phantom, with the noise that makes films hard to compress."""
    drawn = Image.fromarray(phantom(FIRST_SEED).render("frontal", 1024))
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
        "rle": bytes(rle),
        "jpeg_lossless": bytes(
            imagecodecs.jpeg8_encode(samples, predictor=1, lossless=True, bitspersample=BITS)
        ),
        "jpeg_ls": bytes(imagecodecs.jpegls_encode(samples)),
        "jpeg_2000": bytes(
            imagecodecs.jpeg2k_encode(
                samples, level=0, codecformat="j2k", reversible=True, bitspersample=BITS
            )
        ),
    }


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurements as a table."""
    film = measured["film"]
    table = Table(box=None, header_style="bold")
    columns = "codec, MB, ms, films/s, ms plain, times faster, levels off, MB taken, two threads"
    for column in columns.split(", "):
        table.add_column(column, justify="left" if column == "codec" else "right")
    for codec in CODECS:
        row = measured[codec]
        table.add_row(
            CODECS[codec][0],
            f"{row['mb']:.1f}",
            f"{row['ms']['median']:.0f}",
            f"{row['films_per_s_core']:.1f}",
            f"{row['ms_plain']['median']:.0f}",
            f"{row['ratio_plain']:.1f}",
            f"{row['error']['mean']:.2f}, at most {row['error']['largest']}",
            f"{row['memory_mb']:.0f}",
            f"{row['two_threads_ratio']:.2f} of {row['two_threads_ceiling']:.2f}",
        )
    return Group(
        Text(
            f"One film of {film['columns']} x {film['rows']}, {film['bits']} bits, to a view of "
            f"{film['view']} x {film['view']}; median of {measured['runs']} runs, in turns; "
            "two threads as times of one, and what the machine had to give meanwhile"
        ),
        table,
    )
