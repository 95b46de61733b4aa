"""Files one received object: reads and checks its header, stores its bytes, commits its row.

No pixel is decoded here.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue
from sqlalchemy.orm import Session

from intake.dicom.limits import (
    MAX_VALUE_CHARACTERS,
    RefusalReason,
    is_radiograph,
    is_valid_uid,
    skip_reason,
)
from intake.dicom.rejection_note import read_note
from intake.dicom.structure import StructureLimits, TooComplex, read_wanted
from intake.dicom.structured_report import is_made_here, read_report
from model.dicom import comparison
from model.dicom.characters import decode_texts, remove_controls
from model.dicom.evidence import read_texts
from model.dicom.indication import find_priority
from model.errors import PixelError
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.database.tables import Study
from records.errors import DiskFull, MessageError
from records.failpoints import failpoint
from records.operations import scrub
from records.orders import effects
from records.reports.own_outputs import is_own_output
from records.reports.receiving import receive_report
from records.settings import Settings
from records.states import Comparison, Priority
from records.workflow import damage, registrations
from records.workflow.arrivals import ReceivedInstance
from records.workflow.identifiers import plain_key
from records.workflow.patients import Patient
from records.workflow.registrations import Outcome, Registration

_HEADER_KEYWORDS = [
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
    "IssuerOfAccessionNumberSequence",
    "StudyDate",
    "StudyDescription",
    "NumberOfStudyRelatedInstances",
    "RequestAttributesSequence",
    "RequestedProcedurePriority",
    "StudyPriorityID",
    "ConceptNameCodeSequence",
    "Manufacturer",
    "ManufacturerModelName",
    "ContributingEquipmentSequence",
]
"""The only elements that are read of a header; the rest is skipped without taking memory."""

_MAX_VALUE_BYTES = 65_536
"""A longer value is not read. None of the elements above comes near it."""

_WANTED_TAGS = frozenset(tag for tag in map(tag_for_keyword, _HEADER_KEYWORDS) if tag is not None)

FILM_LIMITS = StructureLimits()
_OTHER_OBJECTS_FACTOR = 10
"""How many times more than a film another object may have, such as a segmentation or a report."""

_MAX_EXPECTED_INSTANCES = 1_000_000
_MAX_REQUESTS = 20
"""Accession numbers of the Request Attributes Sequence that are kept of one film."""

_LINE_BREAKS = re.compile(r"[\t\n]")


class ObjectRefused(Exception):
    """An object is refused. `reason` leads to the status and the sentence of the answer."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A Part 10 file on the blob volume, and what its C-STORE command states."""

    path: Path
    sop_class_uid: str  # (0000,0002)
    sop_instance_uid: str  # (0000,1000)
    transfer_syntax_uid: str
    calling_ae: str
    size: int
    sha256: str  # of the data set, see `records.blobs.DataSetDigest`
    study_instance_uid: str = ""  # of the study that was asked for; "" is any
    is_believed: bool = True  # whether the sender is who its AE title says, see `caller_proof`


def file_instance(received: ReceivedFile, blobs: Blobs, settings: Settings) -> Registration:
    """Store one object for good: when this returns, its bytes are synced and its row is committed.

    Raises:
        ObjectRefused: the object is not taken; nothing of it is kept.
        DiskFull: there is less room than `disk_stop_mb`; nothing of it is kept.
        DatabaseDown: there is no row. The bytes are kept only where it is not known whether the
            commit succeeded.
        NightdraftError: the database refused the row; nothing of it is kept.
    """
    header = read_header(received.path, structure_limits(settings))
    fields = instance_fields(header, received, settings)
    is_note = fields["rejects"] is not None
    if not fields["is_radiograph"] and not is_note and settings.other_objects == "refuse":
        raise ObjectRefused(RefusalReason.OTHER_OBJECT)
    report = read_report(
        received.path, received.size, header, fields["patient"], received.calling_ae
    )
    if blobs.free_mb() < settings.disk_stop_mb:
        raise DiskFull("less room on the disk than NIGHTDRAFT_DISK_STOP_MB")

    key = blobs.new_instance()
    may_be_committed = False
    try:
        with ThreadPoolExecutor(1) as executor:
            stored = executor.submit(blobs.keep_instance, received.path, key)
            with unit_of_work() as session:
                fields["is_own"] |= report is not None and is_own_output(session, report)
                arrived = ReceivedInstance(
                    **fields, blob=key, compare=lambda stored: _compare(blobs, stored, received)
                )
                registration, damaged_blob = register_or_heal(session, blobs, arrived)
                if registration.outcome in (Outcome.UPDATED, Outcome.RESTORED):
                    # Patient or accession number may be another one now.
                    effects.match_and_apply(session, session.get_one(Study, registration.study_id))
                if report is not None:
                    with suppress(MessageError):  # it names no patient: it is an object alone
                        study = session.get_one(Study, registration.study_id)
                        receive_report(session, report, asked_for=study.site_id)
                # The row waits for its bytes: they are synced before it is committed.
                stored.result()
                failpoint("after-fsync")
                may_be_committed = True
    except BaseException:
        # A connection that breaks in the commit leaves open whether the row is there. A file too
        # many is swept up later; a row without its file would be a lost image.
        if not may_be_committed:
            _remove(blobs, key)
        raise
    failpoint("after-commit")
    remove_superfluous(blobs, registration, key, damaged_blob)
    return registration


def register_or_heal(
    session: Session, blobs: Blobs, arrived: ReceivedInstance
) -> tuple[Registration, str]:
    """Register an object; the new file is used where the known one is damaged or removed.

    Without this a sender would be answered 0x0000, and nobody would have the object.

    Returns:
        What was done, and the key of the damaged file where it was replaced, else "".
    """
    registration = registrations.register_instance(session, arrived)
    stored = registration.repeated
    if stored is None or stored.blob == arrived.blob:
        return registration, ""
    if stored.bytes_removed_at is not None:
        damage.restore_file(session, stored, arrived)
        return Registration(Outcome.RESTORED, registration.study_id, stored), ""
    if blobs.find_damage(stored.blob, stored.size, stored.sha256) is None:
        if stored.damage is not None:
            damage.mark_whole(session, stored)
            scrub.settle_alarm(session)
        return registration, ""
    damaged_blob = stored.blob
    damage.replace_file(session, stored, arrived)
    scrub.settle_alarm(session)
    return Registration(Outcome.HEALED, registration.study_id, stored), damaged_blob


def remove_superfluous(
    blobs: Blobs, registration: Registration, key: str, damaged_blob: str
) -> None:
    """After the commit: remove the file of an object that came again; set a damaged one aside."""
    with suppress(OSError):  # the sweep looks at it later
        # A person may have registered this very file before its row was committed.
        repeated = registration.repeated
        if not registration.outcome.keeps_blob and repeated and repeated.blob != key:
            blobs.remove(key)
        if damaged_blob:
            blobs.set_aside(damaged_blob, is_damaged=True)


def _compare(blobs: Blobs, stored_key: str, received: ReceivedFile) -> Comparison:
    """Compare an object with the stored one of the same UID; no pixel is decoded.

    A file that cannot be read here is left to a worker, as are pixels in two encodings.
    """
    try:
        compared = comparison.compare_objects(blobs.path(stored_key), received.path, decode=False)
    except (PixelError, OSError):
        return Comparison.UNDECIDED
    return Comparison(compared.value)


def read_header(path: Path, limits: StructureLimits = FILM_LIMITS) -> Dataset:
    """Read the few elements that are needed. The rest is walked over, and nothing is built of it.

    Args:
        path: a Part 10 file.
        limits: what a film may have. Other objects are never read whole, so they may have more.

    Raises:
        ObjectRefused: the header cannot be read, or the data set has more than the limits allow.
    """
    try:
        try:
            header = _read_within(path, limits)
        except TooComplex as error:
            begun = dcmread(BytesIO(error.begun))
            sop_class = str(begun.get("SOPClassUID", ""))
            if not sop_class or is_radiograph(sop_class, str(begun.get("Modality", ""))):
                raise
            more = StructureLimits(
                limits.elements * _OTHER_OBJECTS_FACTOR,
                limits.header_bytes * _OTHER_OBJECTS_FACTOR,
                text_bytes=limits.header_bytes,
            )
            header = _read_within(path, more)
    except TooComplex as error:
        raise ObjectRefused(error.reason) from None
    except Exception:
        # pydicom raises all kinds of errors for a damaged file, and their messages quote values.
        raise ObjectRefused(RefusalReason.UNREADABLE) from None
    return header


def structure_limits(settings: Settings) -> StructureLimits:
    """What a film may have, by the settings."""
    return StructureLimits(settings.max_elements, settings.max_header_mb * 1_000_000)


def _read_within(path: Path, limits: StructureLimits) -> Dataset:
    header = dcmread(BytesIO(read_wanted(path, _WANTED_TAGS, _MAX_VALUE_BYTES, limits)))
    decode_texts(header)
    for _ in header:  # converts each value now, so that its errors come now
        pass
    return header


def instance_fields(header: Dataset, received: ReceivedFile, settings: Settings) -> dict[str, Any]:
    """The fields of a ReceivedInstance from header, command and settings, each of them checked.

    Returns:
        All fields but `blob`.

    Raises:
        ObjectRefused: a UID is missing, invalid, not the command's, or of another study than was
            asked for.
    """
    study, series, sop, sop_class = (
        element_text(header, keyword)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    )
    if not (study and series and sop):
        raise ObjectRefused(RefusalReason.MISSING_UID)
    command_uids = (received.sop_class_uid, received.sop_instance_uid)
    if not all(is_valid_uid(uid) for uid in (study, series, sop, *command_uids)):
        raise ObjectRefused(RefusalReason.BAD_UID)
    if (sop_class, sop) != command_uids:
        raise ObjectRefused(RefusalReason.DISAGREES)
    if received.study_instance_uid not in ("", study):
        raise ObjectRefused(RefusalReason.NOT_ASKED_FOR)
    modality = element_text(header, "Modality")
    patient = Patient(
        patient_id=element_text(header, "PatientID"),
        issuer=element_text(header, "IssuerOfPatientID"),
        name=element_text(header, "PatientName"),
        birth_date=element_text(header, "PatientBirthDate"),
        sex=element_text(header, "PatientSex"),
    )
    return {
        "study_instance_uid": study,
        "series_instance_uid": series,
        "sop_instance_uid": sop,
        "sop_class_uid": sop_class,
        "transfer_syntax_uid": received.transfer_syntax_uid,
        "modality": modality,
        "patient": patient,
        "accession_number": element_text(header, "AccessionNumber"),
        "accession_number_issuer": _accession_number_issuer(header),
        "requested_accession_numbers": _requested_accession_numbers(header),
        "study_date": element_text(header, "StudyDate"),
        "study_description": element_text(header, "StudyDescription"),
        "size": received.size,
        "sha256": received.sha256,
        "calling_ae": received.calling_ae,
        **_priorities(header, received, settings),
        "is_radiograph": is_radiograph(sop_class, modality),
        "skip_reason": skip_reason(sop_class, modality),
        "expected_instances": _expected_instances(header),
        "rejects": read_note(received.path, received.size, header, patient, received.calling_ae),
        "is_own": not is_radiograph(sop_class, modality) and is_made_here(header),
    }


def _accession_number_issuer(header: Dataset) -> str:
    """Who gave (0008,0050): the first name in (0008,0051); "" where there is none."""
    with suppress(Exception):  # a damaged sequence must not cost the image
        for keyword in ("LocalNamespaceEntityID", "UniversalEntityID"):  # (0040,0031), (0040,0032)
            for text in read_texts(header, f"IssuerOfAccessionNumberSequence.{keyword}"):
                return clean_text(text)
    return ""


def _requested_accession_numbers(header: Dataset) -> tuple[str, ...]:
    """(0008,0050) of the items of (0040,0275) that are not the study's own, as keys hold them."""
    numbers: dict[str, None] = {}
    with suppress(Exception):  # a damaged sequence must not cost the image
        for text in read_texts(header, "RequestAttributesSequence.AccessionNumber"):
            numbers[plain_key(clean_text(text))] = None
    own = plain_key(element_text(header, "AccessionNumber"))
    return tuple(number for number in numbers if number and number != own)[:_MAX_REQUESTS]


def _priorities(header: Dataset, received: ReceivedFile, settings: Settings) -> dict[str, Any]:
    """The priority that counts, and the more urgent one that a sender who is not believed wants."""
    wanted = choose_priority(header, received.calling_ae, settings)
    counts = choose_priority(
        header, received.calling_ae, settings, is_believed=received.is_believed
    )
    return {"priority": counts, "doubted_priority": wanted if wanted < counts else None}


def choose_priority(
    header: Dataset, calling_ae: str, settings: Settings, *, is_believed: bool = True
) -> Priority:
    """The more urgent of the header's and the calling AE's priority, else the setting's.

    Args:
        header: of the object.
        calling_ae: who sent it.
        settings: the listener's.
        is_believed: whether the sender is who its AE title says. Where it is not, neither its
            title nor what it writes into the header makes a study more urgent than the setting.
    """
    candidates = []
    if (of_caller := settings.caller_priorities.get(calling_ae)) is not None:
        candidates.append(of_caller)
    with suppress(Exception):  # a damaged sequence must not cost the image
        header_priority = find_priority(header)
        if header_priority:
            candidates.append(Priority[header_priority])
    if not is_believed:
        candidates = [one for one in candidates if one >= settings.priority]
    return min(candidates, default=settings.priority)


def element_text(header: Dataset, keyword: str) -> str:
    """An element's value as text that fits a row; "" where there is none.

    Raises:
        ObjectRefused: the value cannot be read.
    """
    try:
        value = header.get(keyword)
        if isinstance(value, MultiValue):
            value = "\\".join(str(part) for part in value)
        return clean_text("" if value is None else str(value))
    except Exception:
        raise ObjectRefused(RefusalReason.UNREADABLE) from None


def clean_text(value: str) -> str:
    """Text that a row can hold: without control characters, 256 characters at most.

    PostgreSQL takes no NUL, and an index no long value.
    """
    return _LINE_BREAKS.sub("", remove_controls(value)).strip()[:MAX_VALUE_CHARACTERS]


def _expected_instances(header: Dataset) -> int | None:
    """(0020,1208), where it is a number that can be true."""
    with suppress(ValueError, ObjectRefused):
        count = int(element_text(header, "NumberOfStudyRelatedInstances"))
        return count if 0 < count < _MAX_EXPECTED_INSTANCES else None
    return None


def _remove(blobs: Blobs, key: str) -> None:
    with suppress(OSError):  # the sweep removes it later
        blobs.remove(key)
