"""Objects as the listener files them: through `file_instance`, from a data set or a sample."""

from __future__ import annotations

import uuid
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from intake.dicom.filing import ReceivedFile, file_instance
from intake.dicom.incoming_file import DataSetDigest
from records.blobs import Blobs
from records.settings import settings
from records.workflow.registrations import Registration

KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"


def file_dataset(dataset: Dataset, calling_ae: str = "CR1") -> Registration:
    """File a data set as it would come from `calling_ae`."""
    path = Blobs(settings().data_dir).incoming / f"{uuid.uuid4().hex}.dcm"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dcmwrite(path, dataset, enforce_file_format=True)
    return _file(path, calling_ae)


def file_sample(path: Path, calling_ae: str = "CR1") -> Registration:
    """File a Part 10 file, whose bytes are not changed."""
    copy = Blobs(settings().data_dir).incoming / f"{uuid.uuid4().hex}.dcm"
    copy.write_bytes(path.read_bytes())
    return _file(copy, calling_ae)


def _file(path: Path, calling_ae: str) -> Registration:
    content = path.read_bytes()
    digest = DataSetDigest()
    digest.update(content)
    header = dcmread(path, stop_before_pixels=True)
    try:
        return file_instance(
            ReceivedFile(
                path,
                str(header.SOPClassUID),
                str(header.SOPInstanceUID),
                str(header.file_meta.TransferSyntaxUID),
                calling_ae,
                len(content),
                digest.hexdigest(),
            ),
            Blobs(settings().data_dir),
            settings(),
        )
    finally:
        path.unlink()


def make_note(
    *films: Dataset,
    title: str = "113037",
    scheme: str = "DCM",
    sop: str = "1.2.3.99",
    study: str | None = None,
    **changed: object,
) -> Dataset:
    """A Key Object Selection Document that names these films, as IHE IOCM sends it.

    Args:
        films: images with UIDs and a patient.
        title: code of the document title.
        scheme: its coding scheme.
        sop: SOP Instance UID of the note.
        study: Study Instance UID that the references give; that of the first film by default.
        changed: elements to replace.
    """
    first = films[0]
    note = Dataset()
    note.SOPClassUID, note.SOPInstanceUID, note.Modality = KEY_OBJECT, sop, "KO"
    note.StudyInstanceUID = study or first.StudyInstanceUID
    note.SeriesInstanceUID = f"{note.StudyInstanceUID}.99"
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(note, keyword, first.get(keyword, ""))
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = title, scheme, "a title"
    note.ConceptNameCodeSequence = Sequence([code])
    references = []
    for film in films:
        reference = Dataset()
        reference.ReferencedSOPClassUID = film.SOPClassUID
        reference.ReferencedSOPInstanceUID = film.SOPInstanceUID
        references.append(reference)
    series = Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ReferencedSOPSequence = Sequence(references)
    evidence = Dataset()
    evidence.StudyInstanceUID = study or first.StudyInstanceUID
    evidence.ReferencedSeriesSequence = Sequence([series])
    note.CurrentRequestedProcedureEvidenceSequence = Sequence([evidence])
    for keyword, value in changed.items():
        setattr(note, keyword, value)
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return note
