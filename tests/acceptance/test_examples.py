"""The examples do what their pages say, against a running station."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from records.states import WARNING
from tests.support.paths import ROOT
from tests.support.station import Station, running_station
from training.corpus.phantoms_dicom import write_phantoms

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def station(short_folder: Callable[[], Path]) -> Iterator[Station]:
    with running_station(short_folder(), BUNDLE="demo") as running:
        yield running


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def send(station: Station, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_example("send_study.py", str(folder), "--port", str(station.port))


def read(station: Station, uid: str, wait: int = 120) -> subprocess.CompletedProcess[str]:
    return run_example("read_drafts.py", uid, "--url", station.page, "--wait", str(wait))


def test_a_study_is_sent_and_its_draft_is_read_by_rest(station: Station, tmp_path: Path) -> None:
    ((_, files),) = write_phantoms(tmp_path, [2_000_000_100], size=320)
    sent = send(station, tmp_path)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    lines = sent.stdout.splitlines()
    assert [line for line in lines if line.endswith(": stored")] == [
        f"{path.name}: stored" for path in sorted(files)
    ]
    (study,) = (line.removeprefix("study ") for line in lines if line.startswith("study "))
    draft = read(station, study)
    assert draft.returncode == 0, draft.stdout + draft.stderr
    assert draft.stdout.startswith(WARNING)
    assert "status UNREVIEWED" in draft.stdout


def set_mode(station: Station, mode: str) -> None:
    with station.engine.begin() as connection:
        connection.execute(text("UPDATE sites SET mode = :mode"), {"mode": mode})


def test_a_draft_that_is_withheld_is_said_to_be(station: Station, tmp_path: Path) -> None:
    list(write_phantoms(tmp_path, [2_000_000_101], size=320))
    sent = send(station, tmp_path)
    (study,) = (line for line in sent.stdout.splitlines() if line.startswith("study "))
    set_mode(station, "SHADOW")
    try:
        shown = read(station, study.removeprefix("study "))
    finally:
        set_mode(station, "RESEARCH")
    assert shown.returncode == 1, shown.stderr
    assert shown.stdout.strip() == (
        "The draft is not shown. It is withheld from everybody: SHADOW (see /models)."
    )


def test_an_unknown_study_and_a_folder_without_images_are_reported(
    station: Station, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    sent = send(station, tmp_path)
    assert sent.returncode == 1
    assert "notes.txt: not a DICOM file" in sent.stdout
    assert "there is no DICOM file in this folder" in sent.stdout
    missing = read(station, "2.25.1", wait=0)
    assert missing.returncode == 1
    assert "No such study has arrived." in missing.stdout


@pytest.mark.slow
def test_a_bundle_is_trained_on_a_folder_with_the_example_s_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    drawn = run_example("train_on_a_folder/draw_folder.py", str(folder), "--studies", "20")
    assert drawn.returncode == 0, drawn.stderr
    settings = ("--set", "steps=2", "--set", "score=0")
    done = subprocess.run(
        [sys.executable, "-m", "nightdraft", "train", "both", "--device", "cpu",
         "--config", str(EXAMPLES / "train_on_a_folder/train.toml"), *settings],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / "bundle/manifest.json").read_text())
    assert manifest["name"] == "ours"
    assert list(manifest["training"]["stages"]) == ["stage1", "stage1+stage2"]
    saved = (tmp_path / "bundle.training/config.toml").read_text()
    assert "steps = 2" in saved
    assert 'corpus = "folder:folder"' in saved
