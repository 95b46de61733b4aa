"""A department's own reports: what is read, what is forgiven, and what is wrong by line."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner

from model.errors import EmptyImage, PixelError
from model.manifest import Preprocessing
from nightdraft.cli.corpora import corpus as command
from records.errors import CorpusError
from tests.support.dicom_images import chest, write_image
from tests.support.own_reports import (
    REPORT,
    draw_film,
    list_faults,
    phantom_rows,
    read_examples,
    report_row,
    write_csv,
)  # fmt: skip
from training.corpus.as_trained import options_as_trained
from training.corpus.check import CorpusSummary, summarise_corpus
from training.corpus.example import TEST, TRAIN, VALIDATE, CorpusOptions, Example, ExcludedStudy
from training.corpus.folder import FolderCorpus
from training.corpus.phantoms_dicom import write_phantoms
from training.corpus.registry import open_corpus

P64 = Preprocessing(64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_a_table_with_all_columns_gives_examples(tmp_path: Path) -> None:
    draw_film(tmp_path / "a.png")
    draw_film(tmp_path / "b.jpg", position="lateral")
    write_csv(
        tmp_path,
        [
            {
                "study": "s1",
                "patient": "p1",
                "date": "2026-03-01",
                "images": "b.jpg;a.png",
                "views": "LAT;PA",
                "report": REPORT,
                "procedure": "Chest PA and lateral",
                "prior_report": "Small effusion.",
                "split": "val",
            }
        ],
    )
    (example,) = read_examples(tmp_path)
    assert example.target == "Findings: The lungs are clear. Impression: No disease."
    assert (example.key, example.patient, example.split) == ("s1", "p1", VALIDATE)
    assert [image.position for image in example.images] == ["frontal", "lateral"]
    assert [image.source for image in example.images] == ["a.png", "b.jpg"]
    assert example.priors.indication == "Cough."
    assert example.priors.procedure == "Chest PA and lateral"
    assert example.priors.prior_report == "Small effusion."
    assert example.prior_sources == {
        "indication": "INDICATION section",
        "procedure": "column procedure",
        "prior_report": "column prior_report",
    }
    (findings,) = read_examples(tmp_path, target="findings")
    assert findings.target == "The lungs are clear."


def test_splits_are_by_patient_and_the_same_everywhere(tmp_path: Path) -> None:
    rows = [
        {"study": f"s{n}", "patient": f"p{n // 2}", "images": f"{n}.png", "report": REPORT}
        for n in range(2000)
    ]
    write_csv(tmp_path, rows)
    split_of = {}
    corpus = FolderCorpus(tmp_path, CorpusOptions(seed=1, validate=0.1), needs_images=False)
    for study in corpus.read():
        assert isinstance(study, Example)
        assert split_of.setdefault(study.patient, study.split) == study.split
    counts = [list(split_of.values()).count(split) for split in (TRAIN, VALIDATE, TEST)]
    # A fifth is for testing, and a tenth of the rest for validation.
    assert counts == pytest.approx([720, 80, 200], abs=40)
    assert [n for n in range(30) if split_of[f"p{n}"] == TEST] == [1, 6, 7, 13, 14, 17, 29]
    # A patient's side depends neither on other patients nor on the order of rows.
    write_csv(tmp_path, rows[::-1][:100])
    fewer = FolderCorpus(tmp_path, CorpusOptions(seed=1, validate=0.1), needs_images=False)
    assert all(
        study.split == split_of[study.patient]
        for study in fewer.read()
        if isinstance(study, Example)
    )


def test_a_split_that_is_given_holds_and_a_patient_in_two_is_an_error(tmp_path: Path) -> None:
    rows = [report_row(tmp_path, n, patient=f"p{n // 2}", split=split) for n, split in
            ((2, "test"), (3, ""), (4, "train"), (5, "train"))]  # fmt: skip
    write_csv(tmp_path, rows)
    assert {e.key: e.split for e in read_examples(tmp_path)} == {
        "s2": TEST, "s3": TEST, "s4": TRAIN, "s5": TRAIN,
    }  # fmt: skip
    rows[3]["split"] = "test"
    write_csv(tmp_path, rows)
    # A report has five lines here, and a row is where it begins.
    assert [line for line, _ in list_faults(tmp_path)] == [12, 17]
    assert "its patient is in two splits, here in train" in list_faults(tmp_path)[0][1]
    assert len(read_examples(tmp_path, split="patients")) == 4  # which asks nobody
    with pytest.raises(CorpusError, match="no split 'official'; there are given, patients"):
        read_examples(tmp_path, split="official")


def test_an_evaluation_reads_the_folder_as_the_training_did() -> None:
    manifest = type("M", (), {"name": "ours", "version": "1"})()
    reading = {"target": "", "split": "", "seed": 3, "validate": 0.0}
    manifest.training = {"corpus": "folder", "reading": reading}
    assert options_as_trained("folder", [manifest], {}).seed == 3
    with pytest.raises(CorpusError, match="the seed 3; with the split 'given' and the seed 4"):
        options_as_trained("folder", [manifest], {"seed": 4})


def test_the_prior_report_is_of_the_same_patient_and_surely_earlier(tmp_path: Path) -> None:
    def of(day: str, patient: str = "p", **more: str) -> dict[str, Any]:
        number = len(rows) + 1
        return report_row(
            tmp_path, number, date=day, patient=patient,
            report=f"FINDINGS: Findings {number}.\nIMPRESSION: Impression {number}.", **more
        )  # fmt: skip

    rows: list[dict[str, Any]] = []
    for day, patient in (
        ("2026-01-01", "p"), ("2026-01-02", "other"), ("2026-01-03T10:00", "p"),
        ("2026-01-03", "p"), ("2026-01-03T10:00:00", "p"), ("2026-01-04", "p"), ("", "p"),
    ):  # fmt: skip
        rows.append(of(day, patient))
    rows.append(of("2026-01-05", impression="", findings=""))
    write_csv(tmp_path, rows)
    priors = {e.key: e.priors.prior_report for e in read_examples(tmp_path)}
    assert priors == {
        "s1": "",
        "s2": "",
        "s3": "Impression 1. Findings 1.",
        "s4": "Impression 1. Findings 1.",  # the day of s3 and s5, at an unknown time
        "s5": "Impression 1. Findings 1.",  # the moment of s3
        "s6": "Impression 5. Findings 5.",
        "s7": "",  # without a date
        "s8": "Impression 6. Findings 6.",
    }


def test_a_report_is_divided_by_its_headings_or_taken_whole(tmp_path: Path) -> None:
    write_csv(
        tmp_path,
        [
            report_row(tmp_path, 1, report="No effusion.\nNo pneumothorax."),
            report_row(tmp_path, 2, report="IMPRESSION: Clear."),
            report_row(tmp_path, 3, report="", findings="Clear lungs.", impression="Normal."),
            report_row(tmp_path, 4, report=REPORT, findings="Other findings."),
        ],
    )
    summary = check(tmp_path)
    assert [e.target for e in read_examples(tmp_path)] == [
        "Findings: No effusion. No pneumothorax.",
        "Impression: Clear.",
        "Findings: Clear lungs. Impression: Normal.",
        "Findings: Other findings. Impression: No disease.",
    ]
    assert summary.remarks["reports without findings"] == 1
    assert summary.remarks["reports without impression"] == 1
    assert summary.remarks["reports without headings, taken for findings"] == 1
    corpus = open_corpus(f"folder:{tmp_path}", CorpusOptions(target="findings"))
    left_out = [study for study in corpus.read() if isinstance(study, ExcludedStudy)]
    assert left_out == [ExcludedStudy("s2", "no findings")]


def check(folder: Path, **options: Any) -> CorpusSummary:
    return summarise_corpus(FolderCorpus(folder), **options)


def test_identifiers_go_out_of_all_texts(tmp_path: Path) -> None:
    report = "FINDINGS: Mrs. Quux, MRN 55512345, seen on 3 March 2026. {} Clear. IMPRESSION: Well."
    write_csv(
        tmp_path,
        [
            report_row(tmp_path, 1, patient="ZX81-7", date="2026-03-03", patient_name="Plugh^Xyzzy",
                report=report.format("Discussed with Xyzzy Plugh, ZX81-7, acc 77-88-99."),
                accession_number="77-88-99", indication="Plugh coughs", procedure="Chest, Plugh",
                prior_report="Plugh was well"),
        ],
    )  # fmt: skip
    (example,) = read_examples(tmp_path)
    everything = " ".join(
        [example.target, *(getattr(example.priors, name) for name in example.prior_sources)]
    )
    for name in ("Quux", "Plugh", "Xyzzy", "55512345", "ZX81", "77-88-99", "March"):
        assert name not in everything
    assert len(example.prior_sources) == 3
    assert "Clear." in example.target


def test_the_name_in_a_header_goes_out_of_the_text_and_the_order_comes_in(tmp_path: Path) -> None:
    ((drawn, paths),) = write_phantoms(tmp_path / "films", [12], size=96)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.PatientName = "Frobozz^Quendor"
        dataset.save_as(path)
    uid = str(pydicom.dcmread(paths[0]).StudyInstanceUID)
    write_csv(
        tmp_path,
        [{"study_uid": uid, "patient": "p", "report": "FINDINGS: Quendor Frobozz is well."}],
    )
    (example,) = read_examples(tmp_path)
    assert example.key == uid
    assert example.target == "Findings: (NAME) is well."
    assert [image.position for image in example.images] == list(drawn.positions)
    assert example.priors.procedure == drawn.procedure
    assert example.prior_sources["procedure"] == "header"
    assert example.priors.indication == drawn.indication[:64]
    assert example.images[0].pixels(P64).std() > 20


def test_a_study_uid_is_looked_up_by_headers_and_by_the_name_of_a_folder(tmp_path: Path) -> None:
    ((_, paths),) = write_phantoms(tmp_path / "films", [12], size=96)
    uid = str(pydicom.dcmread(paths[0]).StudyInstanceUID)
    (tmp_path / "1.2.3").mkdir()
    write_image(tmp_path / "1.2.3" / "x.dcm", chest(), StudyInstanceUID="1.2.99")
    (tmp_path / "notes.txt").write_text("nothing")
    write_csv(
        tmp_path,
        [
            {"study_uid": study, "patient": f"p{n}", "report": "Clear."}
            for n, study in enumerate([uid, "1.2.3", "1.2.4", "1.2/3", uid + " "])
        ],
    )
    corpus = FolderCorpus(tmp_path)
    assert [(f.line, f.reason) for f in corpus.faults()] == [
        (4, "the folder has no DICOM file of the study 1.2.4"),
        (5, "the study_uid '1.2/3' is no UID"),
        (6, "patient is another than in line 2, which has the same study"),
    ]
    assert [s.key for s in corpus.read() if isinstance(s, Example)] == ["1.2.3"]


def test_what_a_header_rules_out_is_left_out_with_the_reason(tmp_path: Path) -> None:
    write_image(tmp_path / "knee.dcm", chest(), BodyPartExamined="KNEE")
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    write_csv(
        tmp_path,
        [
            {"study": n, "patient": n, "images": n, "report": REPORT}
            for n in ("knee.dcm", "broken.dcm")
        ],
    )
    studies = list(FolderCorpus(tmp_path).read())
    assert studies == [
        ExcludedStudy("broken.dcm", "Its pixels could not be read."),
        ExcludedStudy("knee.dcm", "It is not a chest film."),
    ]


@pytest.mark.parametrize("kind", ["png 8", "png 16", "jpeg"])
def test_a_picture_is_read_as_a_film_is(kind: str, tmp_path: Path) -> None:
    film = chest(bits=12)
    path = write_image(tmp_path / "film.dcm", film, BitsStored=12)
    name = f"film.{kind.split()[0]}"
    if kind == "png 16":
        Image.fromarray(film).save(tmp_path / name)
    else:
        Image.fromarray((film >> 4).astype(np.uint8)).save(tmp_path / name, quality=98)
    write_csv(
        tmp_path,
        [
            {"study": file, "patient": "p", "images": file, "views": "PA", "report": REPORT}
            for file in (path.name, name)
        ],
    )
    by_dicom, by_picture = (e.images[0].pixels(P64).astype(int) for e in read_examples(tmp_path))
    # 12 bits in a PNG of 16 are as bright as in DICOM, and not cut at 255.
    assert np.abs(by_dicom - by_picture).max() <= (4 if kind == "png 16" else 10)
    assert by_picture.std() > 20


def test_pictures_that_cannot_be_read_are_found_by_the_check(tmp_path: Path) -> None:
    rows = [report_row(tmp_path, n) for n in range(1, 5)]
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (64, 64), 7).save(tmp_path / "2.png")
    (tmp_path / "3.png").write_text("no picture")
    write_csv(tmp_path, rows)
    by_key = {e.key: e.images[0] for e in read_examples(tmp_path)}
    for key in ("s1", "s3"):
        with pytest.raises(PixelError, match="cannot be read"):
            by_key[key].pixels(P64)
    with pytest.raises(EmptyImage, match=r"2\.png shows nothing"):
        by_key["s2"].pixels(P64)
    summary = check(tmp_path, read_images=True)
    assert [key for key, _ in summary.images_unreadable] == ["s1", "s2", "s3"]
    assert (summary.images_read, summary.is_faultless) == (4, False)
    assert check(tmp_path).is_faultless


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, ["check", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_command_tells_all_and_exits_with_1_where_something_is_wrong(tmp_path: Path) -> None:
    folder, page = tmp_path / "own", f"--page={tmp_path / 'page.png'}"
    folder.mkdir()
    rows = phantom_rows(folder, range(1, 13), patients=6)
    write_csv(folder, [r | {"findngs": ""} for r in rows])
    status, output = run("folder", str(folder), page)
    assert status == 0
    assert re.search(r"^examples +train 10, validate 0, test 2", output, re.MULTILINE)
    assert "column 'findngs' is not read (is it findings?)" in output
    assert "with a prior report" in output
    rows[0]["date"], rows[3]["patient"] = "yesterday", ""
    (folder / "5-frontal.png").write_bytes(b"")
    write_csv(folder, rows)
    figures = tmp_path / "figures.json"
    status, output = run(f"folder:{folder}", page, "--json", str(figures))
    assert status == 1
    assert "line 2 (study-1): the date 'yesterday' is not known" in output
    assert "line 8 (study-4): there is no patient" in output
    told = json.loads(figures.read_text())
    assert [fault["line"] for fault in told["faults"]] == [2, 8]
    assert [key for key, _ in told["images_unreadable"]] == ["study-5"]
    assert told["left_out"] == {"a row of the study is wrong": [2, "study-1"]}
    assert run(f"folder:{folder}", page, "--no-images")[0] == 1


def test_another_table_is_another_corpus(tmp_path: Path) -> None:
    identities = []
    for report in ("One.", "Two.", "Two."):
        write_csv(tmp_path, [report_row(tmp_path, report=report)])
        identities.append(FolderCorpus(tmp_path).identity)
    assert [first == second for first, second in pairwise(identities)] == [False, True]
