"""A night's rows and films, made through the records' own verbs: phantoms in every state."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from pathlib import Path

from model.manifest import read_manifest
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.operations import heartbeats, refusals
from records.states import FailReason, HoldReason, Priority, Stage
from records.workflow import drafts, holds, leases, requests, studies
from records.workflow.drafts import NewDraft
from records.workflow.leases import Lease
from records.workflow.requests import PreparedInput
from records.workflow.studies import Patient, ReceivedInstance
from training.corpus.phantoms import HELD_OUT, Phantom, phantom
from training.corpus.phantoms_dicom import phantom_dicom

NOTICE = "Demonstration: this model knows drawn phantoms only."


class Night:
    """Makes studies on one data folder; each verb is one transaction and returns our own ids."""

    def __init__(self, data_dir: Path, size: int = 128) -> None:
        self.blobs = Blobs(data_dir)
        self.size = size

    def arrive(self, number: int, priority: Priority = Priority.ROUTINE, **changed) -> uuid.UUID:
        """A phantom's films come in. changed: fields of ReceivedInstance that differ on each of them."""
        one = phantom(HELD_OUT + number)
        with unit_of_work() as session:
            for film in phantom_dicom(one, size=self.size):
                file = self.blobs.incoming / f"{uuid.uuid4().hex}.part"
                film.save_as(file, enforce_file_format=True)
                arrived = ReceivedInstance(
                    study_instance_uid=film.StudyInstanceUID,
                    series_instance_uid=film.SeriesInstanceUID,
                    sop_instance_uid=film.SOPInstanceUID,
                    sop_class_uid=film.SOPClassUID,
                    transfer_syntax_uid=film.file_meta.TransferSyntaxUID,
                    modality=film.Modality,
                    patient=Patient(
                        film.PatientID,
                        "",
                        str(film.PatientName),
                        film.PatientBirthDate,
                        film.PatientSex,
                    ),
                    accession_number=film.AccessionNumber,
                    study_date=film.StudyDate,
                    study_description=film.StudyDescription,
                    blob=self.blobs.keep_instance(file),
                    sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
                    size=file.stat().st_size,
                    calling_ae="XRAY1",
                    priority=priority,
                )
                file.unlink()
                found = studies.register_instance(session, replace(arrived, **changed))
        return found.study_id

    def complete(self, *numbers: int, **changed) -> list[uuid.UUID]:
        """Phantoms come in, and their quiet period is over."""
        arrived = [self.arrive(number, **changed) for number in numbers]
        with unit_of_work() as session:
            studies.close_quiet(session, 0.0)
        return arrived

    def claim(self, stage: Stage, study: uuid.UUID) -> Lease:
        """The stage has just this study; others go back."""
        with unit_of_work() as session:
            claimed = leases.claim(session, stage, "test:1", 1000, 600.0)
            others = [lease for lease in claimed if lease.study_id != study]
            leases.release(session, others, "not this one")
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
        """To DRAFTED, with the phantom's own report as what the model wrote."""
        self.prepare(study)
        lease = self.claim(Stage.DRAFT, study)
        with unit_of_work() as session:
            new = _draft(phantom(HELD_OUT + number), lease)
            draft = drafts.save(session, lease, replace(new, **changed))
        assert draft is not None
        return draft

    def drafted(self, number: int, **changed) -> uuid.UUID:
        """A study from door to draft."""
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
            requests.fail(
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


def _draft(one: Phantom, lease: Lease) -> NewDraft:
    demo = read_manifest("demo")
    return NewDraft(
        text=one.report,
        findings=one.findings_text,
        impression=one.impression,
        model_name=demo.name,
        model_version=demo.version,
        bundle_digest=demo.digest,
        settings_digest="5" * 64,
        inputs_digest=lease.inputs_digest or "",
        notice=demo.notice or NOTICE,
        prompt=f"Image: chest x-ray. Indication: {one.indication}",
        indication=one.indication,
        indication_source="request_reason" if one.indication else "none",
        views=[
            {
                "sop_instance_uid": str(film.SOPInstanceUID),
                "position": position,
                "why": f"ViewPosition says {film.ViewPosition}",
            }
            for film, position in zip(phantom_dicom(one, size=16), one.positions, strict=True)
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


def parts_run(*names: str) -> None:
    """Each part was seen just now."""
    with unit_of_work() as session:
        for name in names:
            heartbeats.record_heartbeat(session, name)


def whole_night(data_dir: Path, size: int = 1024) -> None:
    """Rows for a picture: every state that a morning can have."""
    night = Night(data_dir, size)
    parts_run("listener", "sweep", "prepare", "draft")
    held, skipped, failed = night.complete(101, 102, 103)
    night.hold(held)
    night.skip(skipped)
    night.fail(failed)
    for number in range(1, 13):
        night.drafted(number)
    (stat,) = night.complete(34, priority=Priority.STAT)
    night.draft(stat, 34)
    night.drafted(40)
    waiting = night.complete(51, 52, 53, 54)
    night.prepare(waiting[0])
    night.prepare(waiting[1])
    night.claim(Stage.DRAFT, waiting[1])
    night.claim(Stage.PREPARE, waiting[2])
    night.arrive(61, Priority.URGENT)
    with unit_of_work() as session:
        refusals.record_refusal(
            session,
            calling_ae="CT1",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid="2.25.4711",
            reason="sop_class",
            sentence="Only projection radiographs are received here.",
        )
