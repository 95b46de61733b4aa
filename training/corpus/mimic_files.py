"""MIMIC-CXR-JPG's files as PhysioNet passes them on, joined into one index on disk.

Tables (version 2.x, plain or .gz): mimic-cxr-2.0.0-split, -metadata and -chexpert, and the
sections of the reports as the dataset's public script cuts them, mimic_cxr_sectioned. Reports:
files/p10/p10000032/s50414267.txt. Films: files/p10/p10000032/s50414267/<dicom_id>.jpg. Knows no
reading and makes no examples.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from records.errors import CorpusError
from training.corpus.files import filling, new_index, one_line, one_of, table

_SCHEMA = """
CREATE TABLE studies (
    study INTEGER PRIMARY KEY, subject INTEGER NOT NULL, split TEXT, mixed INTEGER DEFAULT 0,
    taken TEXT, procedure TEXT, present TEXT, absent TEXT,
    cut INTEGER NOT NULL DEFAULT 0, findings TEXT, impression TEXT);
CREATE TABLE films (study INTEGER NOT NULL, dicom TEXT NOT NULL, position TEXT NOT NULL);
"""
_INDICES = """
CREATE INDEX by_time ON studies (subject, taken, study);
CREATE INDEX by_study ON films (study, dicom);
"""
LABELS_BETWEEN = "|"
"""Between the labels in `present` and `absent`."""

_SPLITS = ("train", "validate", "test")
_POSITIONS = {
    **dict.fromkeys(("PA", "AP", "AP AXIAL"), "frontal"),
    # Decubitus films: the patient lies on a side, the beam runs from front to back.
    **dict.fromkeys(("PA LLD", "PA RLD", "AP LLD", "AP RLD"), "frontal"),
    **dict.fromkeys(("LATERAL", "LL", "RL", "XTABLE LATERAL"), "lateral"),
}
"""By ViewPosition (0018,5101)."""
_CODED = {
    "postero-anterior": "frontal",
    "antero-posterior": "frontal",
    "lateral": "lateral",
    "left lateral": "lateral",
    "right lateral": "lateral",
}
"""By the meaning in the view code (0054,0220), where ViewPosition is empty."""
_LABELS = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}
_LONGEST_REPORT = 1_000_000
_DIGITS = 18


@dataclass(frozen=True)
class Sources:
    """What a folder holds. reports: folders that hold p10/p10000032/...; the last two may lack."""

    folder: Path
    split: Path
    metadata: Path
    chexpert: Path | None
    sectioned: Path | None
    images: Path
    reports: tuple[Path, ...]


def look_into(folder: Path) -> Sources:
    """What there is of MIMIC-CXR-JPG in a folder.

    Raises:
        CorpusError: a file that is needed is missing; it says which and where it is had.
    """
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}; name the one that MIMIC-CXR-JPG lies in")
    split, metadata, chexpert = (
        one_of(folder, f"mimic-cxr-2.0.0-{name}.csv", f"mimic-cxr-2.1.0-{name}.csv")
        for name in ("split", "metadata", "chexpert")
    )
    lacks = [n for n, path in (("split", split), ("metadata", metadata)) if path is None]
    if split is None or metadata is None:
        raise CorpusError(
            f"{folder} lacks {' and '.join(f'mimic-cxr-2.0.0-{name}.csv.gz' for name in lacks)} of "
            "MIMIC-CXR-JPG; fetch it from PhysioNet"
        )
    sectioned = one_of(folder, "mimic_cxr_sectioned.csv")
    images = metadata.parent / "files"
    places = ("mimic-cxr-reports/files", "mimic-cxr-reports", "reports/files", "reports", "files")
    # Films and reports may lie in one tree; a folder of films alone holds no reports.
    reports = tuple(
        above / place
        for above in dict.fromkeys((folder, metadata.parent))
        for place in places
        if next((above / place).glob("p1[0-9]/p*/s*.txt"), None) is not None
    )
    if not reports and sectioned is None:
        zipped = one_of(folder, "mimic-cxr-reports.zip")
        raise CorpusError(
            f"{folder} holds no reports; "
            + (f"unpack {zipped}" if zipped else "unpack MIMIC-CXR's mimic-cxr-reports.zip")
            + f" as {metadata.parent}/mimic-cxr-reports/files, or put mimic_cxr_sectioned.csv there"
        )
    return Sources(folder, split, metadata, chexpert, sectioned, images, reports)


def join(found: Sources) -> sqlite3.Connection:
    """All tables in one index (`studies`, `films`); the texts of reports in files stay there.

    Raises:
        CorpusError: a file is not what it should be.
    """
    index = new_index(_SCHEMA)
    index.row_factory = sqlite3.Row
    with filling(index):
        index.executemany(
            "INSERT INTO studies (study, subject, split) VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
            "SET mixed = mixed OR split <> excluded.split OR subject <> excluded.subject",
            _splits(found.split),
        )
        for image in _films(found.metadata):
            index.execute("INSERT INTO films VALUES (?, ?, ?)", image.row)
            index.execute(
                "INSERT INTO studies (study, subject, taken, procedure) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET procedure = coalesce(procedure, excluded.procedure), "
                "taken = min(coalesce(taken, excluded.taken), excluded.taken)",
                (image.row[0], image.subject, image.taken, image.procedure),
            )
        if found.chexpert:
            index.executemany(
                "UPDATE studies SET present = ?, absent = ? WHERE study = ?",
                _labels(found.chexpert),
            )
        if found.sectioned:
            index.executemany(
                "UPDATE studies SET findings = ?, impression = ?, cut = 1 WHERE study = ?",
                _sections(found.sectioned),
            )
    with filling(index):
        for statement in _INDICES.strip().split("\n"):
            index.execute(statement)
    return index


def place_of(subject: int, study: int) -> str:
    """PhysioNet's folder of a study: "p10/p10000032/s50414267"."""
    return f"p{str(subject)[:2]}/p{subject}/s{study}"


def report_text(found: Sources, subject: int, study: int) -> str | None:
    """The report of a study as it stands in its file; None where there is none."""
    for folder in found.reports:
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            (folder / f"{place_of(subject, study)}.txt").open("rb") as opened,
        ):
            return opened.read(_LONGEST_REPORT).decode("utf-8", "replace")
    return None


@dataclass(frozen=True, slots=True)
class _Film:
    """A row of the metadata. row: study, id and position. taken: "21800506213014.531" or ""."""

    row: tuple[int, str, str]
    subject: int
    taken: str
    procedure: str | None


def _splits(path: Path) -> Iterator[tuple[int, int, str]]:
    for row in table(path, ("dicom_id", "study_id", "subject_id", "split")):
        if row["split"] not in _SPLITS:
            raise CorpusError(f"{path} has a split {row['split']!r}; fetch it again")
        yield _number(row, "study_id", path), _number(row, "subject_id", path), row["split"]


def _films(path: Path) -> Iterator[_Film]:
    columns = ("dicom_id", "subject_id", "study_id", "ViewPosition", "StudyDate", "StudyTime")
    for row in table(path, columns):
        position = row["ViewPosition"].strip().upper()
        meaning = row.get("ViewCodeSequence_CodeMeaning", "").strip().lower()
        yield _Film(
            (
                _number(row, "study_id", path),
                row["dicom_id"].strip(),
                _POSITIONS.get(position, "unknown") if position else _CODED.get(meaning, "unknown"),
            ),
            _number(row, "subject_id", path),
            _taken(row["StudyDate"], row["StudyTime"]),
            one_line(row.get("PerformedProcedureStepDescription")) or None,
        )


def _taken(date: str, time: str) -> str:
    """Date and time as one text that sorts; PhysioNet's times have lost their leading noughts."""
    try:
        return f"{int(float(date)):08d}{float(time or 0):010.3f}"
    except (ValueError, OverflowError):
        return ""


def _labels(path: Path) -> Iterator[tuple[str, str, int]]:
    """CheXpert's labels. Uncertain (-1.0) is neither there nor not there."""
    for row in table(path, ("subject_id", "study_id", "No Finding")):
        said: dict[str, list[str]] = {"present": [], "absent": [], "uncertain": []}
        for label, value in row.items():
            if label in ("subject_id", "study_id") or not value.strip():
                continue
            try:
                said[_LABELS[float(value)]].append(label)
            except (ValueError, KeyError):
                raise CorpusError(
                    f"{path} labels {label} with {value!r}, not 1.0, 0.0 or -1.0; fetch it again"
                ) from None
        present, absent = (LABELS_BETWEEN.join(said[how]) for how in ("present", "absent"))
        yield present, absent, _number(row, "study_id", path)


def _sections(path: Path) -> Iterator[tuple[str, str, int]]:
    for row in table(path, ("study", "impression", "findings")):
        study = row["study"].strip().removeprefix("s")
        if not _is_number(study):
            raise CorpusError(f"{path} has a study {row['study']!r}; make it again")
        yield one_line(row["findings"]), one_line(row["impression"]), int(study)


def _number(row: dict[str, str], column: str, path: Path) -> int:
    text = row[column].strip()
    if not _is_number(text):
        raise CorpusError(f"{path} has {text!r} for a {column}; fetch it again")
    return int(text)


def _is_number(text: str) -> bool:
    """Digits, and no more of them than an index can hold."""
    return text.isdecimal() and len(text) <= _DIGITS
