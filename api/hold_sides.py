"""The two sides of holds that are about orders and reports, compared for a person."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.related_schemas import ComparedField, FieldName, HeldOrder, StatedReason
from records.database.order_tables import Order
from records.database.tables import Study
from records.orders import reading
from records.orders.matching import order_patient
from records.states import MatchState, Origin
from records.workflow.patients import Patient, differing_fields

_FIELDS: tuple[FieldName, ...] = ("patient_id", "issuer", "name", "birth_date", "sex")


def list_held_orders(session: Session, study: Study) -> list[HeldOrder]:
    """The orders that an open ORDER_MISMATCH hold of the study is about."""
    return [
        _held_order(study, order)
        for match, order in reading.list_by_study(session, study.id)
        if match.state == MatchState.MISMATCH
    ]


def compare_patients(study: Study, order: Order) -> list[ComparedField]:
    """The patient of a study's films and of an order, field by field."""
    ours, theirs = Patient.of_study(study), order_patient(order)
    differing = differing_fields(ours, theirs)
    return [
        ComparedField(
            name=name,
            study=getattr(ours, name),
            order=getattr(theirs, name),
            differs=name in differing,
        )
        for name in _FIELDS
    ]


def _held_order(study: Study, order: Order) -> HeldOrder:
    return HeldOrder(
        order=order.id,
        origin=Origin(order.origin),
        sender=order.sender,
        changed_at=order.changed_at,
        accession_numbers=order.accession_numbers,
        procedure=order.procedure,
        texts=[StatedReason(**text) for text in order.texts],
        other_patient_ids=order.other_patient_ids,
        fields=compare_patients(study, order),
    )
