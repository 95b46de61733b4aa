"""Reads an IHE IOCM rejection note: which images are rejected, and why (IHE RAD TF-2, 4.66).

A note is a Key Object Selection Document (PS3.3 A.35.4) with a document title that rejects.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from intake.dicom.limits import is_valid_uid
from records.states import RejectionReason
from records.workflow.patients import Patient
from records.workflow.rejections import RejectionNote

KEY_OBJECT_CLASS = "1.2.840.10008.5.1.4.1.1.88.59"

_DCM_UID = "1.2.840.10008.2.16.4"
"""The coding scheme DCM (PS3.16 table 8-1)."""

_EVIDENCE = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
"""Where a document lists the images that it references. Notes on films of other examinations are
seen in the second, which only reports have by the standard."""

MAX_NOTE_BYTES = 2_000_000
"""A larger note is not read. This is room for some 10,000 images; a chest study has a few."""

MAX_IMAGES = 5_000
"""Images that are taken from one note, in the order of the note."""


def find_rejection_reason(header: Dataset) -> RejectionReason | None:
    """The reason for which a Key Object Selection Document rejects; None for any other object.

    Args:
        header: with SOPClassUID and ConceptNameCodeSequence.
    """
    if str(header.get("SOPClassUID", "")) != KEY_OBJECT_CLASS:
        return None
    for code in _items(header, "ConceptNameCodeSequence"):
        if _is_dcm(code):
            try:
                return RejectionReason(str(code.get("CodeValue", "")).strip())
            except ValueError:
                continue  # a title that rejects nothing, such as 113000 "Of Interest"
    return None


def _is_dcm(code: Dataset) -> bool:
    """Whether a code is of the scheme DCM.

    One without a scheme is taken for it: the code alone says that films must not be used.
    """
    designator = str(code.get("CodingSchemeDesignator", "")).strip().upper()
    uid = str(code.get("CodingSchemeUID", "")).strip()
    return designator == "DCM" or (not designator and uid in ("", _DCM_UID))


def read_note(
    path: Path, size: int, header: Dataset, patient: Patient, calling_ae: str
) -> RejectionNote | None:
    """The rejection note in a file; None where the object is none.

    Args:
        path: the file, whose header could be read.
        size: its bytes.
        header: with SOPClassUID, SOPInstanceUID and ConceptNameCodeSequence.
        patient: the patient that the header names.
        calling_ae: who sent it.
    """
    reason = find_rejection_reason(header)
    if reason is None:
        return None
    images: list[tuple[str, str]] = []
    whole = size <= MAX_NOTE_BYTES
    if whole:
        try:
            for image in _read_images(path):
                if len(images) == MAX_IMAGES:
                    whole = False
                    break
                images.append(image)
        except Exception:
            # pydicom raises all kinds of errors for a damaged file.
            whole = False
    return RejectionNote(
        sop_instance_uid=str(header.SOPInstanceUID),
        reason=reason,
        patient=patient,
        images=tuple(images),
        whole=whole and bool(images),
        calling_ae=calling_ae,
    )


def _read_images(path: Path) -> Iterator[tuple[str, str]]:
    """Study and SOP Instance UID of each image that the note lists as its evidence."""
    note = dcmread(path, stop_before_pixels=True, specific_tags=list(_EVIDENCE))
    for study in (item for keyword in _EVIDENCE for item in _items(note, keyword)):
        for series in _items(study, "ReferencedSeriesSequence"):
            for image in _items(series, "ReferencedSOPSequence"):
                uids = (
                    str(study.get("StudyInstanceUID", "")),
                    str(image.get("ReferencedSOPInstanceUID", "")),
                )
                if not all(is_valid_uid(uid) for uid in uids):
                    raise ValueError("a UID of the note is not valid")
                yield uids


def _items(dataset: Dataset, keyword: str) -> list[Any]:
    value = dataset.get(keyword)
    return list(value) if value else []
