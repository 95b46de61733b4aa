"""Files of a patient that no row names: films in `lost+found`, and films not registered yet.

A film without a row would be registered from its header, and so would bring an erased patient back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from intake.dicom.orphans import find_orphans
from model.dicom.header import read_header
from model.errors import PixelError
from records.blobs import Blobs
from records.workflow.identifiers import PatientId

LEAST_HOURS = 1.0
"""A younger file without a row may be about to get it."""


@dataclass(slots=True)
class StrayFiles:
    """What was found beside the rows.

    Attributes:
        of_patient: files whose header names the patient.
        unreadable: files whose header cannot be read, for a person to look at.
    """

    of_patient: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)


def find_stray(blobs: Blobs, ids: Collection[PatientId]) -> StrayFiles:
    """Read the headers of all files that no row names.

    Args:
        blobs: the blob folder.
        ids: the patient's ids.

    Raises:
        DatabaseDown: PostgreSQL does not answer.
    """
    found = StrayFiles()
    for path in _list_stray(blobs):
        try:
            header = read_header(path)
        except (PixelError, OSError):
            found.unreadable.append(path)
            continue
        given = PatientId(
            str(header.get("PatientID", "") or ""), str(header.get("IssuerOfPatientID", "") or "")
        )
        if given.id.strip() and any(not given.contradicts(known) for known in ids):
            found.of_patient.append(path)
    return found


def remove_stray(files: StrayFiles) -> None:
    """Remove the patient's files."""
    for path in files.of_patient:
        path.unlink(missing_ok=True)


def _list_stray(blobs: Blobs) -> Iterator[Path]:
    if blobs.lost_and_found.is_dir():
        yield from sorted(path for path in blobs.lost_and_found.iterdir() if path.is_file())
    for key in find_orphans(blobs, LEAST_HOURS):
        yield blobs.path(key)
