"""Writes reports that were found as a folder that the corpus `folder` reads.

Patients and studies become pseudonyms of this site (`training.deid.pseudonyms`), and the texts are
de-identified by all that the source says of the patient. What is left out stands in a table of its
own, with accession numbers: it stays with the people of the site.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.progress import ProgressCallback, no_progress
from records.errors import NotAllowed
from records.reports.own_outputs import has_warning
from training.corpus.files import create_index, fill_index
from training.corpus.folder_table import CSV_NAME, JSON_LINES_NAME, TEXT_COLUMNS
from training.deid.deidentify import KnownIdentifiers, deidentify, has_content
from training.deid.pseudonyms import Pseudonyms
from training.importing.film_index import FilmIndex
from training.importing.reports import FoundReport, Rejection

REJECTED_NAME = "rejected.csv"
EARLIER, WITHDRAWN = "a later version of the report is taken", "the report was withdrawn"
NO_IMAGES = "it names no image and no study; name the folder of the images"
OWN_DRAFT = "it is a draft of this software, and no report"
BAD_PATH = "the path of an image has ; or | in it, which divide images; rename it"
NO_TEXT = "no text is left after de-identification"
_COLUMNS = ("study", "patient", "date", "images", "views", "study_uid", *TEXT_COLUMNS, "split")
_SCHEMA = """
CREATE TABLE found (
    study TEXT PRIMARY KEY, patient TEXT NOT NULL, taken TEXT NOT NULL, issued TEXT NOT NULL,
    source TEXT NOT NULL, content TEXT NOT NULL);
"""


@dataclass
class ImportSummary:
    """What an import did. The field names are the keys of `--json`.

    Attributes:
        folder: The folder that was written.
        reports: Rows of its table.
        patients: Their patients.
        images: Images that are named.
        rejected: Reason -> how many were left out for it.
    """

    folder: str
    reports: int = 0
    patients: int = 0
    images: int = 0
    rejected: dict[str, int] = field(default_factory=dict)


def write_folder(
    out: Path,
    found: Iterable[FoundReport | Rejection],
    pseudonyms: Pseudonyms,
    *,
    films: FilmIndex | None = None,
    replace: bool = False,
    progress: ProgressCallback = no_progress,
) -> ImportSummary:
    """Write the last version of each report, and what was left out.

    Both tables get their names when they are whole.

    Args:
        out: The folder; it is made if it is not there.
        found: What an importer yields.
        pseudonyms: Make the names of patients and studies.
        films: Where the images are looked up of reports that name none.
        replace: Whether tables that are there may be replaced.
        progress: Is called for each report that was found; the total is not known.

    Raises:
        NotAllowed: A table is there, or the folder cannot be written.
        CorpusError: As the importer.
    """
    check_folder(out, replace=replace)
    index = create_index(_SCHEMA)
    summary, reasons = ImportSummary(str(out)), Counter[str]()
    new_table, new_rejected = out / f".{CSV_NAME}.new", out / f".{REJECTED_NAME}.new"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (
            new_table.open("w", newline="", encoding="utf-8") as table_file,
            new_rejected.open("w", newline="", encoding="utf-8") as rejected_file,
        ):
            table = csv.DictWriter(table_file, _COLUMNS, restval="")
            rejected = csv.writer(rejected_file)
            table.writeheader()
            rejected.writerow(("source", "study", "reason"))

            def reject(rejection: Rejection) -> None:
                reasons[rejection.reason] += 1
                rejected.writerow((rejection.source, rejection.study, rejection.reason))

            with fill_index(index):
                for number, item in enumerate(found, start=1):
                    progress("reading reports", number, None)
                    left_out = item if isinstance(item, Rejection) else _keep_last(index, item)
                    if left_out:
                        reject(left_out)
            patients = set()
            for row in index.execute("SELECT source, content FROM found ORDER BY patient, taken"):
                report = _from_json(row[1])
                written = _table_row(report, out, pseudonyms, films)
                if isinstance(written, str):
                    reject(Rejection(report.source, report.accession or report.study_uid, written))
                    continue
                table.writerow(written)
                summary.reports += 1
                summary.images += len(written["images"].split(";")) if written["images"] else 0
                patients.add(written["patient"])
        summary.patients, summary.rejected = len(patients), dict(reasons.most_common())
        new_rejected.replace(out / REJECTED_NAME)
        new_table.replace(out / CSV_NAME)
        (out / JSON_LINES_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise NotAllowed(f"{out} cannot be written ({error.strerror}); name another folder") from (
            error
        )
    finally:
        index.close()
        for path in (new_table, new_rejected):
            path.unlink(missing_ok=True)
    return summary


def check_folder(out: Path, *, replace: bool) -> None:
    """Check that nothing is overwritten without being told.

    Raises:
        NotAllowed: A table is there.
    """
    names = (CSV_NAME, JSON_LINES_NAME, REJECTED_NAME)
    there = [name for name in names if (out / name).exists()]
    if there and not replace:
        raise NotAllowed(
            f"{out} has {' and '.join(there)}; name another folder, or replace it with --replace"
        )


def _keep_last(index: sqlite3.Connection, report: FoundReport) -> Rejection | None:
    """Keep the last version of a report; return the version that gives way."""
    if any(has_warning(text) for text in report.texts.values()):
        return Rejection(report.source, report.accession or report.study_uid, OWN_DRAFT)
    kept = index.execute(
        "SELECT issued, source FROM found WHERE study = ?", (report.study,)
    ).fetchone()
    study = report.accession or report.study_uid
    if kept is not None and report.issued < kept[0]:
        return Rejection(report.source, study, EARLIER)
    index.execute(
        "INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?, ?, ?)",
        (
            report.study,
            report.patient,
            report.taken,
            report.issued,
            report.source,
            json.dumps(asdict(report)),
        ),
    )
    return None if kept is None else Rejection(kept[1], study, EARLIER)


def _from_json(text: str) -> FoundReport:
    values: dict[str, Any] = json.loads(text)
    values["known"] = KnownIdentifiers(**values["known"])
    values["images"] = tuple((path, view) for path, view in values["images"])
    values["other_ids"] = tuple(values["other_ids"])
    return FoundReport(**values)


def _table_row(
    report: FoundReport, out: Path, pseudonyms: Pseudonyms, films: FilmIndex | None
) -> dict[str, str] | str:
    """Return a row of the folder's table, or why there is none."""
    if report.is_withdrawn:
        return WITHDRAWN
    images, uid, patient = report.images, report.study_uid, report.patient
    if not images and films is not None:
        linked = films.find(report.study_uid, report.accession, (report.patient, *report.other_ids))
        if isinstance(linked, str):
            return linked
        uid, images = linked.study_uid, tuple((path, "") for path in linked.paths)
        # A message may have several ids; that of the images is the same for all their studies.
        patient = linked.patient or patient
    if not images and not uid:
        return NO_IMAGES
    if any(character in path for path, _ in images for character in ";|"):
        return BAD_PATH
    texts = {name: _clean(text, report) for name, text in report.texts.items()}
    if not any(texts.get(name) for name in ("report", "findings", "impression")):
        return NO_TEXT
    views = [view for _, view in images]
    return {
        "study": pseudonyms.pseudonym(f"study {report.study}")[:16],
        "patient": pseudonyms.pseudonym(f"id {patient}"),
        "date": report.taken,
        "images": ";".join(_relative(path, out) for path, _ in images),
        "views": ";".join(views) if any(views) else "",
        # With the images the UID is not needed, and it would name the study.
        "study_uid": "" if images else uid,
        "split": report.split,
        **texts,
    }


def _clean(text: str, report: FoundReport) -> str:
    """Return a text without identifiers, its lines as they are; "" if nothing but marks is left."""
    clean = deidentify(text, report.known)
    for other in report.other_ids:
        clean = deidentify(clean, KnownIdentifiers(patient_id=other))
    return clean.strip() if has_content(clean) else ""


def _relative(path: str, out: Path) -> str:
    """Return a path as the table has it: from the folder, if it lies in it."""
    absolute = os.path.abspath(path)  # noqa: PTH100  a link stays one
    folder = os.path.abspath(out)  # noqa: PTH100
    inside = os.path.commonpath((absolute, folder)) == folder
    return os.path.relpath(absolute, folder) if inside else absolute
