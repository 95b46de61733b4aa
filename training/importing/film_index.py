"""Finds the DICOM files of a study in a folder, by Study Instance UID or accession number."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from model.dicom.header import read_header
from model.errors import ModelError
from model.progress import ProgressCallback, no_progress
from records.errors import CorpusError
from training.corpus.files import create_index, fill_index

OTHER_PATIENT = "the images of this accession number are of another patient"
SEVERAL_STUDIES = "several studies in the folder have this accession number"
NO_IMAGE = "no DICOM image of this study is in the folder"

_SCHEMA = """
CREATE TABLE films (
    path TEXT NOT NULL, uid TEXT NOT NULL, accession TEXT NOT NULL, patient TEXT NOT NULL);
"""
_INDICES = ("CREATE INDEX by_uid ON films (uid)", "CREATE INDEX by_accession ON films (accession)")


class FilmIndex:
    """The DICOM images below a folder; their headers are read once."""

    def __init__(self, folder: Path, progress: ProgressCallback = no_progress) -> None:
        """Read the headers.

        Raises:
            CorpusError: There is no such folder.
        """
        if not folder.is_dir():
            raise CorpusError(f"there is no folder {folder}; name the one that the images lie in")
        self._index: sqlite3.Connection = create_index(_SCHEMA)
        with fill_index(self._index):
            count = 0
            for directory, folders, files in os.walk(folder):
                folders.sort()
                for name in sorted(files):
                    path = Path(directory, name)
                    count += 1
                    progress("reading headers", count, None)
                    self._add(path)
            for statement in _INDICES:
                self._index.execute(statement)

    def find(self, study_uid: str, accession: str, patient: str) -> tuple[str, list[str]] | str:
        """Return the Study Instance UID and the files of a study, or why there are none.

        By the UID if the folder has it; else by the accession number, which must be of one study
        and of this patient. Another UID with the right number is usual: an order has one of its
        own.
        """
        rows = self._index.execute(
            "SELECT path, patient FROM films WHERE uid = ? AND uid <> '' ORDER BY rowid",
            (study_uid,),
        ).fetchall()
        if rows:
            return study_uid, [path for path, _ in rows]
        rows = self._index.execute(
            "SELECT path, patient, uid FROM films WHERE accession = ? AND accession <> '' "
            "ORDER BY rowid",
            (accession,),
        ).fetchall()
        own = [row for row in rows if row[1] in ("", patient)]
        if not own:
            return OTHER_PATIENT if rows else NO_IMAGE
        if len({uid for _, _, uid in own}) > 1:
            return SEVERAL_STUDIES
        return own[0][2], [path for path, _, _ in own]

    def close(self) -> None:
        """Remove the index."""
        self._index.close()

    def _add(self, path: Path) -> None:
        try:
            header = read_header(path)
        except ModelError:
            return
        if not header.get("Rows"):
            return
        values = (
            str(header.get(keyword) or "").strip()
            for keyword in ("StudyInstanceUID", "AccessionNumber", "PatientID")
        )
        self._index.execute("INSERT INTO films VALUES (?, ?, ?, ?)", (str(path), *values))
