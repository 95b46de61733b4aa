"""The folder of `nightdraft demo --films` is checked before anything starts."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian
from rich.console import Console

from nightdraft.cli.demo import run_demo
from nightdraft.cli.demo_films import check_folder, render_pictures
from records.errors import NotFound
from records.states import VisibleState
from training.corpus.phantoms_dicom import write_phantoms


class Started(Exception):
    """The demo would start the station now."""


@pytest.fixture
def overrides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The settings with which the station would start; it does not."""
    seen: dict[str, Any] = {}

    def station(_: Path, values: dict[str, Any]) -> None:
        seen.update(values)
        raise Started

    monkeypatch.setenv("NIGHTDRAFT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("nightdraft.cli.demo.StationProcess", station)
    return seen


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def picture(path: Path) -> None:
    Image.fromarray(np.tile(np.arange(300, dtype=np.uint8), (300, 1))).save(path)


def test_nothing_starts_where_nothing_can_be_sent(
    tmp_path: Path, console: Console, overrides: dict[str, Any]
) -> None:
    folder = tmp_path / "films"
    with pytest.raises(NotFound, match="there is no folder"):
        run_demo(console, folder, once=True)
    folder.mkdir()
    (folder / "cd.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(NotFound, match=r"nothing in .* can be sent: put DICOM files there, or PNG"):
        run_demo(console, folder, once=True)
    assert "1 file; to be sent: none" in printed(console)
    assert "a ZIP archive: unpack it first (cd.zip)" in printed(console)
    assert not overrides
    assert not (tmp_path / "data").exists()


def test_pictures_are_taken_for_chests_and_that_is_said(
    tmp_path: Path,
    console: Console,
    overrides: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    picture(folder / "film.png")
    with pytest.raises(Started):
        run_demo(console, folder, once=True)
    assert "wrapped as DICOM Secondary Capture" in printed(console)
    assert "NIGHTDRAFT_UNKNOWN_CHEST=draft" in printed(console)
    assert overrides["unknown_chest"] == "draft"
    # The user's own setting counts.
    overrides.clear()
    monkeypatch.setenv("NIGHTDRAFT_UNKNOWN_CHEST", "hold")
    from records.settings import settings

    settings.cache_clear()
    with pytest.raises(Started):
        run_demo(console, folder, once=True)
    assert "unknown_chest" not in overrides


def test_dicom_alone_changes_no_setting(
    tmp_path: Path, console: Console, overrides: dict[str, Any]
) -> None:
    list(write_phantoms(tmp_path / "films", [3], size=64))
    with pytest.raises(Started):
        run_demo(console, tmp_path / "films", once=True)
    assert "unknown_chest" not in overrides
    assert "Secondary Capture" not in printed(console)


def test_what_the_listener_would_not_take_is_said_before(tmp_path: Path, console: Console) -> None:
    ((_, (good, *_)),) = write_phantoms(tmp_path, [3], size=64)
    ds = pydicom.dcmread(good)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / "deflated.dcm", enforce_file_format=True)
    checked = check_folder(console, tmp_path)
    assert not checked.all_taken
    assert tmp_path / "deflated.dcm" not in [film.path for film in checked.films]
    assert "the listener does not take Deflated Explicit VR Little Endian" in printed(console)


def test_the_table_says_which_study_each_picture_became(tmp_path: Path, console: Console) -> None:
    picture(tmp_path / "film.png")
    (film,) = check_folder(console, tmp_path).films
    row: Any = SimpleNamespace(study_instance_uid=film.study, state=VisibleState.DRAFTED)
    console.print(render_pictures([film], [row], plain=True))
    (line,) = [
        line for line in printed(console).splitlines() if line.strip().startswith("film.png")
    ]
    assert line.split() == ["film.png", film.accession, "DRAFTED"]
    console.print(render_pictures([film], [], plain=True))
    assert "not taken" in printed(console)
