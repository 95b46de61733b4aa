"""Joins the rows of a corpus `folder` into studies, and finds what is wrong between the rows.

A study is right as a whole or is not taken: one wrong row takes its study with it.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from model.dicom.header import read_header
from model.errors import ModelError
from training.corpus.files import create_index, fill_index
from training.corpus.folder_table import Row, Table
from training.corpus.table_rows import Fault

_TEXTS = (
    "date", "split", "study_uid", "report", "findings", "impression", "indication", "procedure",
    "prior_report", "patient_name", "birth_date", "accession_number",
)  # fmt: skip
"""The columns that all rows of a study share."""

_SCHEMA = f"""
CREATE TABLE studies (
    number INTEGER PRIMARY KEY, study TEXT NOT NULL UNIQUE, line INTEGER NOT NULL,
    patient TEXT NOT NULL, wrong INTEGER NOT NULL DEFAULT 0,
    {", ".join(f"{name} TEXT NOT NULL DEFAULT ''" for name in _TEXTS)});
CREATE TABLE images (
    study INTEGER NOT NULL, path TEXT NOT NULL UNIQUE, view TEXT NOT NULL, line INTEGER NOT NULL);
CREATE TABLE faults (line INTEGER NOT NULL, study TEXT NOT NULL, reason TEXT NOT NULL);
"""
_INDICES = """
CREATE INDEX by_time ON studies (patient, date, number);
CREATE INDEX by_study ON images (study);
"""
_PICTURES = (".png", ".jpg", ".jpeg")
_UID = re.compile(r"[0-9.]{1,64}")


def build_index(table: Table, *, needs_images: bool, by_given_split: bool) -> sqlite3.Connection:
    """Read the table into an index with the tables `studies`, `images` and `faults`.

    Args:
        table: The table; paths of images are from its folder.
        needs_images: Whether an image that is not there is a fault.
        by_given_split: Whether the split that rows give is used, so that it must be one for all
            studies of a patient.

    Raises:
        CorpusError: As `Table.rows`, or the temporary folder is full.
    """
    index = create_index(_SCHEMA)
    index.row_factory = sqlite3.Row
    folder = table.path.parent
    with fill_index(index):
        for row in table.rows():
            fault = row if isinstance(row, Fault) else _add_row(index, row, folder, needs_images)
            if fault:
                _add_fault(index, fault)
        for statement in _INDICES.strip().split("\n"):
            index.execute(statement)
        _add_images_by_uid(index, folder, needs_images)
        if by_given_split:
            for fault in list(_patients_in_two_splits(index)):
                _add_fault(index, fault)
        index.execute(
            "UPDATE studies SET wrong = 1 WHERE study IN (SELECT study FROM faults WHERE study<>'')"
        )
    return index


def is_dicom(path: Path) -> bool:
    """Return whether an image is read as DICOM, by its name."""
    return path.suffix.lower() not in _PICTURES


def _add_fault(index: sqlite3.Connection, fault: Fault) -> None:
    index.execute("INSERT INTO faults VALUES (?, ?, ?)", (fault.line, fault.study, fault.reason))
    if fault.study:  # so that a study of which no row was right is counted, too
        index.execute(
            "INSERT OR IGNORE INTO studies (study, line, patient) VALUES (?, ?, '')",
            (fault.study, fault.line),
        )


def _add_row(index: sqlite3.Connection, row: Row, folder: Path, needs_images: bool) -> Fault | None:
    """Add a row to its study; return what is wrong with it."""
    values = row.values
    if not row.images and not values["study_uid"]:
        return Fault(row.line, values["study"], "it names neither an image nor a study_uid")
    earlier = index.execute("SELECT * FROM studies WHERE study = ?", (values["study"],)).fetchone()
    if earlier is None:
        names = ("study", "line", "patient", *_TEXTS)
        marks = ", ".join("?" * len(names))
        number = index.execute(
            f"INSERT INTO studies ({', '.join(names)}) VALUES ({marks})",  # noqa: S608  ours
            [row.line if name == "line" else values[name] for name in names],
        ).lastrowid
    else:
        number = earlier["number"]
        for name in ("patient", *_TEXTS):
            if not values[name] or values[name] == earlier[name]:
                continue
            if earlier[name]:
                return Fault(
                    row.line,
                    values["study"],
                    f"{name} is another than in line {earlier['line']}, which has the same study",
                )
            index.execute(
                f"UPDATE studies SET {name} = ? WHERE number = ?",  # noqa: S608  ours
                (values[name], number),
            )
    for written, view in zip(row.images, row.views, strict=True):
        if reason := _add_image(index, int(number or 0), folder, written, view, row, needs_images):
            return Fault(row.line, values["study"], reason)
    return None


def _add_image(
    index: sqlite3.Connection,
    study: int,
    folder: Path,
    written: str,
    view: str,
    row: Row,
    needs_images: bool,
) -> str:
    """Add an image to a study; return what is wrong with it, or ""."""
    path = Path(os.path.normpath(folder / Path(written.replace("\\", "/")).expanduser()))
    with suppress(OSError, ValueError):
        if needs_images and not path.is_file():
            return f"there is no image {written!r}" + (", but a folder" if path.is_dir() else "")
    taken = index.execute("SELECT study, line FROM images WHERE path = ?", (str(path),)).fetchone()
    if taken is not None:
        same = taken["study"] == study
        return "" if same else f"the image {written!r} is of the study in line {taken['line']}, too"
    index.execute("INSERT INTO images VALUES (?, ?, ?, ?)", (study, str(path), view, row.line))
    return ""


def _patients_in_two_splits(index: sqlite3.Connection) -> Iterator[Fault]:
    for study in index.execute(
        "SELECT study, line, split FROM studies WHERE patient IN (SELECT patient FROM studies "
        "WHERE split <> '' AND patient <> '' GROUP BY patient HAVING count(DISTINCT split) > 1) "
        "ORDER BY number"
    ):
        yield Fault(
            study["line"],
            study["study"],
            f"its patient is in two splits, here in {study['split'] or 'none'}; all studies of a "
            "patient must be in one",
        )


# ---- Studies that are named by their UID ----


def _add_images_by_uid(index: sqlite3.Connection, folder: Path, needs_images: bool) -> None:
    """Find the DICOM files of the studies that name no image but a Study Instance UID."""
    studies = index.execute(
        "SELECT number, study, line, study_uid FROM studies WHERE study_uid <> '' AND NOT EXISTS "
        "(SELECT 1 FROM images WHERE images.study = studies.number) ORDER BY number"
    ).fetchall()
    if not studies:
        return
    by_uid: dict[str, sqlite3.Row] = {}
    for study in studies:
        if not _UID.fullmatch(study["study_uid"]):
            reason = f"the study_uid {study['study_uid'][:64]!r} is no UID"
        elif study["study_uid"] in by_uid:
            reason = f"the study of line {by_uid[study['study_uid']]['line']} has this study_uid"
        else:
            by_uid[study["study_uid"]] = study
            continue
        _add_fault(index, Fault(study["line"], study["study"], reason))
    found = set()
    for uid, path in _dicom_files(folder, set(by_uid)):
        found.add(uid)
        study = by_uid[uid]
        index.execute(
            "INSERT OR IGNORE INTO images VALUES (?, ?, 'unknown', ?)",
            (study["number"], str(path), study["line"]),
        )
    for uid in by_uid.keys() - found if needs_images else ():
        study = by_uid[uid]
        reason = f"the folder has no DICOM file of the study {uid}"
        _add_fault(index, Fault(study["line"], study["study"], reason))


def _dicom_files(folder: Path, uids: set[str]) -> Iterator[tuple[str, Path]]:
    """Yield the DICOM files of these studies.

    A folder that is named by a UID is taken at its name; the headers of all other files are read.
    """
    for directory, folders, files in os.walk(folder):
        folders.sort()
        here = Path(directory)
        named = next((name for name in reversed(here.parts) if name in uids), "")
        for name in sorted(files):
            path = here / name
            if not is_dicom(path) or path.suffix.lower() in (".csv", ".jsonl", ".json", ".txt"):
                continue
            uid = named or study_uid(path)
            if uid in uids:
                yield uid, path


def study_uid(path: Path) -> str:
    """Return the Study Instance UID (0020,000D) of a DICOM file; "" where it is none."""
    try:
        return str(read_header(path).get("StudyInstanceUID") or "")
    except ModelError:
        return ""
