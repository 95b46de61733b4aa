"""An order as a system sends it, whatever the interface: HL7, FHIR, a worklist, REST or a file."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from records.received_text import clean_line, clean_numbers, clean_text, join_numbers
from records.states import OrderTextSource, Origin, Priority
from records.workflow.identifiers import PatientId, plain_key
from records.workflow.patients import Patient


class OrderAction(StrEnum):
    """What a message does with an order (HL7 table 0119, ORC-1)."""

    PLACE = "PLACE"  # NW; also a change of an order that is not known
    CHANGE = "CHANGE"  # XO, RP, SC, SN: the same as PLACE where the order is not known
    COMPLETE = "COMPLETE"  # SC with ORC-5 = CM
    CANCEL = "CANCEL"  # CA, DC, OC: an order that is not known is kept as cancelled


@dataclass(frozen=True, slots=True)
class OrderText:
    """Something that an order says about why the examination was requested."""

    source: OrderTextSource
    text: str


@dataclass(frozen=True, slots=True)
class ReceivedOrder:
    """One order as it was sent. Texts are untrusted; nothing of it may be logged.

    Attributes:
        origin: by which interface it came.
        sender: who sent it: MSH-3 and MSH-4, a FHIR client, an AE title, a file's name.
        action: what the message does with the order.
        patient: the patient, with the id that (0010,0020) is most likely to hold.
        other_patient_ids: the patient's further ids (repetitions of PID-3).
        placer_order_number: ORC-2 or OBR-2, with its namespace after a `^`.
        filler_order_number: ORC-3 or OBR-3, with its namespace.
        accession_numbers: (0008,0050) of the studies to come.
        accession_number_issuer: (0008,0051).
        study_instance_uids: (0020,000D) where the order gives it (ZDS-1, IPC-3).
        visit_number: PV1-19.
        texts: why it was requested.
        procedure: what was requested (OBR-4, ServiceRequest.code): never an indication.
        priority: how urgent; None where it is not said.
        scheduled_at, due_at: when it is to be performed and reported; with a time zone.
        site: where it comes from.
        sent_at: by the sender's clock (MSH-7, meta.lastUpdated); an older message than the last one
            changes nothing.
        known_identity: which order it is, where the interface says that by an address of its own.
    """

    origin: Origin
    sender: str
    action: OrderAction
    patient: Patient
    other_patient_ids: tuple[PatientId, ...] = ()
    placer_order_number: str = ""
    filler_order_number: str = ""
    accession_numbers: tuple[str, ...] = ()
    accession_number_issuer: str = ""
    study_instance_uids: tuple[str, ...] = ()
    visit_number: str = ""
    texts: tuple[OrderText, ...] = ()
    procedure: str = ""
    priority: Priority | None = None
    scheduled_at: dt.datetime | None = None
    due_at: dt.datetime | None = None
    site: str = ""
    sent_at: dt.datetime | None = field(default=None, compare=False)
    known_identity: str = ""

    @property
    def identity(self) -> str:
        """What is equal in two messages about one order; "" where nothing identifies it.

        The filler's number is the department's own, and so is the accession number; a placer's
        number is only unique to its sender.
        """
        if self.known_identity:
            return self.known_identity
        # A worklist, a RIS and an order entry system may all tell of one order; each keeps a row of
        # its own, so that one's silence does not erase what another one said.
        prefix = f"{self.origin}|{plain_key(clean_line(self.sender))}|"
        for kind, value in (
            ("filler", self.filler_order_number),
            ("placer", self.placer_order_number),
            ("accession", join_numbers(self.accession_numbers)),
            ("study", join_numbers(self.study_instance_uids)),
        ):
            if number := plain_key(clean_line(value)):
                return f"{prefix}{kind}|{number}"
        return ""

    def columns(self) -> dict[str, Any]:
        """The columns of `orders` that the message fills, without control characters."""
        patient = self.patient
        lines = {
            "placer_order_number": self.placer_order_number,
            "filler_order_number": self.filler_order_number,
            "accession_number_issuer": self.accession_number_issuer,
            "patient_id": patient.patient_id,
            "patient_id_issuer": patient.issuer,
            "patient_name": patient.name,
            "patient_birth_date": patient.birth_date,
            "patient_sex": patient.sex,
            "visit_number": self.visit_number,
            "procedure": self.procedure,
            "site": self.site,
        }
        texts = [(text.source.value, clean_text(text.text)) for text in self.texts]
        return {
            **{name: clean_line(value) for name, value in lines.items()},
            "accession_numbers": clean_numbers(self.accession_numbers),
            "study_instance_uids": clean_numbers(self.study_instance_uids),
            "other_patient_ids": [
                PatientId(number, clean_line(other.issuer)).as_json()
                for other in self.other_patient_ids
                if (number := clean_line(other.id))
            ],
            "texts": [{"source": source, "text": text} for source, text in texts if text],
            "priority": None if self.priority is None else int(self.priority),
            "scheduled_at": self.scheduled_at,
            "due_at": self.due_at,
        }
