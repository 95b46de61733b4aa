"""The demo, as `make demo ONCE=1` runs it: every end is met, and nothing is left running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from model.manifest import BUNDLES
from records.states import WARNING
from tests.support.paths import ROOT
from tests.support.waiting import eventually


@pytest.fixture
def folder(short_folder: Callable[[], Path]) -> Path:
    return short_folder()


def demo(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    settings = {"data_dir": str(folder), "disk_warn_mb": "0", "disk_stop_mb": "0", **variables}
    return subprocess.run(
        [sys.executable, "-m", "nightdraft", "demo", *arguments],
        cwd=ROOT,
        env=os.environ | {f"NIGHTDRAFT_{name.upper()}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def left_running(folder: Path) -> list[psutil.Process]:
    processes = []
    for process in psutil.process_iter():
        try:
            data_dir = process.environ().get("NIGHTDRAFT_DATA_DIR", "")
            if str(folder) in (data_dir, *process.cmdline()):
                processes.append(process)
        except psutil.Error:
            continue
    return [process for process in processes if process.pid != os.getpid()]


@pytest.mark.skipif(
    not (BUNDLES / "phantoms/manifest.json").is_file(), reason="the demonstration model is missing"
)
def test_two_dozen_studies_meet_every_end(folder: Path) -> None:
    done = demo(folder, "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 studies: HELD 3, DRAFTED 17, SKIPPED 2, FAILED 1, CANCELLED 1" in done.stdout
    assert "every study ended as it must" in done.stdout
    assert "a STAT study" in done.stdout
    assert "must not be used on patients" in done.stdout
    assert WARNING in done.stdout
    lines = [line for line in done.stdout.splitlines() if "phantoms" in line and "DRAFTED" in line]
    assert len(lines) == 17
    # The drafts depend on the studies.
    assert len({line.partition("phantoms")[2] for line in lines}) > 5
    assert "worklist: http://127.0.0.1:" in done.stdout
    eventually(lambda: not left_running(folder))
    log = "".join(file.read_text() for file in (folder / "logs").glob("*.log"))
    assert "PHANTOM^" not in log + done.stdout
    assert "Traceback" not in log + done.stderr


def test_a_study_that_ends_otherwise_is_named_and_is_a_failure(folder: Path) -> None:
    # With this setting, the age that contradicts itself is not asked.
    done = demo(folder, "--once", bundle="null", unknown_age="skip")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "state is SKIPPED and must be HELD" in done.stdout
    assert "1 of 24 studies did not end as they must" in done.stdout


def test_films_of_the_user(folder: Path, samples: Path, tmp_path: Path) -> None:
    # Ten files of ten studies. The listener does not take Deflated, so not all were drafted.
    films = tmp_path / "films"
    shutil.copytree(samples / "dicom/transfer_syntaxes", films)
    Image.fromarray(np.tile(np.arange(300, dtype=np.uint8), (300, 1))).save(films / "film.png")
    done = demo(folder, "--once", "--films", str(films), bundle="null")
    assert "10 studies: " in done.stdout, done.stdout + done.stderr
    assert "does not take Deflated Explicit VR Little Endian" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(" film.png")]
    assert line.split()[-1] == "DRAFTED"
    assert "not every file that may be a film was sent" in done.stdout
    assert done.returncode == 1
    eventually(lambda: not left_running(folder))


def test_an_interrupt_ends_all_of_it(folder: Path) -> None:
    settings = {"data_dir": str(folder), "bundle": "null", "disk_warn_mb": "0", "disk_stop_mb": "0"}
    running = subprocess.Popen(
        # A shell starts background processes so that they ignore SIGINT; a terminal does not.
        ["env", "--default-signal=INT", sys.executable, "-m", "nightdraft", "demo"],
        cwd=ROOT,
        env=os.environ | {f"NIGHTDRAFT_{name.upper()}": value for name, value in settings.items()},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    with running.stdout as output:
        assert any("Ctrl-C ends all of it" in line for line in output)
        running.send_signal(signal.SIGINT)
        assert "nothing is left running" in output.read()
    assert running.wait(60) == 0
    assert left_running(folder) == []
