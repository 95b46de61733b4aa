"""Films as the listener leaves them: on the blob volume and in rows."""

from __future__ import annotations

import uuid
from io import BytesIO

from pydicom import Dataset, dcmwrite

from records.blobs import Blobs, sha256_of
from records.database.session import unit_of_work
from records.settings import settings
from records.states import Priority, VisibleState
from records.workflow import studies, worklist
from records.workflow.studies import Patient, ReceivedInstance
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom

PLANTED = "ZEPPELINOWITSCH"
"""A patient's name that must be nowhere but in rows and films."""


def films(seed: int, *, size: int = 64) -> list[Dataset]:
    """A phantom study's films, of a patient with the planted name."""
    made = phantom_dicom(phantom(seed), size=size)
    for film in made:
        film.PatientName = f"{PLANTED}^{seed}"
    return made


def bring(film: Dataset, *, damage: bool = False, **more: object) -> uuid.UUID:
    """File one film as the listener does; the study's id."""
    blobs = Blobs(settings().data_dir)
    out = BytesIO()
    dcmwrite(out, film, enforce_file_format=True)
    content = out.getvalue()
    if damage:
        content = content[: len(content) - 1000]
    received = blobs.incoming / uuid.uuid4().hex
    received.write_bytes(content)
    key = blobs.keep_instance(received)
    received.unlink()
    values = {
        "study_instance_uid": str(film.StudyInstanceUID),
        "series_instance_uid": str(film.SeriesInstanceUID),
        "sop_instance_uid": str(film.SOPInstanceUID),
        "sop_class_uid": str(film.SOPClassUID),
        "transfer_syntax_uid": str(film.file_meta.TransferSyntaxUID),
        "modality": str(film.Modality),
        "patient": Patient(str(film.PatientID), "", str(film.PatientName)),
        "accession_number": str(film.AccessionNumber),
        "study_date": str(film.StudyDate),
        "study_description": str(film.StudyDescription),
        "blob": key,
        "sha256": sha256_of(blobs.path(key)),
        "size": len(content),
        "calling_ae": "TEST",
        "priority": Priority.ROUTINE,
    }
    with unit_of_work() as session:
        return studies.register_instance(session, ReceivedInstance(**(values | more))).study_id


def bring_studies(*seeds: int, **more: object) -> list[uuid.UUID]:
    """One phantom study a seed, one film of it (a frontal one); the studies' ids."""
    return [bring(films(seed)[0], **more) for seed in seeds]


def close() -> None:
    """Make every study complete, now."""
    with unit_of_work() as session:
        studies.close_quiet(session, 0.0)


def state(study_id: uuid.UUID) -> VisibleState:
    """What a person sees of the study."""
    with unit_of_work() as session:
        return worklist.read_row(session, study_id).state
