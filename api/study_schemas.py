"""What REST takes and gives of studies: the worklist, one study with all that is known of it."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from api.draft_schemas import Draft, WithheldDraft
from api.hold_schemas import Hold
from api.related_schemas import StudyOrder, StudyReport
from api.schemas import ONE_LINE, Decider, FromRow, Patient
from model.dicom.names import uid_name
from records.database import tables
from records.states import (
    REJECTION_SENTENCES,
    WARNING,
    ActorKind,
    ChangeOrigin,
    Damage,
    InstanceState,
    Priority,
    RejectionReason,
    VisibleState,
    Withheld,
)
from records.workflow.worklist import WorklistPage
from records.workflow.worklist_rows import WorklistRow


class DraftSummary(FromRow):
    """The current draft in short. It is not a report: nobody has reviewed it."""

    id: uuid.UUID
    warning: str = WARNING
    status: Literal["UNREVIEWED"] = "UNREVIEWED"
    model_name: str
    findings: str
    impression: str


class StudySummary(FromRow):
    """One study of the worklist.

    detail and reason: why it was skipped or failed. withheld: why its draft is shown to nobody;
    null where there is none, or it is shown. signed_by: who signed a report of the draft; "" while
    nobody has. report: the report's impression, else its findings.
    """

    id: uuid.UUID
    study_instance_uid: str
    patient: Patient
    accession_number: str
    study_date: str
    study_description: str
    calling_ae: str
    priority: str
    revision: int
    state: VisibleState
    reason: str
    detail: str
    hold_reasons: list[str]
    films: int
    objects: int
    first_received_at: dt.datetime
    last_received_at: dt.datetime
    changed_at: dt.datetime | None
    draft: DraftSummary | None
    withheld: Withheld | None
    signed_by: str
    report: str

    @classmethod
    def from_row(cls, row: WorklistRow) -> StudySummary:
        """The summary of a row of the worklist."""
        draft = None
        if row.draft_id is not None and row.withheld is None:
            draft = DraftSummary(
                id=row.draft_id,
                model_name=row.model_name,
                findings=row.findings,
                impression=row.impression,
            )
        patient = Patient(
            patient_id=row.patient_id,
            name=row.patient_name,
            birth_date=row.patient_birth_date,
            sex=row.patient_sex,
        )
        same_fields = {
            name: getattr(row, name)
            for name in cls.model_fields
            if name not in ("patient", "draft", "priority", "hold_reasons", "films", "objects")
        }
        return cls(
            **same_fields,
            patient=patient,
            draft=draft,
            films=row.image_count,
            objects=row.instance_count,
            priority=Priority(row.priority).name,
            hold_reasons=sorted(row.hold_reasons),
        )


class StudyPage(BaseModel):
    """Studies in the order of the worklist; `next` is the `after` of the following page.

    capped: the search found more studies than it gives; write more of the number or name.
    """

    studies: list[StudySummary]
    next: str | None
    capped: bool

    @classmethod
    def from_page(cls, page: WorklistPage) -> StudyPage:
        """The page of a worklist."""
        return cls(
            studies=[StudySummary.from_row(row) for row in page.rows],
            next=page.next,
            capped=page.matches is not None and page.matches.capped,
        )


class StudyChange(FromRow):
    """An older value of a study's field, and the newer one that is shown."""

    at: dt.datetime
    origin: ChangeOrigin | None = Field(
        description="By which interface a message came, or PERSON; null where a film brought it."
    )
    calling_ae: str
    field: str
    old_value: str
    new_value: str


class Instance(FromRow):
    """A received object. image: the path of its picture, for images that may be drafted from.

    sop_class, transfer_syntax: the names of the two UIDs. modality: (0008,0060), as `DX`.
    damage: what is wrong with its stored file; null where nothing is known.
    bytes_removed_at: when retention removed its file, since when there is no picture; else null.
    """

    id: uuid.UUID
    sop_instance_uid: str
    sop_class_uid: str
    sop_class: str
    transfer_syntax_uid: str
    transfer_syntax: str
    modality: str
    state: InstanceState
    reason: str
    sha256: str
    size: int
    revision: int
    calling_ae: str
    received_at: dt.datetime
    damage: Damage | None
    bytes_removed_at: dt.datetime | None
    image: str | None

    @classmethod
    def from_row(cls, instance: tables.Instance, modality: str) -> Instance:
        """The instance of a row. One kept aside has no picture: it may be another patient's."""
        is_kept = instance.state == InstanceState.KEPT and instance.bytes_removed_at is None
        own = {
            "sop_class": uid_name(instance.sop_class_uid),
            "transfer_syntax": uid_name(instance.transfer_syntax_uid),
            "modality": modality,
            "image": f"/studies/{instance.study_id}/views/{instance.id}.jpg" if is_kept else None,
        }
        same_fields = {
            name: getattr(instance, name) for name in cls.model_fields if name not in own
        }
        return cls(**same_fields, **own)


class Rejection(FromRow):
    """An image that a rejection note names; it may not be here yet.

    sentence: the reason for a person. ended_at: when a person took the rejection back, or the image
    came again after its retention period; null while it stands.
    """

    sop_instance_uid: str
    note_sop_instance_uid: str
    reason: RejectionReason
    sentence: str
    calling_ae: str
    noted_at: dt.datetime
    ended_at: dt.datetime | None
    ended_by: str

    @classmethod
    def from_row(cls, rejection: tables.Rejection) -> Rejection:
        """The rejection of a row, with its reason in a sentence."""
        same_fields = {
            name: getattr(rejection, name) for name in cls.model_fields if name != "sentence"
        }
        return cls(**same_fields, sentence=REJECTION_SENTENCES[RejectionReason(rejection.reason)])


class Event(FromRow):
    """A line of a study's timeline. actor_kind and actor_name are null where a part did it."""

    at: dt.datetime
    kind: str
    detail: str
    request_id: uuid.UUID | None
    actor_kind: ActorKind | None
    actor_name: str | None

    @classmethod
    def from_row(cls, event: tables.Event) -> Event:
        """The event of a row."""
        return cls.model_validate(event)


class StudyDetail(BaseModel):
    """One study with everything that is known of it. drafts, orders, reports: newest first.

    withheld: drafts that are shown to nobody, without what they say.
    draft_hidden: whoever asks reads the films first, so no draft is given yet.
    waits_for_order_until: then it is drafted without an order; null where it does not wait.
    timeline: its newest lines, oldest of them first. earlier: the `before` of the lines before
    these; null where there are none.
    """

    study: StudySummary
    instances: list[Instance]
    drafts: list[Draft]
    withheld: list[WithheldDraft]
    draft_hidden: bool
    holds: list[Hold]
    rejections: list[Rejection]
    changes: list[StudyChange]
    orders: list[StudyOrder]
    reports: list[StudyReport]
    waits_for_order_until: dt.datetime | None
    timeline: list[Event]
    earlier: int | None


class WithdrawalRequest(BaseModel):
    """A person withdraws a draft. draft: the one that was looked at; null takes the current one."""

    by: Decider = ""
    reason: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=ONE_LINE),
    ]
    draft: uuid.UUID | None = None


class SiteMoveRequest(BaseModel):
    """A person moves a study to another site. site: its code. because: the timeline keeps it."""

    by: Decider = ""
    site: Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=ONE_LINE)]
    because: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=ONE_LINE),
    ]


class ReinstatementRequest(BaseModel):
    """A person takes the rejections of a study's films back."""

    by: Decider = ""
    note: Annotated[str, StringConstraints(max_length=1000, pattern=ONE_LINE)] = ""
