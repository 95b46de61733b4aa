"""What a folder holds: films, pictures, and what is neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nightdraft.film_files import (
    FilmFile,
    SendOutcome,
    SendResult,
    describe_files,
    describe_results,
    find_films,
)
from training.corpus.phantoms_dicom import write_phantoms


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each kind of file that people put beside their films."""
    place = tmp_path_factory.mktemp("films")
    list(write_phantoms(place / "dicom", [4], size=64))
    grey = np.tile(np.arange(300, dtype=np.uint8), (300, 1))
    Image.fromarray(grey).save(place / "film.png")
    Image.fromarray(grey).save(place / "film without suffix", "JPEG")
    Image.fromarray(grey[:64, :64]).save(place / "icon.png")
    (place / "cut.jpg").write_bytes((place / "film without suffix").read_bytes()[:600])
    Image.fromarray(grey).save(place / "film.tif")
    for name, start in (
        ("cd.zip", b"PK\x03\x04"),
        ("cd.tar.gz", b"\x1f\x8b"),
        ("cd.rar", b"Rar!"),
        ("report.pdf", b"%PDF-1.7"),
        ("notes.txt", b"read me"),
        ("._film.png", b"\x00\x05\x16\x07"),
    ):
        (place / name).write_bytes(start + b"rest")
    return place


def reasons(folder: Path, **options: bool) -> dict[str, tuple[SendOutcome, str]]:
    found = find_films(folder, **options)
    return {
        entry.path.name: (entry.outcome, entry.reason)
        for entry in found
        if isinstance(entry, SendResult)
    }


def films(folder: Path, **options: bool) -> list[FilmFile]:
    return [film for film in find_films(folder, **options) if isinstance(film, FilmFile)]


def test_pictures_are_films_only_where_that_is_asked(folder: Path) -> None:
    assert {film.kind for film in films(folder)} == {"DICOM"}
    outcome, reason = reasons(folder)["film.png"]
    assert (outcome, reason) == (SendOutcome.NOT_DICOM, "a PNG picture, which --pictures sends")

    asked = {film.path.name: film.kind for film in films(folder, pictures=True)}
    assert asked.pop("film.png") == "PNG"
    assert asked.pop("film without suffix") == "JPEG"
    assert set(asked.values()) == {"DICOM"}


def test_what_is_no_film_is_named_with_what_to_do(folder: Path) -> None:
    found = reasons(folder, pictures=True)
    assert {name: reason for name, (outcome, reason) in found.items()
            if outcome is SendOutcome.NOT_DICOM} == {
        "cd.zip": "a ZIP archive: unpack it first",
        "cd.tar.gz": "a gzip archive: unpack it first",
        "cd.rar": "a RAR archive: unpack it first",
        "film.tif": "a TIFF picture: save it as PNG",
        "report.pdf": "a PDF document",
        "notes.txt": "",
        "._film.png": "",
    }  # fmt: skip
    # What may be a film and cannot be sent is no success.
    refused = {name: reason for name, (outcome, reason) in found.items()
               if outcome is SendOutcome.UNSENT}  # fmt: skip
    assert set(refused) == {"icon.png", "cut.jpg"}
    assert refused["icon.png"].startswith("a PNG picture: it is an icon or a preview")
    assert refused["cut.jpg"].startswith("a JPEG picture: it cannot be")


def test_the_description_counts_kinds_and_names_a_few_files(tmp_path: Path) -> None:
    one = FilmFile(tmp_path / "a.png", "1", "2", "3", False, kind="PNG", remark="turned grey")
    dicom = FilmFile(tmp_path / "b.dcm", "1", "2", "3", True)
    assert describe_files([dicom, one, dicom]) == "2 DICOM, 1 PNG (1 turned grey)"
    assert describe_files([]) == "none"
    results = [SendResult(tmp_path / f"{n}.txt", SendOutcome.NOT_DICOM) for n in range(7)]
    results.append(SendResult(tmp_path / "line\nbreak", SendOutcome.UNSENT, "it is empty"))
    assert list(describe_results(results)) == [
        r"1 not sent: it is empty (line\nbreak)",
        "7 not DICOM (0.txt, 1.txt, 2.txt, 3.txt, 4.txt, ...)",
    ]
