"""What `nightdraft bench growth` times, and films for it."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from records.database.session import unit_of_work
from records.states import Priority
from records.workflow import registrations
from records.workflow.arrivals import ReceivedInstance
from records.workflow.drafts import NewDraft
from records.workflow.patients import Patient

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that is timed.

    Attributes:
        run: what is timed; it gets what `prepare` gave.
        prepare: done before each run, and not timed; it gets the number of the run.
        before: done once before all runs.
        after: takes back what `before` did.
    """

    name: str
    run: Callable[[Any], object]
    prepare: Callable[[int], Any] | None = None
    before: Callable[[Session], object] | None = None
    after: Callable[[Session], object] | None = None


DRAFT = NewDraft(
    text="Findings: the lungs are clear. " * 10,
    findings="The lungs are clear. " * 10,
    impression="Normal.",
    model_name="bench",
    model_version="1",
    bundle_digest="bundle",
    settings_digest="settings",
    inputs_digest="",
    notice="",
    prompt="Image: chest x-ray.",
    indication="Cough.",
    indication_source="request_reason",
    views=[],
    left_out=[],
    notes=[],
    timings={},
    tokens=["the"] * 80,
    token_logprobs=[-0.5] * 80,
    cut=False,
    device="cpu",
    dtype="float32",
)
"""A draft of usual length; `inputs_digest` is still to be filled in."""


def new_film() -> ReceivedInstance:
    """The only film of a study that nobody has sent before, of a patient of its own."""
    number = next(_numbers)
    uid = f"2.25.7{number:09d}"
    return ReceivedInstance(
        study_instance_uid=uid,
        series_instance_uid=f"{uid}.1",
        sop_instance_uid=f"{uid}.1.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="DX",
        patient=Patient(f"N{number}", "", f"FAMILY{number % 999}^NEW", "19700101", "F"),
        accession_number=f"N{number}",
        study_date="20260101",
        study_description="CHEST",
        blob=f"instances/2026-01-02/00/{uuid.uuid4().hex}.dcm",
        sha256=hashlib.sha256(uid.encode()).hexdigest(),
        size=15_000_000,
        calling_ae="XRAY",
        priority=Priority.ROUTINE,
    )


def register(film: ReceivedInstance) -> uuid.UUID:
    """Register a film; returns our id of its study."""
    with unit_of_work() as session:
        return registrations.register_instance(session, film).study_id
