"""One received file: its header read and checked, its bytes kept, its row committed.

Knows no network; who called and what the C-STORE command said is told to it. Decodes no pixel.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue

from intake.dicom.limits import VALUE_CHARACTERS, Why, is_film, uid_is_sound, why_no_film
from model.dicom import indication
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import DiskFull
from records.failpoints import failpoint
from records.settings import Settings
from records.states import Priority
from records.workflow import studies
from records.workflow.studies import Outcome, Patient, ReceivedInstance, Registration

_WANTED = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyDate",
    "StudyDescription",
    "NumberOfStudyRelatedInstances",
    "RequestAttributesSequence",
    "RequestedProcedurePriority",
    "StudyPriorityID",
]
"""All that is read of a header here; the rest is skipped over without taking memory."""

_LONG_VALUE = 65_536  # bytes; none of the wanted values is near it
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Refused(Exception):
    """The object is not taken; `why` has the answer."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Received:
    """A Part 10 file on the blob volume, and what its C-STORE said of it."""

    path: Path
    sop_class_uid: str  # (0000,0002)
    sop_instance_uid: str  # (0000,1000)
    transfer_syntax_uid: str
    calling_ae: str
    size: int
    sha256: str  # of the data set, see `incoming.DataSetDigest`


def file_object(received: Received, blobs: Blobs, settings: Settings) -> Registration:
    """Keep one object for good: when this returns, its bytes are synced and its row committed.

    Raises:
        Refused: it is not taken; nothing of it is kept.
        DiskFull: less room than `disk_stop_mb`; nothing of it is kept.
        DatabaseDown: no row; the bytes are kept only where the commit's outcome is not known.
        NightdraftError: the database refused the row; nothing of it is kept.
    """
    header = read_header(received.path)
    arrived = describe(header, received, settings)
    if not arrived["is_radiograph"] and settings.other_objects == "refuse":
        raise Refused(Why.OTHER_OBJECT)
    if blobs.free_mb() < settings.disk_stop_mb:
        raise DiskFull("less room on the disk than NIGHTDRAFT_DISK_STOP_MB")

    key = blobs.new_instance()
    committing = False
    try:
        with ThreadPoolExecutor(1) as beside:
            keeping = beside.submit(blobs.keep_instance, received.path, key)
            with unit_of_work() as session:
                registered = studies.register_instance(
                    session, ReceivedInstance(**arrived, blob=key)
                )
                # The row waits for its bytes: they are synced before it is committed.
                keeping.result()
                failpoint("after-fsync")
                committing = True
    except BaseException:
        # A connection that breaks in the commit leaves open whether the row is there; a file too
        # many is swept up later, a row without its file would be a lost film.
        if not committing:
            _remove(blobs, key)
        raise
    failpoint("after-commit")
    if registered.outcome is Outcome.REPEATED:
        _remove(blobs, key)
    return registered


def read_header(path: Path) -> Dataset:
    """The few elements that are wanted, up to the pixels.

    Raises:
        Refused: it cannot be read.
    """
    try:
        header = dcmread(
            path, stop_before_pixels=True, specific_tags=_WANTED, defer_size=_LONG_VALUE
        )
        if any(getattr(raw, "value", "") is None and raw.length for raw in header.values()):
            raise Refused(Why.UNREADABLE)  # a wanted value longer than any can be
        for _ in header:  # converts each value now, with its errors
            pass
    except Exception:
        # pydicom raises whatever a damaged file leads it to, and its words quote values.
        raise Refused(Why.UNREADABLE) from None
    return header


def describe(header: Dataset, received: Received, settings: Settings) -> dict[str, Any]:
    """The fields of an ReceivedInstance that header, command and settings tell, each checked.

    Raises:
        Refused: a UID is missing, unsound, or not the command's.
    """
    study, series, sop, sop_class = (
        text(header, keyword)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    )
    if not (study and series and sop):
        raise Refused(Why.MISSING_UID)
    said = (received.sop_class_uid, received.sop_instance_uid)
    if not all(uid_is_sound(uid) for uid in (study, series, sop, *said)):
        raise Refused(Why.BAD_UID)
    if (sop_class, sop) != said:
        raise Refused(Why.DISAGREES)
    modality = text(header, "Modality")
    return {
        "study_instance_uid": study,
        "series_instance_uid": series,
        "sop_instance_uid": sop,
        "sop_class_uid": sop_class,
        "transfer_syntax_uid": received.transfer_syntax_uid,
        "modality": modality,
        "patient": Patient(
            patient_id=text(header, "PatientID"),
            issuer=text(header, "IssuerOfPatientID"),
            name=text(header, "PatientName"),
            birth_date=text(header, "PatientBirthDate"),
            sex=text(header, "PatientSex"),
        ),
        "accession_number": text(header, "AccessionNumber"),
        "study_date": text(header, "StudyDate"),
        "study_description": text(header, "StudyDescription"),
        "size": received.size,
        "sha256": received.sha256,
        "calling_ae": received.calling_ae,
        "priority": priority(header, received.calling_ae, settings),
        "is_radiograph": is_film(sop_class, modality),
        "skip_reason": why_no_film(sop_class, modality),
        "expected_instances": _expected(header),
    }


def priority(header: Dataset, calling_ae: str, settings: Settings) -> Priority:
    """The more urgent of what the header and the calling AE say, else the setting."""
    by_caller = settings.caller_priorities.get(calling_ae)
    said = [] if by_caller is None else [by_caller]
    with suppress(Exception):  # a damaged sequence must not cost the film
        asked = indication.priority(header)
        if asked:
            said.append(Priority[asked])
    return min(said, default=settings.priority)


def text(header: Dataset, keyword: str) -> str:
    """An element as text fit for a row: no control characters, of bounded length; "" without one.

    Raises:
        Refused: the value cannot be read.
    """
    try:
        value = header.get(keyword)
        if isinstance(value, MultiValue):
            value = "\\".join(str(part) for part in value)
        return clean("" if value is None else str(value))
    except Exception:
        raise Refused(Why.UNREADABLE) from None


def clean(value: str) -> str:
    """Text that a row can hold: PostgreSQL takes no NUL, and an index no long value."""
    return _CONTROLS.sub("", value).strip()[:VALUE_CHARACTERS]


def _expected(header: Dataset) -> int | None:
    """(0020,1208), where it is a number that can be true."""
    with suppress(ValueError, Refused):
        count = int(text(header, "NumberOfStudyRelatedInstances"))
        return count if 0 < count < 1_000_000 else None
    return None


def _remove(blobs: Blobs, key: str) -> None:
    with suppress(OSError):  # the sweep takes it later
        blobs.remove(key)
