"""From HL7, SR and tables to a folder that is trained on: by the command, without a name left."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from nightdraft.cli.corpora import corpus as command
from records.errors import CorpusError, NotAllowed
from records.states import WARNING
from tests.support.hl7_results import result
from tests.support.own_reports import draw_film
from training.corpus.example import Example
from training.corpus.phantoms_dicom import write_phantoms
from training.corpus.registry import open_corpus
from training.deid.pseudonyms import site_pseudonyms
from training.importing.film_index import NO_IMAGE, OTHER_PATIENT, SEVERAL_STUDIES, FilmIndex

NAME = "Plugh^Xyzzy"


@pytest.fixture
def key(tmp_path: Path, setting: Callable[..., None]) -> Path:
    """The data folder, where the key of the pseudonyms is made."""
    setting(data_dir=tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Three studies with accession numbers PH1 to PH3, of one patient with a name."""
    folder = tmp_path / "films"
    for _, paths in write_phantoms(folder, [1, 2, 3], size=96):
        for path in paths:
            dataset = pydicom.dcmread(path)
            dataset.PatientName, dataset.PatientID = NAME, "P1"
            dataset.save_as(path)
    return folder


def run(*arguments: object) -> str:
    outcome = CliRunner().invoke(command, ["import", *map(str, arguments)])
    if outcome.exception is not None:
        raise outcome.exception
    return outcome.output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines(*texts: str) -> tuple[str, ...]:
    return tuple(f"TX|1^REPORT||{text}" for text in texts)


def test_hl7_files_become_a_folder_with_films(films: Path, key: Path, tmp_path: Path) -> None:
    messages = [
        result("PH1", lines("FINDINGS: First version.", "IMPRESSION: Old."), issued="20260301"),
        result("PH1", lines("FINDINGS: Mr. Plugh is well.", "IMPRESSION: PH1 corrected."),
               status="C", issued="20260303"),
        result("PH1", lines("FINDINGS: Came late."), issued="20260302"),
        result("PH1", lines("FINDINGS: Preliminary."), status="P", issued="20260304"),
        result("PH2", lines("FINDINGS: To be withdrawn."), issued="20260301"),
        result("PH2", (), status="X", issued="20260302"),
        result("PH3", lines("FINDINGS: Of another patient."), patient="P9"),
        result("PH4", lines("FINDINGS: No film.")),
        result("PH5", lines(WARNING, "FINDINGS: Ours.")),
        result("ORDER7", lines("FINDINGS: By its UID."), issued="20260301",
               extra=f"ZDS|{pydicom.dcmread(films / '3/frontal.dcm').StudyInstanceUID}^X"),
    ]  # fmt: skip
    source, out = tmp_path / "results.hl7", tmp_path / "own"
    source.write_text("".join(messages), newline="")
    output = run("hl7", source, "--out", out, "--images", films)
    assert output.startswith("2 reports of 1 patients with 4 images are in ")
    table = rows(out / "reports.csv")
    reports = {row["report"] for row in table}
    assert reports == {
        "FINDINGS: Mr. (NAME) is well.\nIMPRESSION: (ID) corrected.", "FINDINGS: By its UID."
    }  # fmt: skip
    (patient,) = {row["patient"] for row in table}
    assert patient == site_pseudonyms(key).pseudonym("id P1")
    whole = (out / "reports.csv").read_text()
    for name in ("Plugh", "Xyzzy", "P1,", "PH1", "ORDER7"):
        assert name not in whole
    # What gives way to a later version, and what cannot be used at all.
    rejected = rows(out / "rejected.csv")
    assert rejected[0]["source"] == "results.hl7, line 1, message CPH1"
    assert [(row["study"], row["reason"]) for row in rejected] == [
        ("PH1", "a later version of the report is taken"),
        ("PH1", "a later version of the report is taken"),
        ("PH1", "it is not final (status P, preliminary)"),
        ("PH2", "a later version of the report is taken"),
        ("PH5", "it is a draft of this software, and no report"),
        ("PH2", "the report was withdrawn"),
        ("PH4", NO_IMAGE),
        ("PH3", OTHER_PATIENT),
    ]
    # The folder is right, and its reports are examples with the films of their study.
    examples = [s for s in open_corpus(f"folder:{out}").read() if isinstance(s, Example)]
    assert [len(e.images) for e in examples] == [2, 2]
    assert CliRunner().invoke(
        command, ["check", f"folder:{out}", f"--page={tmp_path / 'page.png'}"]
    ).exit_code == 0  # fmt: skip


def test_nothing_is_overwritten_without_being_told(films: Path, key: Path, tmp_path: Path) -> None:
    assert not key.exists()
    source, out = tmp_path / "results.hl7", tmp_path / "own"
    source.write_text(result("PH1", lines("FINDINGS: One.")), newline="")
    arguments = ("hl7", source, "--out", out, "--images", films)
    run(*arguments)
    before = (out / "reports.csv").read_bytes()
    with pytest.raises(NotAllowed, match=r"has reports\.csv and rejected\.csv; .*--replace"):
        run(*arguments)
    source.write_text(result("PH1", lines("FINDINGS: Two.")), newline="")
    figures = json.loads(run(*arguments, "--replace", "--json", "-"))
    assert figures["reports"] == 1
    assert figures["rejected"] == {}
    after = (out / "reports.csv").read_bytes()
    # The same study and patient have the same names again.
    assert after == before.replace(b"One.", b"Two.")
    # A source that is not there leaves what was there.
    with pytest.raises(CorpusError, match="no file or folder"):
        run("hl7", tmp_path / "none", "--out", out, "--replace")
    assert (out / "reports.csv").read_bytes() == after
    assert sorted(path.name for path in out.iterdir()) == ["rejected.csv", "reports.csv"]


def test_without_images_a_study_is_named_by_its_uid(key: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "results.hl7", tmp_path / "own"
    source.write_text(
        result("A1", lines("FINDINGS: One."), extra="ZDS|1.2.3^X") + result("A2"), newline=""
    )
    run("hl7", source, "--out", out)
    assert [row["study_uid"] for row in rows(out / "reports.csv")] == ["1.2.3"]
    ((reason),) = (row["reason"] for row in rows(out / "rejected.csv"))
    assert reason == "it names no image and no study; name the folder of the images"


def test_two_tables_become_a_folder(key: Path, tmp_path: Path) -> None:
    out = tmp_path / "own"
    (out / "films").mkdir(parents=True)
    draw_film(out / "films/1.png")
    (tmp_path / "r.csv").write_text("Nr;Pat;Text;split\n7;P1;FINDINGS: Clear.;test\n")
    (tmp_path / "i.csv").write_text("Nr,file\n7,films/1.png\n")
    mapping = ("--column", "study=Nr", "--column", "patient=Pat", "--column", "report=Text")
    run("csv", tmp_path / "r.csv", tmp_path / "i.csv", "--out", out, *mapping,
        "--image-column", "study=Nr", "--root", out)  # fmt: skip
    (row,) = rows(out / "reports.csv")
    assert (row["images"], row["split"]) == ("films/1.png", "test")
    (example,) = open_corpus(f"folder:{out}").read("test")
    assert isinstance(example, Example)
    assert example.target == "Findings: Clear."


def test_films_are_found_by_accession_number_and_patient(films: Path, tmp_path: Path) -> None:
    for path in (films / "2").iterdir():  # now two studies have the number PH1
        dataset = pydicom.dcmread(path)
        dataset.AccessionNumber = "PH1"
        dataset.save_as(path)
    index = FilmIndex(films)
    uid = str(pydicom.dcmread(films / "3/frontal.dcm").StudyInstanceUID)
    study, paths = index.find("", "PH3", "P1")
    assert study == uid
    assert paths == sorted(map(str, (films / "3").iterdir()))
    assert index.find(uid, "other", "P1") == index.find("1.2.3", "PH3", "P1")
    assert index.find("", "PH1", "P1") == SEVERAL_STUDIES
    assert index.find("", "PH3", "P2") == OTHER_PATIENT
    assert index.find("", "", "P1") == NO_IMAGE
    with pytest.raises(CorpusError, match="no folder"):
        FilmIndex(tmp_path / "none")
