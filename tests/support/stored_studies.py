"""Images as the listener leaves them: on the blob volume and in rows."""

from __future__ import annotations

import uuid
from io import BytesIO

from pydicom import Dataset, dcmwrite
from sqlalchemy import select, text

from records.blobs import Blobs, data_set_sha256
from records.database.draft_tables import LiveLease
from records.database.session import unit_of_work
from records.database.tables import Study
from records.orders import effects
from records.settings import settings
from records.states import Priority, VisibleState
from records.workflow import registrations, studies, worklist_rows
from records.workflow.arrivals import ReceivedInstance
from records.workflow.patients import Patient
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom

PLANTED_NAME = "ZEPPELINOWITSCH"
"""A patient's name that must be nowhere but in rows and images."""


def phantom_images(seed: int, *, size: int = 64) -> list[Dataset]:
    """A phantom study's images, of a patient with the planted name."""
    datasets = phantom_dicom(phantom(seed), size=size)
    for dataset in datasets:
        dataset.PatientName = f"{PLANTED_NAME}^{seed}"
    return datasets


def store_image(dataset: Dataset, *, damage: bool = False, **changed: object) -> uuid.UUID:
    """File one image as the listener does; returns the study's id."""
    blobs = Blobs(settings().data_dir)
    out = BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    content = out.getvalue()
    if damage:
        content = content[: len(content) - 1000]
    received = blobs.incoming / uuid.uuid4().hex
    received.write_bytes(content)
    key = blobs.keep_instance(received)
    received.unlink()
    values = {
        "study_instance_uid": str(dataset.StudyInstanceUID),
        "series_instance_uid": str(dataset.SeriesInstanceUID),
        "sop_instance_uid": str(dataset.SOPInstanceUID),
        "sop_class_uid": str(dataset.SOPClassUID),
        "transfer_syntax_uid": str(dataset.file_meta.TransferSyntaxUID),
        "modality": str(dataset.Modality),
        "patient": Patient(str(dataset.PatientID), "", str(dataset.PatientName)),
        "accession_number": str(dataset.AccessionNumber),
        "study_date": str(dataset.StudyDate),
        "study_description": str(dataset.StudyDescription),
        "blob": key,
        "sha256": data_set_sha256(blobs.path(key)),
        "size": len(content),
        "calling_ae": "TEST",
        "priority": Priority.ROUTINE,
    }
    with unit_of_work() as session:
        return registrations.register_instance(
            session, ReceivedInstance(**(values | changed))
        ).study_id


def store_studies(*seeds: int, **changed: object) -> list[uuid.UUID]:
    """One phantom study for each seed, its first image only; returns the studies' ids."""
    return [store_image(phantom_images(seed)[0], **changed) for seed in seeds]


def close_studies() -> None:
    """Make every study complete, now, with its orders, as the sweep does."""
    with unit_of_work() as session:
        effects.take_up_closed(session, studies.close_quiet(session, 0.0))


def lease_of(study_id: uuid.UUID) -> LiveLease | None:
    """The live lease of the study's newest request."""
    with unit_of_work() as session:
        return session.scalar(
            select(LiveLease)
            .join(Study, Study.request_id == LiveLease.request_id)
            .where(Study.id == study_id)
        )


def pass_lease_on(study_id: uuid.UUID) -> None:
    """Give the study's request to a worker called "another", as a newer claim."""
    with unit_of_work() as session:
        session.execute(
            text(
                "UPDATE leases SET owner = 'another', claim = DEFAULT"
                " WHERE request_id = (SELECT request_id FROM studies WHERE id = :study)"
            ),
            {"study": study_id},
        )


def visible_state(study_id: uuid.UUID) -> VisibleState:
    """What a person sees of the study."""
    with unit_of_work() as session:
        return worklist_rows.read_row(session, study_id).state
