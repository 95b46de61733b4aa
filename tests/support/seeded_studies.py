"""Phantom studies in every state, written through the functions of `records`."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from pathlib import Path

from model.manifest import read_manifest
from records.blobs import Blobs, data_set_sha256
from records.database.session import unit_of_work
from records.operations import heartbeats, refusals
from records.states import FailReason, HoldReason, Priority, Stage
from records.workflow import attempts, drafts, holds, leases, registrations, requests, studies
from records.workflow.arrivals import ReceivedInstance
from records.workflow.drafts import NewDraft
from records.workflow.leases import Lease
from records.workflow.patients import Patient
from records.workflow.requests import PreparedInput
from training.corpus.phantoms import HELD_OUT, Phantom, phantom
from training.corpus.phantoms_dicom import phantom_dicom

EXPECTED_PARTS = ("listener", "sweep", "prepare", "draft")
"""The parts that a station is expected to run."""

NOTICE = "Demonstration: this model knows drawn phantoms only."


class StudySeeder:
    """Writes studies into one data folder; each method is one transaction."""

    def __init__(self, data_dir: Path, size: int = 128) -> None:
        self.blobs = Blobs(data_dir)
        self.size = size

    def receive(self, number: int, priority: Priority = Priority.ROUTINE, **changed) -> uuid.UUID:
        """Receive a phantom's images. changed: fields of ReceivedInstance to replace on each."""
        drawn = phantom(HELD_OUT + number)
        with unit_of_work() as session:
            for image in phantom_dicom(drawn, size=self.size):
                file = self.blobs.incoming / f"{uuid.uuid4().hex}.part"
                image.save_as(file, enforce_file_format=True)
                received = ReceivedInstance(
                    study_instance_uid=image.StudyInstanceUID,
                    series_instance_uid=image.SeriesInstanceUID,
                    sop_instance_uid=image.SOPInstanceUID,
                    sop_class_uid=image.SOPClassUID,
                    transfer_syntax_uid=image.file_meta.TransferSyntaxUID,
                    modality=image.Modality,
                    patient=Patient(
                        image.PatientID,
                        "",
                        str(image.PatientName),
                        image.PatientBirthDate,
                        image.PatientSex,
                    ),
                    accession_number=image.AccessionNumber,
                    study_date=image.StudyDate,
                    study_description=image.StudyDescription,
                    blob=self.blobs.keep_instance(file),
                    sha256=data_set_sha256(file),
                    size=file.stat().st_size,
                    calling_ae="XRAY1",
                    priority=priority,
                )
                file.unlink()
                registration = registrations.register_instance(
                    session, replace(received, **changed)
                )
        return registration.study_id

    def complete(self, *numbers: int, **changed) -> list[uuid.UUID]:
        """Receive phantoms and end their quiet period."""
        received = [self.receive(number, **changed) for number in numbers]
        with unit_of_work() as session:
            studies.close_quiet(session, 0.0)
        return received

    def claim(self, stage: Stage, study: uuid.UUID) -> Lease:
        """Claim this study for the stage, and release the others."""
        with unit_of_work() as session:
            claimed = leases.claim(session, stage, "test:1", 1000, 600.0)
            other_leases = [lease for lease in claimed if lease.study_id != study]
            leases.release(session, other_leases, "not this one")
        return next(lease for lease in claimed if lease.study_id == study)

    def prepare(self, study: uuid.UUID) -> None:
        """WAITING -> PREPARED."""
        lease = self.claim(Stage.PREPARE, study)
        inputs = hashlib.sha256(str(lease.request_id).encode()).hexdigest()
        with unit_of_work() as session:
            assert requests.mark_prepared(
                session, lease, PreparedInput("prepared/x", inputs, "pp", {})
            )

    def draft(self, study: uuid.UUID, number: int, **changed) -> uuid.UUID:
        """Draft the study, with the phantom's own report as the text of the model."""
        self.prepare(study)
        lease = self.claim(Stage.DRAFT, study)
        with unit_of_work() as session:
            new = _draft(phantom(HELD_OUT + number), lease)
            draft = drafts.save(session, lease, replace(new, **changed))
        assert draft is not None
        return draft

    def draft_study(self, number: int, **changed) -> uuid.UUID:
        """Receive, complete and draft a phantom."""
        (study,) = self.complete(number)
        self.draft(study, number, **changed)
        return study

    def skip(self, study: uuid.UUID) -> None:
        lease = self.claim(Stage.PREPARE, study)
        with unit_of_work() as session:
            requests.skip(session, lease, "not_chest", "No film to draft from. It is a hand.")

    def fail(self, study: uuid.UUID) -> None:
        lease = self.claim(Stage.PREPARE, study)
        with unit_of_work() as session:
            attempts.fail(
                session,
                lease,
                FailReason.UNREADABLE,
                "The JPEG Lossless data is cut off.",
                max_attempts=1,
                retry_seconds=0,
            )

    def hold(self, study: uuid.UUID, reason: HoldReason = HoldReason.CHEST_UNKNOWN) -> None:
        with unit_of_work() as session:
            holds.open_hold(session, study, reason, "no body part in the header")


def _draft(drawn: Phantom, lease: Lease) -> NewDraft:
    manifest = read_manifest("demo")
    return NewDraft(
        text=drawn.report,
        findings=drawn.findings_text,
        impression=drawn.impression,
        model_name=manifest.name,
        model_version=manifest.version,
        bundle_digest=manifest.digest,
        settings_digest="5" * 64,
        inputs_digest=lease.inputs_digest or "",
        notice=manifest.notice or NOTICE,
        prompt=f"Image: Chest, 1 view, frontal \n Indication: {drawn.indication}",
        indication=drawn.indication,
        indication_source="request_reason" if drawn.indication else "none",
        views=[
            {
                "sop_instance_uid": str(image.SOPInstanceUID),
                "position": position,
                "why": f"ViewPosition says {image.ViewPosition}",
            }
            for image, position in zip(phantom_dicom(drawn, size=16), drawn.positions, strict=True)
        ],
        left_out=[],
        notes=[],
        timings={"prepare": 0.21, "generate": 0.48},
        tokens=["Lungs", "clear"],
        token_logprobs=[-0.1, -0.2],
        cut=False,
        device="cpu",
        dtype="float32",
    )


def seed_heartbeats(*names: str) -> None:
    """Write a heartbeat for each part."""
    with unit_of_work() as session:
        for name in names:
            heartbeats.record_heartbeat(session, name)


def seed_every_state(data_dir: Path, size: int = 1024) -> None:
    """Write studies in every state that a morning can have, for the pictures in docs/use."""
    seeder = StudySeeder(data_dir, size)
    seed_heartbeats(*EXPECTED_PARTS)
    held, skipped, failed = seeder.complete(101, 102, 103)
    seeder.hold(held)
    seeder.skip(skipped)
    seeder.fail(failed)
    for number in range(1, 13):
        seeder.draft_study(number)
    (stat,) = seeder.complete(34, priority=Priority.STAT)
    seeder.draft(stat, 34)
    seeder.draft_study(40)
    waiting = seeder.complete(51, 52, 53, 54)
    seeder.prepare(waiting[0])
    seeder.prepare(waiting[1])
    seeder.claim(Stage.DRAFT, waiting[1])
    seeder.claim(Stage.PREPARE, waiting[2])
    seeder.receive(61, Priority.URGENT)
    with unit_of_work() as session:
        refusals.record_refusal(
            session,
            calling_ae="CT1",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid="2.25.4711",
            reason="other_object",
            sentence="Only projection radiographs are taken here.",
        )
