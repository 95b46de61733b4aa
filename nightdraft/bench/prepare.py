"""`nightdraft bench prepare`: time from a DICOM file to a view, by codec, beside a plain script.

The plain script does what most scripts do: pydicom's `pixel_array`, `apply_modality_lut` and
`apply_voi_lut` in float64, then Pillow. It and `model.dicom.pixels` read the same drawn image of a
real image's size, in turns, in one thread.
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
"""A usual chest image: 35 x 43 cm at 0.14 mm."""
VIEW = 224
"""Pixels a side of ClinicalBLIP's views."""
THREADS_SECONDS = 0.5
"""The least time of one measurement with threads. In a shorter one, the last image that one thread
reads alone weighs too much."""
HASHED = bytes(8_000_000)
"""What is hashed to find how much two threads can gain: work without memory traffic and without
Python's lock."""

CODECS: dict[str, tuple[str, str]] = {
    "uncompressed": ("uncompressed", "1.2.840.10008.1.2.1"),
    "rle": ("RLE", "1.2.840.10008.1.2.5"),
    "jpeg_lossless": ("JPEG Lossless SV1", "1.2.840.10008.1.2.4.70"),
    "jpeg_ls": ("JPEG-LS", "1.2.840.10008.1.2.4.80"),
    "jpeg_2000": ("JPEG 2000", "1.2.840.10008.1.2.4.90"),
}
"""Name and transfer syntax of each measured codec; all are lossless, so all give the same image."""


def measure(runs: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Read the same image in every codec, by us and by the plain script.

    Args:
        runs: How many times each reads it; the median counts.
        log: Gets a line for each codec.

    Returns:
        The measurements, as JSON has them.
    """
    with tempfile.TemporaryDirectory(prefix="nightdraft-bench-") as name:
        folder = Path(name)
        log(f"drawing a film of {COLUMNS} x {ROWS}, {BITS} bits")
        samples = draw_film()
        paths = write_films(folder / "films", samples)
        corners = write_films(folder / "corners", samples[:64, :64].copy())
        results = {}
        for codec, path in paths.items():
            mb = path.stat().st_size / 1e6
            log(f"{CODECS[codec][0]}: {mb:.1f} MB")
            results[codec] = {
                "mb": round(mb, 1),
                **_times(path, runs),
                "error": _error(path),
                "memory_mb": _memory_of(path, corners[codec]),
                **_two_threads(partial(view_pixels, path, VIEW), runs),
            }
    return {
        "bench": "prepare",
        "film": {"rows": ROWS, "columns": COLUMNS, "bits": BITS, "view": VIEW},
        "runs": runs,
        "two_threads_ratio": median(row["two_threads_ratio"] for row in results.values()),
        **results,
        **machine_facts(),
    }


# ---- What is measured ----


def _times(path: Path, runs: int) -> dict[str, Any]:
    """Milliseconds of both, in turns; our images a second on one core; how many times faster."""
    view_pixels(path, VIEW), view_plainly(path, VIEW)  # warm up
    view_times, plain_times = [], []
    for _ in range(runs):
        view_times.append(1000 * _seconds(lambda: view_pixels(path, VIEW)))
        plain_times.append(1000 * _seconds(lambda: view_plainly(path, VIEW)))
    ms, ms_plain = summarise(view_times), summarise(plain_times)
    return {
        "films_per_s_core": round(1000 / ms["median"], 1),
        "ratio_plain": round(ms_plain["median"] / ms["median"], 2),
        "ms": ms,
        "ms_plain": ms_plain,
    }


def _error(path: Path) -> dict[str, float]:
    """Grey levels between our view and an exact one, which is rounded only at the end."""
    difference = np.abs(view_pixels(path, VIEW) - view_in_floats(path, VIEW).astype(int))
    return {"mean": round(float(difference.mean()), 3), "largest": int(difference.max())}


def _two_threads(work: Callable[[], object], runs: int) -> dict[str, float]:
    """How many times as fast two threads are as one: for `work`, and in between for hashing.

    Hash computations share nothing, so their gain is the most that the machine allowed meanwhile.
    """
    tasks = {"two_threads_ratio": work, "two_threads_ceiling": lambda: hashlib.sha256(HASHED)}
    repeats = {
        name: 2 * math.ceil(THREADS_SECONDS / _seconds(task) / 2) for name, task in tasks.items()
    }
    ratios: dict[str, list[float]] = {name: [] for name in tasks}

    def run_all(pool: Executor, name: str) -> None:
        for future in [pool.submit(tasks[name]) for _ in range(repeats[name])]:
            future.result()

    with ThreadPoolExecutor(1) as single, ThreadPoolExecutor(2) as double:
        run_all(double, "two_threads_ratio")  # starts the threads and allocates their memory
        for _ in range(runs):
            for name, values in ratios.items():
                single_seconds = _seconds(partial(run_all, single, name))
                values.append(single_seconds / _seconds(partial(run_all, double, name)))
    return {name: round(median(values), 2) for name, values in ratios.items()}


def _memory_of(path: Path, corner: Path) -> float:
    """MB that a fresh process needs at its peak to read the image, beyond a corner of it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        process.submit(view_pixels, corner, VIEW).result()  # loads the codecs
        return process.submit(_peak_growth, path).result()


def _peak_growth(path: Path) -> float:
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak (proc(5))
    view_pixels(path, VIEW)
    return round((_resident("VmHWM") - before) / 1e6, 1)


def _resident(row: str) -> int:
    """Bytes in a row of this process's status."""
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows[row].split()[0]) * 1024


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# ---- The plain script, and an exact one ----


def view_plainly(path: Path, size: int) -> NDArray[np.uint8]:
    """Make the view as most scripts do, on whole arrays in float64.

    Returns:
        (size, size) uint8.
    """
    grey = Image.fromarray(np.rint(255 * _share_of_white(path)).astype(np.uint8))
    return np.array(grey.resize((size, size), Image.Resampling.BICUBIC))


def view_in_floats(path: Path, size: int) -> NDArray[np.uint8]:
    """Make the view exactly: floats (Pillow keeps 24 bits and sums in 53), rounded only at the end.

    Returns:
        (size, size) uint8.
    """
    grey = Image.fromarray((255 * _share_of_white(path)).astype(np.float32))
    view = np.asarray(grey.resize((size, size), Image.Resampling.BICUBIC))
    return np.asarray(np.rint(np.clip(view, 0, 255)), np.uint8)


def _share_of_white(path: Path) -> NDArray[np.float64]:
    """Brightness of each pixel from 0 (black) to 1 (white), shape (rows, columns), by pydicom."""
    ds = pydicom.dcmread(path)
    windowed = np.asarray(apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds), np.float64)
    share = np.asarray(windowed / (2**ds.BitsStored - 1))
    return 1 - share if ds.PhotometricInterpretation == "MONOCHROME1" else share


# ---- The image ----


def write_films(folder: Path, samples: NDArray[np.uint16]) -> dict[str, Path]:
    """Write the same image in every codec, one file each; return the files by codec."""
    folder.mkdir()
    (ds, *_) = phantom_dicom(phantom(FIRST_SEED), size=64)
    ds.Rows, ds.Columns = samples.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, BITS, BITS - 1
    ds.PhotometricInterpretation, ds.PixelRepresentation = "MONOCHROME2", 0
    ds.WindowCenter, ds.WindowWidth = 2 ** (BITS - 1), 2**BITS * 3 // 4
    paths = {}
    for codec, data in _encoded(samples).items():
        ds.file_meta.TransferSyntaxUID = UID(CODECS[codec][1])
        plain = codec == "uncompressed"
        ds.PixelData = data if plain else encapsulate([data])
        ds["PixelData"].VR = "OW" if plain else "OB"
        ds["PixelData"].is_undefined_length = not plain
        paths[codec] = folder / f"{codec}.dcm"
        ds.save_as(paths[codec], enforce_file_format=True)
    return paths


def draw_film() -> NDArray[np.uint16]:
    """(ROWS, COLUMNS) of BITS bits: a phantom with noise, which makes it hard to compress."""
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


def render(measurements: dict[str, Any]) -> RenderableType:
    """Render the measurements as a table."""
    image = measurements["film"]
    table = Table(box=None, header_style="bold")
    columns = "codec, MB, ms, films/s, ms plain, times faster, levels off, MB taken, two threads"
    for column in columns.split(", "):
        table.add_column(column, justify="left" if column == "codec" else "right")
    for codec in CODECS:
        row = measurements[codec]
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
            f"One film of {image['columns']} x {image['rows']}, {image['bits']} bits, to a view of "
            f"{image['view']} x {image['view']}; median of {measurements['runs']} runs, in turns; "
            "two threads: how many times as fast as one, of how many that the machine allowed"
        ),
        table,
    )
