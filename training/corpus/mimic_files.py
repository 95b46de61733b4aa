"""Joins the files of MIMIC-CXR-JPG, as PhysioNet distributes them, into one index on disk.

Tables (version 2.x, plain or .gz): mimic-cxr-2.0.0-split, -metadata and -chexpert, and the
sections of the reports as the dataset's public script cuts them, mimic_cxr_sectioned. Reports:
files/p10/p10000032/s50414267.txt. Images: files/p10/p10000032/s50414267/<dicom_id>.jpg.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from records.errors import CorpusError
from training.corpus.files import create_index, fill_index, find_file, read_table, to_one_line

_SCHEMA = """
CREATE TABLE studies (
    study INTEGER PRIMARY KEY, subject INTEGER NOT NULL, split TEXT, mixed INTEGER DEFAULT 0,
    taken TEXT, procedure TEXT, present TEXT, absent TEXT,
    cut INTEGER NOT NULL DEFAULT 0, findings TEXT, impression TEXT);
CREATE TABLE images (study INTEGER NOT NULL, dicom TEXT NOT NULL, position TEXT NOT NULL);
"""
_INDICES = """
CREATE INDEX by_time ON studies (subject, taken, study);
CREATE INDEX by_study ON images (study, dicom);
"""
LABEL_SEPARATOR = "|"
"""Separates the labels in the columns `present` and `absent`."""

_SPLITS = ("train", "validate", "test")
_POSITIONS = {
    **dict.fromkeys(("PA", "AP", "AP AXIAL"), "frontal"),
    # Decubitus: the patient lies on one side, and the beam runs from front to back.
    **dict.fromkeys(("PA LLD", "PA RLD", "AP LLD", "AP RLD"), "frontal"),
    **dict.fromkeys(("LATERAL", "LL", "RL", "XTABLE LATERAL"), "lateral"),
}
"""ViewPosition (0018,5101) -> position."""
_CODE_POSITIONS = {
    "postero-anterior": "frontal",
    "antero-posterior": "frontal",
    "lateral": "lateral",
    "left lateral": "lateral",
    "right lateral": "lateral",
}
"""Meaning of the view code (0054,0220) -> position, where ViewPosition is empty."""
_LABEL_NAMES = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}
_MAX_REPORT_BYTES = 1_000_000
_MAX_DIGITS = 18


@dataclass(frozen=True)
class Sources:
    """The files of MIMIC-CXR-JPG in a folder.

    Attributes:
        folder: The folder.
        split, metadata: The tables that are always needed.
        chexpert, sectioned: The tables that may be missing.
        images: The folder that holds p10/p10000032/... with images.
        reports: The folders that hold p10/p10000032/... with reports.
    """

    folder: Path
    split: Path
    metadata: Path
    chexpert: Path | None
    sectioned: Path | None
    images: Path
    reports: tuple[Path, ...]


def find_sources(folder: Path) -> Sources:
    """Find the files of MIMIC-CXR-JPG in a folder.

    Raises:
        CorpusError: a file that is needed is missing; the message says which, and where to get it.
    """
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}; name the one that MIMIC-CXR-JPG lies in")
    split, metadata, chexpert = (
        find_file(folder, f"mimic-cxr-2.0.0-{name}.csv", f"mimic-cxr-2.1.0-{name}.csv")
        for name in ("split", "metadata", "chexpert")
    )
    missing = [
        f"mimic-cxr-2.0.0-{name}.csv.gz"
        for name, path in (("split", split), ("metadata", metadata))
        if path is None
    ]
    if split is None or metadata is None:
        raise CorpusError(
            f"{folder} lacks {' and '.join(missing)} of MIMIC-CXR-JPG; fetch it from PhysioNet"
        )
    sectioned = find_file(folder, "mimic_cxr_sectioned.csv")
    images = metadata.parent / "files"
    candidates = (
        "mimic-cxr-reports/files",
        "mimic-cxr-reports",
        "reports/files",
        "reports",
        "files",
    )
    # Images and reports may lie in one tree; a folder of images alone holds no reports.
    reports = tuple(
        root / candidate
        for root in dict.fromkeys((folder, metadata.parent))
        for candidate in candidates
        if next((root / candidate).glob("p1[0-9]/p*/s*.txt"), None) is not None
    )
    if not reports and sectioned is None:
        archive = find_file(folder, "mimic-cxr-reports.zip")
        raise CorpusError(
            f"{folder} holds no reports; "
            + (f"unpack {archive}" if archive else "unpack MIMIC-CXR's mimic-cxr-reports.zip")
            + f" as {metadata.parent}/mimic-cxr-reports/files, or put mimic_cxr_sectioned.csv there"
        )
    return Sources(folder, split, metadata, chexpert, sectioned, images, reports)


def build_index(sources: Sources) -> sqlite3.Connection:
    """Join all tables into one index, with the tables `studies` and `images`.

    Reports that lie in files of their own are not copied into it.

    Raises:
        CorpusError: a file is not what it should be.
    """
    index = create_index(_SCHEMA)
    index.row_factory = sqlite3.Row
    with fill_index(index):
        index.executemany(
            "INSERT INTO studies (study, subject, split) VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
            "SET mixed = mixed OR split <> excluded.split OR subject <> excluded.subject",
            _splits(sources.split),
        )
        for image in _images(sources.metadata):
            index.execute("INSERT INTO images VALUES (?, ?, ?)", image.row)
            index.execute(
                "INSERT INTO studies (study, subject, taken, procedure) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET procedure = coalesce(procedure, excluded.procedure), "
                "taken = min(coalesce(taken, excluded.taken), excluded.taken)",
                (image.row[0], image.subject, image.taken, image.procedure),
            )
        if sources.chexpert:
            index.executemany(
                "UPDATE studies SET present = ?, absent = ? WHERE study = ?",
                _labels(sources.chexpert),
            )
        if sources.sectioned:
            index.executemany(
                "UPDATE studies SET findings = ?, impression = ?, cut = 1 WHERE study = ?",
                _sections(sources.sectioned),
            )
    with fill_index(index):
        for statement in _INDICES.strip().split("\n"):
            index.execute(statement)
    return index


def study_folder(subject: int, study: int) -> str:
    """Return PhysioNet's folder of a study: "p10/p10000032/s50414267"."""
    return f"p{str(subject)[:2]}/p{subject}/s{study}"


def report_text(sources: Sources, subject: int, study: int) -> str | None:
    """Return the report of a study as its file holds it; None where there is no file."""
    for folder in sources.reports:
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            (folder / f"{study_folder(subject, study)}.txt").open("rb") as opened,
        ):
            return opened.read(_MAX_REPORT_BYTES).decode("utf-8", "replace")
    return None


@dataclass(frozen=True, slots=True)
class _ImageRow:
    """A row of the metadata.

    Attributes:
        row: Study, image id and position.
        subject: The patient.
        taken: Date and time as one text that sorts ("21800506213014.531"), or "".
        procedure: PerformedProcedureStepDescription, if there is one.
    """

    row: tuple[int, str, str]
    subject: int
    taken: str
    procedure: str | None


def _splits(path: Path) -> Iterator[tuple[int, int, str]]:
    for row in read_table(path, ("dicom_id", "study_id", "subject_id", "split")):
        if row["split"] not in _SPLITS:
            raise CorpusError(f"{path} has a split {row['split']!r}; fetch it again")
        yield _number(row, "study_id", path), _number(row, "subject_id", path), row["split"]


def _images(path: Path) -> Iterator[_ImageRow]:
    columns = ("dicom_id", "subject_id", "study_id", "ViewPosition", "StudyDate", "StudyTime")
    for row in read_table(path, columns):
        position = row["ViewPosition"].strip().upper()
        meaning = row.get("ViewCodeSequence_CodeMeaning", "").strip().lower()
        yield _ImageRow(
            (
                _number(row, "study_id", path),
                row["dicom_id"].strip(),
                _POSITIONS.get(position, "unknown")
                if position
                else _CODE_POSITIONS.get(meaning, "unknown"),
            ),
            _number(row, "subject_id", path),
            _sortable_time(row["StudyDate"], row["StudyTime"]),
            to_one_line(row.get("PerformedProcedureStepDescription")) or None,
        )


def _sortable_time(date: str, time: str) -> str:
    """Return date and time as one text that sorts; PhysioNet's times lack their leading zeros."""
    try:
        return f"{int(float(date)):08d}{float(time or 0):010.3f}"
    except (ValueError, OverflowError):
        return ""


def _labels(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield CheXpert's labels. An uncertain one (-1.0) is neither present nor absent."""
    for row in read_table(path, ("subject_id", "study_id", "No Finding")):
        labels: dict[str, list[str]] = {"present": [], "absent": [], "uncertain": []}
        for label, value in row.items():
            if label in ("subject_id", "study_id") or not value.strip():
                continue
            try:
                labels[_LABEL_NAMES[float(value)]].append(label)
            except (ValueError, KeyError):
                raise CorpusError(
                    f"{path} labels {label} with {value!r}, not 1.0, 0.0 or -1.0; fetch it again"
                ) from None
        present, absent = (LABEL_SEPARATOR.join(labels[state]) for state in ("present", "absent"))
        yield present, absent, _number(row, "study_id", path)


def _sections(path: Path) -> Iterator[tuple[str, str, int]]:
    for row in read_table(path, ("study", "impression", "findings")):
        study = row["study"].strip().removeprefix("s")
        if not _is_number(study):
            raise CorpusError(f"{path} has a study {row['study']!r}; make it again")
        yield to_one_line(row["findings"]), to_one_line(row["impression"]), int(study)


def _number(row: dict[str, str], column: str, path: Path) -> int:
    text = row[column].strip()
    if not _is_number(text):
        raise CorpusError(f"{path} has {text!r} for a {column}; fetch it again")
    return int(text)


def _is_number(text: str) -> bool:
    """Return whether a text is digits, and no more of them than an index can hold."""
    return text.isdecimal() and len(text) <= _MAX_DIGITS
