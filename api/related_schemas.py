"""Orders and reports as REST gives them with a study and its holds."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from records.database import order_tables, report_tables
from records.states import MatchState, OrderStatus, OrderTextSource, Origin, ReportStatus

FieldName = Literal["patient_id", "issuer", "name", "birth_date", "sex"]
"""A field of a patient that is compared."""


class ComparedField(BaseModel):
    """A field of the patient on both sides. differs: both sides have it and contradict each other.

    study: as the films name the patient. order: as the order does.
    """

    name: FieldName
    study: str
    order: str
    differs: bool


class StatedReason(BaseModel):
    """Why an examination was requested, as an order says it."""

    source: OrderTextSource
    text: str


class HeldOrder(BaseModel):
    """An order with the accession number of a study that is for another patient.

    fields: its patient beside the patient of the films. other_patient_ids: further ids that the
    order gives for its patient.
    """

    order: uuid.UUID
    origin: Origin
    sender: str
    changed_at: dt.datetime
    accession_numbers: list[str]
    procedure: str
    texts: list[StatedReason]
    other_patient_ids: list[dict[str, str]]
    fields: list[ComparedField]


class ReportWords(BaseModel):
    """Some words in a row, and whose they are: of both reports, of one signed here, or of another.

    kind: `first` are words of the report that was signed here, `second` those of the other one.
    """

    model_config = ConfigDict(from_attributes=True)

    kind: Literal["both", "first", "second"]
    words: str


class ReportSide(BaseModel):
    """A final report of a study that another one differs from.

    report: our id of a report from elsewhere. signed_by: who signed the report here. Of the two
    one is null. sender, origin: of a report from elsewhere. author: who answers for it, as sent.
    at: when it came, or was signed.
    """

    report: uuid.UUID | None
    signed_by: str | None
    status: ReportStatus
    origin: Origin | None
    sender: str
    author: str
    at: dt.datetime
    text: str


class HeldReports(BaseModel):
    """Two final reports of a study that differ. words: both as one sequence of words."""

    first: ReportSide
    second: ReportSide
    words: list[ReportWords]


class StudyOrder(BaseModel):
    """An order that was matched with a study, and whether it counts for it.

    order: our id. matched_by: ACCESSION, STUDY, or PERSON. decided_by: who decided about it.
    """

    order: uuid.UUID
    state: MatchState
    matched_by: str
    matched_at: dt.datetime
    decided_by: str
    status: OrderStatus
    origin: Origin
    sender: str
    accession_numbers: list[str]
    procedure: str
    texts: list[StatedReason]
    changed_at: dt.datetime

    @classmethod
    def from_rows(cls, match: order_tables.StudyOrder, order: order_tables.Order) -> StudyOrder:
        """The order of two rows."""
        of_match = ("matched_by", "matched_at", "decided_by")
        of_order = ("sender", "accession_numbers", "procedure", "changed_at")
        return cls(
            order=order.id,
            state=MatchState(match.state),
            status=OrderStatus(order.status),
            origin=Origin(order.origin),
            texts=[StatedReason(**text) for text in order.texts],
            **{name: getattr(match, name) for name in of_match},
            **{name: getattr(order, name) for name in of_order},
        )


class FinalComparison(BaseModel):
    """How far a final report is from a draft of its study.

    distances: by section, characters to change and characters of the longer text. observations: by
    name, what draft and report say of it.
    """

    model_config = ConfigDict(from_attributes=True)

    draft_id: uuid.UUID
    at: dt.datetime
    distances: dict[str, Any]
    observations: dict[str, Any]


class Addendum(BaseModel):
    """A document that was added to a report. sent_at: by the sender's clock; "" if not known."""

    text: str
    author: str
    sent_at: str


class StudyReport(BaseModel):
    """What another system reported of a study. It is not our draft.

    addenda: what was added to it by other documents; the texts have it, too. is_addendum: whether
    it is an addendum itself, to a report that Nightdraft does not have.
    comparisons: with the drafts of the study, newest first.
    """

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    status: ReportStatus
    origin: Origin
    sender: str
    author: str
    accession_numbers: list[str]
    procedure: str
    performed_on: str
    findings: str
    impression: str
    text: str
    addenda: list[Addendum] = []
    is_addendum: bool = False
    received_at: dt.datetime
    comparisons: list[FinalComparison] = []

    @classmethod
    def from_row(
        cls,
        report: report_tables.ReceivedReport,
        comparisons: Sequence[report_tables.FinalComparison],
    ) -> StudyReport:
        """The report of a row, with those comparisons that are about it."""
        own = cls.model_validate(report)
        own.comparisons = [
            FinalComparison.model_validate(row) for row in comparisons if row.report_id == report.id
        ]
        return own
