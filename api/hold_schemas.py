"""What REST gives of the two sides of holds about orders and reports."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Literal

from pydantic import BaseModel

from records.states import OrderTextSource, Origin

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


class HeldOrderText(BaseModel):
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
    texts: list[HeldOrderText]
    other_patient_ids: list[dict[str, str]]
    fields: list[ComparedField]
