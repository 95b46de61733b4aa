"""What REST takes and gives of messages of other systems, as pydantic models."""

from __future__ import annotations

import datetime as dt
import uuid

from pydantic import BaseModel, ConfigDict

from api.schemas import Decider
from records.database import order_tables
from records.received_messages import MessagePage
from records.states import MessageOutcome, Origin


class ReceivedMessage(BaseModel):
    """A message of another system, and what it was answered.

    control_id: MSH-10, or what stands in its place. processing_id: MSH-11. answer_code: AA, AE, AR,
    CA, CE, CR, or an HTTP status. error_code: of HL7 table 0357. sentence, location: why it was
    refused, and the field at fault. repeats: how often it came again. settled_at, settled_by: when
    a person dealt with a refused one, and who.
    """

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    received_at: dt.datetime
    origin: Origin
    sender: str
    control_id: str
    message_type: str
    processing_id: str
    outcome: MessageOutcome
    answer_code: str
    error_code: str
    sentence: str
    location: str
    repeats: int
    settled_at: dt.datetime | None
    settled_by: str


class ReceivedMessages(BaseModel):
    """Messages, newest first; `next` is the `after` of the following page."""

    messages: list[ReceivedMessage]
    next: str | None

    @classmethod
    def from_page(cls, page: MessagePage) -> ReceivedMessages:
        """The page of a list."""
        return cls(
            messages=[ReceivedMessage.model_validate(row) for row in page.messages], next=page.next
        )


class ReceivedMessageDetail(ReceivedMessage):
    """A message with its content.

    lines: its segments, as they were sent, of a message that was refused; null where they are not
    kept, and `why_no_lines` says why. orders: our ids of the orders that it brought or changed.
    """

    lines: list[str] | None
    why_no_lines: str
    orders: list[uuid.UUID]

    @classmethod
    def from_row(
        cls,
        row: order_tables.ReceivedMessage,
        lines: list[str] | None,
        why_no_lines: str,
        orders: list[uuid.UUID],
    ) -> ReceivedMessageDetail:
        """The message of a row."""
        summary = ReceivedMessage.model_validate(row).model_dump()
        return cls(**summary, lines=lines, why_no_lines=why_no_lines, orders=orders)


class SettlementRequest(BaseModel):
    """A person has dealt with a refused message: by whom."""

    by: Decider = ""
