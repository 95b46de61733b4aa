"""Two tables, of reports and of images, become one."""

from __future__ import annotations

from pathlib import Path

import pytest

from records.errors import CorpusError, SettingsError
from training.importing.csv_reports import parse_columns, read_csv_reports
from training.importing.reports import FoundReport, Rejection

REPORTS = """Fallnummer;Patientennr;Untersuchung am;Befundtext;Name
A1;P1;2026-03-01;"FINDINGS: Clear.
IMPRESSION: Normal.";Plugh, Xyzzy
A2;P2;;One.;
A3;P3;01.03.2026;One.;
A4;P4;;One.;
A5;;;One.;
A1;P1;;Again.;
A6;P6;;;
"""
IMAGES = """acc,file,pos
A1,films/1.png,PA
A1,films/2.png,LAT
A3,films/1.png,
A4,films/gone.png,
A5,films/1.png,
A6,films/1.png,
A7,films/1.png,
A2,,
A2,films/1.png,oblique
"""
COLUMNS = {
    "accession_number": "Fallnummer",
    "patient": "Patientennr",
    "date": "Untersuchung am",
    "report": "Befundtext",
    "patient_name": "Name",
}
IMAGE_COLUMNS = {"accession_number": "acc", "views": "pos"}


def tables(folder: Path, reports: str = REPORTS, images: str = IMAGES) -> tuple[Path, Path]:
    (folder / "films").mkdir(exist_ok=True)
    for name in ("1.png", "2.png"):
        (folder / "films" / name).touch()
    (folder / "reports-export.csv").write_text(reports, encoding="utf-8-sig")
    (folder / "images.csv").write_text(images)
    return folder / "reports-export.csv", folder / "images.csv"


def test_reports_and_images_are_joined_and_every_row_that_is_not_says_why(tmp_path: Path) -> None:
    found = list(read_csv_reports(*tables(tmp_path), COLUMNS, IMAGE_COLUMNS))
    (report,) = (item for item in found if isinstance(item, FoundReport))
    assert (report.patient, report.accession, report.taken) == ("P1", "A1", "20260301")
    assert report.texts == {"report": "FINDINGS: Clear.\nIMPRESSION: Normal."}
    assert report.known.name == "Plugh, Xyzzy"
    assert report.images == (
        (str(tmp_path / "films/1.png"), "frontal"),
        (str(tmp_path / "films/2.png"), "lateral"),
    )
    rejected = [(r.source, r.study, r.reason) for r in found if isinstance(r, Rejection)]
    reports, images = "reports-export.csv, line {}".format, "images.csv, line {}".format
    assert rejected == [
        (images(9), "A2", "it has no image"),
        (images(10), "A2", "the view 'oblique' is not known; write frontal, lateral or nothing"),
        (reports(4), "A2", "no row of the images has this study"),
        (reports(5), "A3",
         "the date '01.03.2026' is not known; write 2026-11-27 or 2026-11-27T18:05"),
        (reports(6), "A4", f"there is no image {tmp_path / 'films/gone.png'}"),
        (reports(7), "A5", "it has no patient"),
        (reports(8), "A1", "an earlier row of the reports has this study"),
        (reports(9), "A6", "it has no report"),
        (images(8), "A7", "no row of the reports has this study"),
    ]  # fmt: skip


def test_paths_begin_from_the_root_that_is_given(tmp_path: Path) -> None:
    reports, images = tables(
        tmp_path, "study,patient,findings\ns,p,Clear.\n", "study,image\ns,1.png\n"
    )
    (found,) = read_csv_reports(reports, images, {}, {}, tmp_path / "films")
    assert isinstance(found, FoundReport)
    assert found.images == ((str(tmp_path / "films/1.png"), "unknown"),)
    assert found.texts == {"findings": "Clear."}


def test_columns_that_do_not_do(tmp_path: Path) -> None:
    reports, images = tables(tmp_path)
    with pytest.raises(CorpusError, match="in common"):
        list(read_csv_reports(reports, images, COLUMNS, {}))
    with pytest.raises(CorpusError, match="no column 'Nummer'; it has Fallnummer, Patientennr"):
        list(read_csv_reports(reports, images, {"study": "Nummer"}, IMAGE_COLUMNS))
    with pytest.raises(CorpusError, match="cannot be read"):
        list(read_csv_reports(tmp_path / "none.csv", images, {}, {}))
    assert parse_columns(["report=Text, all of it"]) == {"report": "Text, all of it"}
    for wrong in ("report", "text=Befund"):
        with pytest.raises(SettingsError, match="maps no column"):
            parse_columns([wrong])
