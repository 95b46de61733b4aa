"""Which orders count for which study: by accession number or study UID, and by patient.

Another study UID with the right accession number is usual: modalities make UIDs of their own. So an
order's study UID alone never excludes a study.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.order_tables import Order, OrderKey, StudyOrder
from records.database.tables import Study
from records.states import EventKind, HoldReason, MatchState
from records.workflow import events, holds
from records.workflow.identifiers import KeyKind, make_keys, patient_ids
from records.workflow.patients import Patient
from records.workflow.study_lookup import find_study_ids, is_of_patient, study_keys

COUNTING = (MatchState.MATCHED, MatchState.ACCEPTED)
"""The states of an order whose texts a draft is made from."""


def order_patient(order: Order) -> Patient:
    """The patient of an order."""
    return Patient(
        order.patient_id,
        order.patient_id_issuer,
        order.patient_name,
        order.patient_birth_date,
        order.patient_sex,
    )


def is_for_patient(order: Order, study: Study) -> bool:
    """Whether an order may be for the patient of a study; see `study_lookup.is_of_patient`."""
    return is_of_patient(study, order_patient(order), patient_ids(order))


def find_orders(session: Session, study: Study) -> Sequence[Order]:
    """The orders with one of the study's keys, newest first, whoever the patient is."""
    keys = study_keys(study)
    if not keys:
        return []
    return session.scalars(
        select(Order)
        .where(
            Order.id.in_(
                select(OrderKey.order_id).where(
                    or_(*(and_(OrderKey.kind == kind, OrderKey.value == v) for kind, v in keys))
                )
            )
        )
        .order_by(Order.changed_at.desc(), Order.id.desc())
    ).all()


def find_studies(session: Session, order: Order) -> Sequence[uuid.UUID]:
    """Our ids of the studies with one of the order's keys."""
    return find_study_ids(session, order.accession_numbers, order.study_instance_uids)


def match(session: Session, study: Study, order: Order) -> MatchState:
    """Keep whether an order counts for a study; what a person decided stays.

    An order with the study's accession number that is for another patient opens a hold.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        order: an order with one of the study's keys.
    """
    known = session.get(StudyOrder, (study.id, order.id), populate_existing=True)
    if known is not None and known.state in (MatchState.ACCEPTED, MatchState.REFUSED):
        return MatchState(known.state)
    state = MatchState.MATCHED if is_for_patient(order, study) else MatchState.MISMATCH
    keys = study_keys(study) & make_keys(accession=order.accession_numbers)
    matched_by = KeyKind.ACCESSION if keys else KeyKind.STUDY
    if known is not None and known.state == state:
        return state
    session.execute(
        insert(StudyOrder)
        .values(study_id=study.id, order_id=order.id, state=state, matched_by=matched_by)
        .on_conflict_do_update(
            index_elements=["study_id", "order_id"],
            set_={"state": state, "matched_by": matched_by, "matched_at": func.clock_timestamp()},
        )
    )
    if state is MatchState.MISMATCH:
        holds.open_hold(
            session, study.id, HoldReason.ORDER_MISMATCH, f"by {order.origin} from {order.sender}"
        )
    events.append_event(
        session, study.id, EventKind.ORDER, f"{state.lower()}: order by {order.origin}"
    )
    return state


def match_study(session: Session, study: Study) -> list[Order]:
    """Match all orders with a study's keys.

    The sweep calls it for a study that is complete, and preparing calls it again: an order that was
    being committed while the sweep looked is found then.

    Returns:
        The orders that count for the study, newest first.
    """
    orders = find_orders(session, study)
    return [order for order in orders if match(session, study, order) in COUNTING]
