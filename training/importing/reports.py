"""What every importer yields: a report, or what was left out and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from records.errors import CorpusError
from training.deid.deidentify import KnownIdentifiers


@dataclass(frozen=True, slots=True)
class FoundReport:
    """A version of the report of one study, as its source has it.

    Attributes:
        source: Where it was found, for people.
        patient: The patient's id; it is replaced by a pseudonym.
        known: What is known of the patient and the study, to be taken out of the texts.
        accession: The accession number (0008,0050), or "".
        study_uid: The Study Instance UID (0020,000D), or "".
        taken: When the films were taken, as digits that sort, or "".
        issued: When this version was issued, as digits that sort; the last version wins.
        texts: Column of the folder's table (report, findings, impression, indication, procedure,
            prior_report) -> text.
        is_withdrawn: Whether this version says that there is no report.
        images: Paths and views, where the source names them.
        split: One of SPLITS, or "".
    """

    source: str
    patient: str
    known: KnownIdentifiers
    accession: str = ""
    study_uid: str = ""
    taken: str = ""
    issued: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    is_withdrawn: bool = False
    images: tuple[tuple[str, str], ...] = ()
    split: str = ""

    @property
    def study(self) -> str:
        """What all versions of the report share: patient and accession number, or the UID."""
        return f"{self.patient} {self.accession}" if self.accession else self.study_uid


@dataclass(frozen=True, slots=True)
class Rejection:
    """What was found and is not taken.

    Attributes:
        source: Where it was found, for people.
        study: Its accession number or Study Instance UID, for the people of the site; or "".
        reason: Why.
    """

    source: str
    study: str
    reason: str


def to_moment(text: str) -> str:
    """Return a date, perhaps with a time, of HL7 (TS) or DICOM (DA, DT) as 8 to 14 digits, or "".

    A time without minutes is left out.
    """
    match = re.match(r"\d{8}(?:\d{4}(?:\d{2})?)?", re.sub(r"[-:T ]", "", text.strip()))
    return match[0] if match else ""


def list_files(source: Path) -> Iterator[tuple[Path, str]]:
    """Yield a file, or all files below a folder in order, with their names below it.

    Raises:
        CorpusError: There is no such file or folder.
    """
    if source.is_file():
        yield source, source.name
        return
    if not source.is_dir():
        raise CorpusError(f"there is no file or folder {source}")
    for path in sorted(source.rglob("*")):
        if path.is_file():
            yield path, str(path.relative_to(source))
