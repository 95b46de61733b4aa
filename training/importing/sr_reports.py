"""Reads reports out of DICOM structured reports (PS3.3 A.35): the texts of their content tree."""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from model.dicom.characters import decode_texts
from records.section_codes import BODY, OTHER, add_text, section_of
from training.deid.deidentify import KnownIdentifiers
from training.importing.reports import FoundReport, Rejection, list_files, to_moment

SR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.88.11": "Basic Text SR",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR",
}
MAX_BYTES = 32 << 20
"""Limit of a file. Reports have some kilobytes; with measurements, some megabytes."""
MAX_DEPTH = 32
_CONTENT = ("CONTAINS", "HAS PROPERTIES", "INFERRED FROM", "")
"""Relationships of what a report says (PS3.3 C.17.3.2.4); others say of what and by whom."""
_BREAK = re.compile(r"<br\s*/?>|</p>", re.IGNORECASE)
_TAG = re.compile(r"</?(?:b|i|u|p|div|span|font|strong|em|html|body)\b[^<>]*>", re.IGNORECASE)


def read_sr_reports(source: Path) -> Iterator[FoundReport | Rejection]:
    """Yield the reports of a DICOM file, or of all files below a folder.

    Files that are no structured report are not named one by one where they are images: a folder
    of studies holds many.

    Raises:
        CorpusError: There is no such file or folder.
    """
    for path, name in list_files(source):
        try:
            if path.stat().st_size > MAX_BYTES and source.is_file():
                yield Rejection(name, "", f"it has more than {MAX_BYTES >> 20} MB")
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of values that no report is taken from
                dataset = pydicom.dcmread(path, stop_before_pixels=True)
                decode_texts(dataset)
                found = _read(dataset, name)
            if found:
                yield found
        except InvalidDicomError:
            yield Rejection(name, "", "it is no DICOM file")
        except Exception as error:  # a file from outside may hold anything
            yield Rejection(name, "", f"it cannot be read ({type(error).__name__})")


def _read(dataset: Dataset, source: str) -> FoundReport | Rejection | None:
    sop_class = str(dataset.get("SOPClassUID", ""))
    accession = _text(dataset, "AccessionNumber") or _requested(dataset)
    study_uid = _text(dataset, "StudyInstanceUID")
    study = accession or study_uid
    if sop_class not in SR_CLASSES:
        if "Rows" in dataset:
            return None
        return Rejection(source, study, "it is no report of text, enhanced or comprehensive SR")
    if not study:
        return Rejection(source, "", "it names neither an accession number nor a study")
    patient = _text(dataset, "PatientID")
    if not patient:
        return Rejection(source, study, "it names no patient (0010,0020)")
    if _text(dataset, "CompletionFlag") != "COMPLETE":
        return Rejection(source, study, "it is not complete (0040,A491)")
    if _text(dataset, "PreliminaryFlag") == "PRELIMINARY":
        return Rejection(source, study, "it is preliminary (0040,A496)")
    texts: dict[str, str] = {}
    _collect(dataset, BODY, texts, 0)
    if not any(texts.get(name) for name in ("report", "findings", "impression")):
        return Rejection(source, study, "it has no text of a report")
    if procedure := _text(dataset, "StudyDescription"):
        texts["procedure"] = procedure
    taken = to_moment(_text(dataset, "StudyDate") + _text(dataset, "StudyTime")[:6])
    return FoundReport(
        source=source,
        patient=patient,
        known=KnownIdentifiers(
            _text(dataset, "PatientName"),
            patient,
            accession,
            _text(dataset, "PatientBirthDate"),
            taken[:8],
        ),
        accession=accession,
        study_uid=study_uid,
        taken=taken,
        issued=to_moment(_text(dataset, "ContentDate") + _text(dataset, "ContentTime")[:6]),
        texts=texts,
    )


def _collect(item: Dataset, section: str, texts: dict[str, str], depth: int) -> None:
    """Add the texts of an item's content; a text is of its own section or of the container's."""
    if depth > MAX_DEPTH:
        return
    for child in item.get("ContentSequence") or ():
        if _text(child, "RelationshipType") not in _CONTENT:
            continue
        name = next(iter(child.get("ConceptNameCodeSequence") or ()), None)
        own = BODY
        if name is not None:
            own = section_of((_text(name, "CodeValue"),), _text(name, "CodeMeaning"))
        # What stands under previous findings is of another study, whatever it is.
        inner = section if own == BODY or section == OTHER else own
        if _text(child, "ValueType") == "TEXT":
            add_text(texts, inner, _plain(_text(child, "TextValue")))
        _collect(child, inner, texts, depth + 1)


def _plain(text: str) -> str:
    """Return a text without the marks of HTML that some systems write into it."""
    lines = _BREAK.sub("\n", text)
    return html.unescape(_TAG.sub("", lines)) if lines != text or _TAG.search(text) else text


def _requested(dataset: Dataset) -> str:
    """Return the accession number of the request that the report answers (0040,A370)."""
    requests = dataset.get("ReferencedRequestSequence") or ()
    return next(filter(None, (_text(request, "AccessionNumber") for request in requests)), "")


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()
