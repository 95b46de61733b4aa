"""Reads reports out of DICOM structured reports (PS3.3 A.35): the texts of their content tree."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from model.dicom.characters import decode_texts
from model.dicom.structured_reports import (
    SR_CLASSES,
    read_accession_number,
    read_text,
    read_texts,
)
from records.section_codes import add_text, section_under
from training.deid.deidentify import KnownIdentifiers
from training.importing.reports import FoundReport, Rejection, list_files, to_moment

MAX_BYTES = 32 << 20
"""Limit of a file. Reports have some kilobytes; with measurements, some megabytes."""


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
    accession = read_accession_number(dataset)
    study_uid = read_text(dataset, "StudyInstanceUID")
    study = accession or study_uid
    if sop_class not in SR_CLASSES:
        if "Rows" in dataset:
            return None
        return Rejection(source, study, "it is no report of text, enhanced or comprehensive SR")
    if not study:
        return Rejection(source, "", "it names neither an accession number nor a study")
    patient = read_text(dataset, "PatientID")
    if not patient:
        return Rejection(source, study, "it names no patient (0010,0020)")
    if read_text(dataset, "CompletionFlag") != "COMPLETE":
        return Rejection(source, study, "it is not complete (0040,A491)")
    if read_text(dataset, "PreliminaryFlag") == "PRELIMINARY":
        return Rejection(source, study, "it is preliminary (0040,A496)")
    texts: dict[str, str] = {}
    for part in read_texts(dataset):
        section = section_under((name.code, name.meaning) for name in part.headings)
        add_text(texts, section, part.text)
    if not any(texts.get(name) for name in ("report", "findings", "impression")):
        return Rejection(source, study, "it has no text of a report")
    if procedure := read_text(dataset, "StudyDescription"):
        texts["procedure"] = procedure
    taken = to_moment(read_text(dataset, "StudyDate") + read_text(dataset, "StudyTime")[:6])
    return FoundReport(
        source=source,
        patient=patient,
        known=KnownIdentifiers(
            read_text(dataset, "PatientName"),
            patient,
            accession,
            read_text(dataset, "PatientBirthDate"),
            taken[:8],
        ),
        accession=accession,
        study_uid=study_uid,
        taken=taken,
        issued=to_moment(read_text(dataset, "ContentDate") + read_text(dataset, "ContentTime")[:6]),
        texts=texts,
    )
