"""What REST takes and gives of orders, as pydantic models; a file of orders has the same fields."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from api.schemas import MANY_LINES, ONE_LINE, Decider
from api.times import Moment
from records.database import order_tables
from records.orders import reading
from records.orders.order import OrderAction, ReceivedOrder
from records.orders.order import OrderText as ReceivedOrderText
from records.orders.receiving import OrderOutcome
from records.states import (
    ChangeOrigin,
    MatchState,
    OrderChangeKind,
    OrderStatus,
    OrderTextSource,
    Origin,
    Priority,
)
from records.workflow import patients
from records.workflow.identifiers import PatientId

# No space and no control: what `records.received_text.clean_line` takes away identifies nothing.
_NO_PART = (
    r"\x00-\x20\x7f-\xa0\u061c\u1680\u2000-\u200f\u2028-\u202f\u205f\u2066-\u2069\u3000\ufeff"
)
_ONE_WORD = f"^[^{_NO_PART}]+$"

Line = Annotated[str, StringConstraints(max_length=200, pattern=ONE_LINE)]
Number = Annotated[str, StringConstraints(max_length=100, pattern=_ONE_WORD)]
OptionalNumber = Annotated[str, StringConstraints(max_length=100, pattern=f"^[^{_NO_PART}]*$")]
Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]
Date = Annotated[
    str,
    StringConstraints(pattern=r"^(\d{4}-?\d{2}-?\d{2})?$"),
    AfterValidator(lambda date: date.replace("-", "")),
]
"""A date as DICOM writes it; hyphens are taken, too."""


_ACTIONS = {
    OrderStatus.ACTIVE: OrderAction.PLACE,
    OrderStatus.COMPLETED: OrderAction.COMPLETE,
    OrderStatus.CANCELLED: OrderAction.CANCEL,
}
_IDENTIFYING = (
    "filler_order_number",
    "placer_order_number",
    "accession_numbers",
    "study_instance_uids",
)
_FILLED: dict[str, Any] = {
    name: {"minItems": 1} if name.endswith("s") else {"minLength": 1} for name in _IDENTIFYING
}


class OtherPatientId(BaseModel):
    """A further id of a patient, and who gave it."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    id: Number
    issuer: Line = ""


class OrderText(BaseModel):
    """Something that an order says about why the examination was requested."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    source: OrderTextSource = OrderTextSource.REASON
    text: Annotated[str, StringConstraints(min_length=1, max_length=20_000, pattern=MANY_LINES)]


class OrderRequest(BaseModel):
    """An order as a system sends it. sender: its name. sent_at: by its clock.

    At least one of filler_order_number, placer_order_number, accession_numbers and
    study_instance_uids must be there. The first of them that is filled says which order it is. A
    message that is older than the last one changes nothing.

    patient_id, patient_id_issuer: (0010,0020) and (0010,0021). placer_order_number: of who ordered.
    filler_order_number: of the department. accession_numbers: (0008,0050) of the studies to come.
    visit_number: the number of the stay or visit. procedure: what was requested, never why.
    scheduled_at, due_at: when it is to be performed and reported.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: rule}} for name, rule in _FILLED.items()
            ]
        },
    )

    sender: Line = "REST"
    status: OrderStatus = OrderStatus.ACTIVE
    sent_at: Moment | None = None
    patient_id: Number
    patient_id_issuer: Line = ""
    other_patient_ids: list[OtherPatientId] = Field([], max_length=50)
    patient_name: Line = ""
    patient_birth_date: Date = ""
    patient_sex: Annotated[str, StringConstraints(pattern="^[MFO]?$")] = ""
    placer_order_number: OptionalNumber = ""
    filler_order_number: OptionalNumber = ""
    accession_numbers: list[Number] = Field([], max_length=50)
    accession_number_issuer: Line = ""
    study_instance_uids: list[Uid] = Field([], max_length=50)
    visit_number: OptionalNumber = ""
    texts: list[OrderText] = Field([], max_length=50)
    procedure: Line = ""
    priority: Literal["STAT", "URGENT", "ROUTINE", "BACKLOG"] | None = None
    scheduled_at: Moment | None = None
    due_at: Moment | None = None
    site: Line = ""

    @model_validator(mode="after")
    def _is_identified(self) -> Self:
        if not any(getattr(self, name) for name in _IDENTIFYING):
            raise ValueError(
                "the order needs a filler_order_number, a placer_order_number, accession_numbers "
                "or study_instance_uids"
            )
        return self

    def received(self, origin: Origin) -> ReceivedOrder:
        """The order as every interface hands it on."""
        return ReceivedOrder(
            origin=origin,
            sender=self.sender,
            action=_ACTIONS[self.status],
            patient=patients.Patient(
                self.patient_id,
                self.patient_id_issuer,
                self.patient_name,
                self.patient_birth_date,
                self.patient_sex,
            ),
            other_patient_ids=tuple(PatientId(o.id, o.issuer) for o in self.other_patient_ids),
            placer_order_number=self.placer_order_number,
            filler_order_number=self.filler_order_number,
            accession_numbers=tuple(self.accession_numbers),
            accession_number_issuer=self.accession_number_issuer,
            study_instance_uids=tuple(self.study_instance_uids),
            visit_number=self.visit_number,
            procedure=self.procedure,
            priority=None if self.priority is None else Priority[self.priority],
            texts=tuple(ReceivedOrderText(entry.source, entry.text) for entry in self.texts),
            scheduled_at=self.scheduled_at,
            due_at=self.due_at,
            site=self.site,
            sent_at=self.sent_at,
        )


class OrderOut(BaseModel):
    """An order as it is now. version: raised by each change. origin: by which interface it came."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    origin: Origin
    sender: str
    status: OrderStatus
    patient_id: str
    patient_id_issuer: str
    other_patient_ids: list[dict[str, str]]
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    placer_order_number: str
    filler_order_number: str
    accession_numbers: list[str]
    accession_number_issuer: str
    study_instance_uids: list[str]
    visit_number: str
    texts: list[dict[str, str]]
    procedure: str
    priority: str | None
    scheduled_at: dt.datetime | None
    due_at: dt.datetime | None
    site: str
    sent_at: dt.datetime | None
    version: int
    received_at: dt.datetime
    changed_at: dt.datetime

    @classmethod
    def from_row(cls, order: order_tables.Order) -> OrderOut:
        """The order of a row, with its priority by name."""
        same_fields = {
            name: getattr(order, name) for name in cls.model_fields if name != "priority"
        }
        priority = None if order.priority is None else Priority(order.priority).name
        return cls(**same_fields, priority=priority)


class OrderResult(BaseModel):
    """What was done with an order. studies: our ids of those for which it counts from now on."""

    outcome: OrderOutcome
    order: OrderOut
    studies: list[uuid.UUID]


class CancellationRequest(BaseModel):
    """Who cancels an order."""

    model_config = ConfigDict(extra="forbid")

    by: Decider = ""


class OrderPage(BaseModel):
    """Orders, newest change first; `next` is the `after` of the following page."""

    orders: list[OrderOut]
    next: str | None

    @classmethod
    def from_page(cls, page: reading.OrderPage) -> OrderPage:
        """The page of a list."""
        return cls(orders=[OrderOut.from_row(order) for order in page.orders], next=page.next)


class OrderChange(BaseModel):
    """A line of an order's history. message: our id of the message that brought it.

    origin, sender: the interface and the system whose message changed it; of PERSON, who moved it
    with its study to another site or took back the merge of its patient; of STUDY, the UID of the
    study whose site it took. old_values, new_values: the fields that changed, by their names.
    """

    model_config = ConfigDict(from_attributes=True)

    at: dt.datetime
    kind: OrderChangeKind
    origin: ChangeOrigin
    sender: str
    message_id: uuid.UUID | None
    old_values: dict[str, Any]
    new_values: dict[str, Any]


class OrderStudy(BaseModel):
    """A study that an order was matched with, and whether the order counts for it.

    study: our id. matched_by: ACCESSION, STUDY, or PERSON. decided_by: who decided about it.
    """

    study: uuid.UUID
    study_instance_uid: str
    state: MatchState
    matched_by: str
    matched_at: dt.datetime
    decided_by: str


class OrderDetail(BaseModel):
    """An order with its history and its studies, each in the order of time.

    belongs_to: code of the site whose people see it.
    """

    order: OrderOut
    belongs_to: str
    changes: list[OrderChange]
    studies: list[OrderStudy]

    @classmethod
    def from_record(cls, record: reading.OrderRecord) -> OrderDetail:
        """The order of a record."""
        return cls(
            order=OrderOut.from_row(record.order),
            belongs_to=record.site_code,
            changes=[OrderChange.model_validate(change) for change in record.changes],
            studies=[
                OrderStudy(
                    study=study.id,
                    study_instance_uid=study.study_instance_uid,
                    state=MatchState(match.state),
                    matched_by=match.matched_by,
                    matched_at=match.matched_at,
                    decided_by=match.decided_by,
                )
                for match, study in record.studies
            ],
        )
