"""Reads orders out of ORM^O01, OMI^O23 and OMG^O19 (HL7 2.9, chapter 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intake.hl7.field_reader import FieldReader
from intake.hl7.header import Header
from intake.hl7.mapping import FieldMapping
from intake.hl7.refusal import ErrorCode, MessageRefused
from intake.hl7.rules import STATUS_ACTIONS
from records.hl7_messages import Segment
from records.orders.order import OrderAction, OrderText, ReceivedOrder
from records.states import OrderTextSource, Origin, Priority
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient

_TEXTS = {
    "reason": OrderTextSource.REASON,
    "reason_code": OrderTextSource.REASON_CODE,
    "clinical_information": OrderTextSource.CLINICAL_INFORMATION,
    "note": OrderTextSource.NOTE,
    "diagnosis": OrderTextSource.DIAGNOSIS,
}
"""Rule -> what its text is."""

_OF_OTHERS = ("NTE", "OBX", "PRT")
"""Segments before the first order that are about the patient or the visit."""


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """An order of a message, and which field gave which of its values."""

    order: ReceivedOrder
    used: dict[str, str]

    def describe(self) -> tuple[str, dict[str, str]]:
        """What it is in words, and its values by the names of the rules."""
        order = self.order
        texts = {text.source: text.text for text in order.texts}
        return f"order: {order.action.lower()}", {
            **describe_patient(order.patient, order.other_patient_ids),
            "visit_number": order.visit_number,
            "placer_order_number": order.placer_order_number,
            "filler_order_number": order.filler_order_number,
            "accession_numbers": describe_accessions(
                order.accession_numbers, order.accession_number_issuer
            ),
            "study_instance_uids": ", ".join(order.study_instance_uids),
            "procedure": order.procedure,
            **{rule: texts.get(source, "") for rule, source in _TEXTS.items()},
            "priority": "" if order.priority is None else order.priority.name,
            "scheduled_at": order.scheduled_at.isoformat() if order.scheduled_at else "",
            "due_at": order.due_at.isoformat() if order.due_at else "",
            "site": order.site,
        }


def read_orders(
    segments: Sequence[Segment], header: Header, mapping: FieldMapping
) -> list[ReadOrder]:
    """Read the orders of a message: one for each OBR, with the ORC before it and all after it.

    Raises:
        MessageRefused: A segment or a value is missing or cannot be used.
    """
    if not any(segment.name == "PID" for segment in segments):
        raise MessageRefused(
            ErrorCode.SEGMENT_SEQUENCE, "PID", "the message has no PID: it names no patient"
        )
    shared, groups = split_groups(segments)
    if not groups:
        raise MessageRefused(
            ErrorCode.SEGMENT_SEQUENCE, "ORC", "the message has no ORC: it holds no order"
        )
    return [_read_order([*shared, *group], header, mapping) for group in groups]


def split_groups(segments: Sequence[Segment]) -> tuple[list[Segment], list[list[Segment]]]:
    """Split a message into what counts for all its orders, and the segments of each order.

    An order begins at ORC; a second OBR of one ORC is an order of its own, with the same ORC.
    """
    shared: list[Segment] = []
    groups: list[list[Segment]] = []
    for segment in segments:
        if segment.name == "ORC":
            groups.append([segment])
        elif not groups:
            if segment.name not in _OF_OTHERS:
                shared.append(segment)
        elif segment.name == "OBR" and any(other.name == "OBR" for other in groups[-1]):
            before = [other.name for other in groups[-1]].index("OBR")
            groups.append([*groups[-1][:before], segment])
        else:
            groups[-1].append(segment)
    studies = [segment for segment in segments if segment.name == "ZDS"]
    # One ZDS at the end is of all orders of the message (IHE RAD TF-2, 4.4.4.1.2.2.4).
    return [*shared, *(studies if len(studies) == 1 else [])], groups


def _read_order(segments: Sequence[Segment], header: Header, mapping: FieldMapping) -> ReadOrder:
    reader = FieldReader(mapping, segments)
    control = next(segment for segment in segments if segment.name == "ORC")
    action = _action(control, mapping)
    if action is not OrderAction.CANCEL and not any(s.name == "OBR" for s in segments):
        raise MessageRefused(
            ErrorCode.SEGMENT_SEQUENCE, "OBR", "the order has no OBR: it asks for nothing"
        )
    patient, other_ids = reader.patient()
    if not patient.patient_id:
        raise MessageRefused(ErrorCode.REQUIRED_FIELD, "PID-3", "the message names no patient id")
    accessions = reader.numbers("accession_numbers")
    order = ReceivedOrder(
        origin=Origin.HL7,
        sender=header.sender,
        action=action,
        patient=patient,
        other_patient_ids=other_ids,
        placer_order_number=reader.number("placer_order_number"),
        filler_order_number=reader.number("filler_order_number"),
        accession_numbers=tuple(dict.fromkeys(number.id for number in accessions)),
        accession_number_issuer=next((n.issuer for n in accessions if n.issuer), ""),
        study_instance_uids=tuple(uid.id for uid in reader.numbers("study_instance_uids")),
        visit_number=visit_number(reader),
        texts=_texts(reader),
        procedure=reader.first("procedure"),
        priority=_priority(reader),
        scheduled_at=reader.time("scheduled_at"),
        due_at=reader.time("due_at"),
        site=reader.first("site"),
        sent_at=reader.sending_time(header.sent),
    )
    if not order.identity:
        raise MessageRefused(
            ErrorCode.REQUIRED_FIELD,
            "ORC-2",
            "the order has no placer or filler number, no accession number and no study UID",
        )
    return ReadOrder(order, reader.used)


def describe_patient(patient: Patient, others: Sequence[PatientId]) -> dict[str, str]:
    """The values of a patient by the names of the rules."""
    ids = [PatientId(patient.patient_id, patient.issuer), *others]
    return {
        "patient_id": ", ".join(f"{given.id}^{given.issuer}".rstrip("^") for given in ids),
        "patient_name": patient.name,
        "patient_birth_date": patient.birth_date,
        "patient_sex": patient.sex,
    }


def describe_accessions(numbers: Sequence[str], issuer: str) -> str:
    """Accession numbers in one line."""
    return ", ".join(numbers) + (f" of {issuer}" if issuer and numbers else "")


def visit_number(reader: FieldReader) -> str:
    """The visit with its issuer after a `^` (PV1-19.1 and .4); "" where none is given."""
    for source in reader.mapping.sources["visit_number"]:
        if found := reader.ids_at(source):
            reader.used["visit_number"] = source.name
            return f"{found[0].id}^{found[0].issuer}".rstrip("^")
    return ""


def _action(control: Segment, mapping: FieldMapping) -> OrderAction:
    code = control.part(1).upper()
    if not code:
        raise MessageRefused(
            ErrorCode.REQUIRED_FIELD, "ORC-1", "ORC-1 is empty: it does not say what to do"
        )
    try:
        action = mapping.actions[code]
    except KeyError:
        raise MessageRefused(
            ErrorCode.TABLE_VALUE,
            "ORC-1",
            "ORC-1 holds a code that is not known here; a mapping file can say what it does",
        ) from None
    if action is OrderAction.CANCEL:
        return action
    return STATUS_ACTIONS.get(control.part(5).upper(), action)


def _texts(reader: FieldReader) -> tuple[OrderText, ...]:
    texts = {
        rule: reader.first(rule) if rule == "reason_code" else reader.joined(rule)
        for rule in _TEXTS
    }
    if texts["reason"]:
        texts["reason_code"] = ""
        reader.used.pop("reason_code", None)
    return tuple(OrderText(_TEXTS[rule], text) for rule, text in texts.items() if text)


def _priority(reader: FieldReader) -> Priority | None:
    """The first code that is known; a code that is not known says nothing."""
    for source in reader.mapping.sources["priority"]:
        for code, _ in reader.values(source):
            priority = reader.mapping.priorities.get(code.upper())
            if priority is not None:
                reader.used["priority"] = source.name
                return priority
    return None
