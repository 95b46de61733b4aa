"""What REST takes and gives of holds and of the decisions on them."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from api.related_schemas import HeldOrder, HeldReports
from api.schemas import MANY_LINES, Decider, FromRow, Patient
from records.database import tables
from records.states import HOLD_SENTENCES, Decision, HoldReason, InstanceState
from records.workflow.corrections import SHOWN_COLUMNS


class HeldFilm(BaseModel):
    """A film of a hold: whose it is, where it is, when it came and from where.

    image: the path of its picture; null where it does not count in a study.
    """

    instance: uuid.UUID
    study: uuid.UUID
    sop_instance_uid: str
    patient: Patient
    accession_number: str
    study_date: str
    study_description: str
    state: InstanceState
    calling_ae: str
    received_at: dt.datetime
    image: str | None

    @classmethod
    def from_rows(cls, instance: tables.Instance, study: tables.Study) -> HeldFilm:
        """The film of a row, as its own header names the patient where that was kept."""
        sent = instance.sent or {name: getattr(study, name) for name in SHOWN_COLUMNS}
        is_kept = instance.state == InstanceState.KEPT and instance.bytes_removed_at is None
        return cls(
            instance=instance.id,
            study=study.id,
            sop_instance_uid=instance.sop_instance_uid,
            patient=Patient(
                patient_id=sent["patient_id"],
                name=sent["patient_name"],
                birth_date=sent["patient_birth_date"],
                sex=sent["patient_sex"],
            ),
            accession_number=sent["accession_number"],
            study_date=sent["study_date"],
            study_description=sent["study_description"],
            state=InstanceState(instance.state),
            calling_ae=instance.calling_ae,
            received_at=instance.received_at,
            image=f"/studies/{study.id}/views/{instance.id}.jpg" if is_kept else None,
        )


class HoldSides(BaseModel):
    """The two films of a hold: the one kept aside, and the one that counts, which may be none."""

    aside: HeldFilm
    standing: HeldFilm | None


class OpenHold(BaseModel):
    """A hold that nobody has decided, with both sides. decisions: what may be decided.

    sides: of a hold about films. orders: of a hold about orders for another patient.
    reports: of a hold about finals that differ.
    """

    id: uuid.UUID
    study: uuid.UUID
    patient: Patient
    reason: HoldReason
    sentence: str
    detail: str
    opened_at: dt.datetime
    decisions: dict[Decision, str]
    sides: list[HoldSides]
    orders: list[HeldOrder]
    reports: list[HeldReports]


class BulkDecisionRequest(BaseModel):
    """A person's decision on many holds. holds: those that the person looked at."""

    decision: Decision
    by: Decider = ""
    note: Annotated[str, StringConstraints(max_length=1000, pattern=MANY_LINES)] = ""
    holds: list[uuid.UUID] = Field(min_length=1, max_length=200)


class NotDecided(BaseModel):
    """A study whose holds stay open, and why."""

    study: uuid.UUID
    why: str


class BulkDecisionResult(BaseModel):
    """How many holds were closed, and what stays open."""

    decided: int
    not_decided: list[NotDecided]


class Hold(FromRow):
    """A question that a person must decide, and the decision."""

    id: uuid.UUID
    reason: HoldReason
    sentence: str
    detail: str
    opened_at: dt.datetime
    decision: Decision | None
    decided_at: dt.datetime | None
    decided_by: str
    note: str

    @classmethod
    def from_row(cls, hold: tables.Hold) -> Hold:
        """The hold of a row, with its reason in a sentence."""
        same_fields = {name: getattr(hold, name) for name in cls.model_fields if name != "sentence"}
        return cls(**same_fields, sentence=HOLD_SENTENCES[HoldReason(hold.reason)])


class DecisionRequest(BaseModel):
    """A person's decision on a study's open holds.

    holds: the ids of the open holds that the person saw; where others are open by now, nothing is
    decided.
    """

    decision: Decision
    by: Decider = ""
    note: Annotated[str, StringConstraints(max_length=1000, pattern=MANY_LINES)] = ""
    holds: list[uuid.UUID] = Field(min_length=1, max_length=20)
