"""The child that decodes: equal results, limits, crashes, and errors that come through whole."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from model.dicom import image_process
from model.dicom.comparison import Comparison
from model.dicom.image_process import ImageProcess, shared_process
from model.dicom.pixels import NO_VOI, render
from model.errors import DecoderUnavailable, DecodingLimit, HeaderLimit, NoPixels, PixelError
from tests.support.dicom_images import chest, encode_all, write_image

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
JPEG_2000 = "1.2.840.10008.1.2.4.90"


@pytest.fixture(scope="module")
def process() -> Iterator[ImageProcess]:
    process = ImageProcess(512, 30)
    yield process
    process.close()


@pytest.fixture(scope="module")
def large_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that takes a second and 100 MB: JPEG 2000, whole for lack of a window."""
    samples = np.tile(chest(12, side=300), (7, 6))
    samples ^= np.random.default_rng(0).integers(0, 64, samples.shape, np.uint16)
    data = bytes(encode_all(samples, 12)[JPEG_2000])
    path = tmp_path_factory.mktemp("large") / "film.dcm"
    rows, columns = samples.shape
    return write_image(path, data, JPEG_2000, Rows=rows, Columns=columns, BitsStored=12)


def child_of(process: ImageProcess) -> psutil.Process:
    assert process._child is not None
    return psutil.Process(process._child.pid)


def test_the_child_reads_what_this_process_would(process: ImageProcess, tmp_path: Path) -> None:
    samples = np.tile(chest(12), (4, 12))
    path = write_image(tmp_path / "film.dcm", samples, BitsStored=12, WindowCenter=30000,
                       WindowWidth=100)  # fmt: skip
    reading, rendering = process.read(path, 64, picture_side=1024), render(path, 64)
    assert np.array_equal(reading.view, rendering.view)
    assert (reading.notes, reading.is_empty) == ((NO_VOI,), False)
    picture = Image.open(io.BytesIO(reading.picture))
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (1024, 256))
    exact = np.asarray(rendering.picture(1024)).astype(int)
    assert np.abs(np.asarray(picture) - exact).mean() < 4
    assert process.read(path, 64).picture == b""
    empty = write_image(tmp_path / "empty.dcm", samples * 0, BitsStored=12, **WINDOW)
    assert process.read(empty, 64).is_empty


def test_errors_come_back_as_they_were(process: ImageProcess, tmp_path: Path) -> None:
    whole = write_image(tmp_path / "film.dcm", chest(12), BitsStored=12)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole.read_bytes()[:-100])
    huge = write_image(tmp_path / "huge.dcm", chest(12), Rows=60000)
    header = tmp_path / "header.dcm"
    header.write_bytes(whole.read_bytes()[: -chest(12).nbytes - 12])
    for path, kind, message in (
        (cut, PixelError, "ends early"),
        (huge, HeaderLimit, "60000"),
        (header, NoPixels, "no pixel data"),
    ):
        with pytest.raises(kind, match=message) as raised:
            process.read(path, 64)
        assert type(raised.value) is kind
    with pytest.raises(PixelError, match="cannot be opened") as raised:
        process.read(tmp_path / "none.dcm", 64)
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.ENOENT


def test_one_child_reads_image_after_image_for_several_threads(
    process: ImageProcess, tmp_path: Path
) -> None:
    paths = [
        write_image(tmp_path / f"{n}.dcm", np.roll(chest(12), 9 * n), BitsStored=12, **WINDOW)
        for n in range(4)
    ]
    process.read(paths[0], 64)
    pid = child_of(process).pid
    with ThreadPoolExecutor(4) as threads:
        readings = list(threads.map(lambda path: process.read(path, 64), paths * 5))
    for path, reading in zip(paths * 5, readings, strict=True):
        assert np.array_equal(reading.view, render(path, 64).view)
    assert child_of(process).pid == pid


def test_too_much_memory_is_the_films_own_fault(large_film: Path, tmp_path: Path) -> None:
    small = write_image(tmp_path / "film.dcm", chest(12), BitsStored=12)
    process = ImageProcess(160, 30)
    process.read(small, 64)
    with pytest.raises(DecodingLimit, match="more than 160 MB of memory"):
        process.read(large_film, 64)
    assert process.compare(small, small) is Comparison.SAME
    assert process.read(small, 64).view.shape == (64, 64)
    process.close()


def test_too_much_time_is_the_films_own_fault(large_film: Path, tmp_path: Path) -> None:
    small = write_image(tmp_path / "film.dcm", chest(12), BitsStored=12)
    process = ImageProcess(512, 0.2)
    process.read(small, 64)
    child = child_of(process)
    with pytest.raises(DecodingLimit, match=r"more than 0.2 s"):
        process.read(large_film, 64)
    assert not child.is_running()
    assert process.read(small, 64).view.shape == (64, 64)
    process.close()


def test_a_child_that_somebody_ended_is_replaced(process: ImageProcess, tmp_path: Path) -> None:
    path = write_image(tmp_path / "film.dcm", chest(12), BitsStored=12)
    process.read(path, 64)
    child = child_of(process)
    child.kill()
    child.wait()
    assert process.read(path, 64).view.shape == (64, 64)
    assert child_of(process).pid != child.pid


CRASHES = {
    "crashes": ("os.kill(os.getpid(), signal.SIGSEGV)", PixelError, "crash"),
    "exits": ("os._exit(3)", PixelError, "crash"),
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL)", DecoderUnavailable, "out of memory"),
    "hangs": ("signal.pause()", DecoderUnavailable, "overloaded"),
}


@pytest.mark.parametrize("end", CRASHES)
def test_a_decoder_that_dies_or_hangs_ends_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    code, kind, message = CRASHES[end]
    child_program = f"import os, signal, sys\nsys.stdin.readline()\n{code}\n"

    def start(*_: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", child_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    monkeypatch.setattr(image_process, "_start_child", start)
    if end == "hangs":
        monkeypatch.setattr(image_process, "LEAST_PATIENCE", 0.0)
    process = ImageProcess(512, 0.05 if end == "hangs" else 30)
    with pytest.raises(kind, match=message):
        process.read(tmp_path / "film.dcm", 64)
    assert process._child is None


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    path = write_image(tmp_path / "film.dcm", chest(12), BitsStored=12)
    program = (
        "import sys, time; from pathlib import Path\n"
        "from model.dicom.image_process import ImageProcess\n"
        "process = ImageProcess(512, 30); process.read(Path(sys.argv[1]), 64)\n"
        "print(process._child.pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([child], timeout=60)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_fork_gets_a_child_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = shared_process(512, 10)
    assert shared_process(512, 10) is mine
    assert shared_process(512, 11) is not mine
    monkeypatch.setattr(image_process.os, "getpid", lambda: -1)
    assert shared_process(512, 10) is not mine
