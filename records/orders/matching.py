"""Which orders count for which study: by accession number or study UID, and by patient.

Another study UID with the right accession number is usual: modalities make UIDs of their own. So an
order's study UID alone never excludes a study.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, any_, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.order_tables import Order, OrderKey, StudyOrder
from records.database.tables import Study
from records.orders.order import patient_ids
from records.states import EventKind, HoldReason, MatchState
from records.workflow import events, holds
from records.workflow.identifiers import KeyKind, PatientId, make_keys, plain_key
from records.workflow.patients import Patient, same_patient

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
    """Whether an order may be for the patient of a study.

    The study's id must be one of the order's, with an issuer that does not contradict it. Where one
    of the two gives no id, name and birth date decide as they do between films.
    """
    ours = PatientId(study.patient_id, study.patient_id_issuer)
    theirs = patient_ids(order)
    if not (ours.id.strip() and theirs):
        return same_patient(order_patient(order), Patient.of_study(study))
    return any(not ours.contradicts(other) for other in theirs)


def study_keys(study: Study) -> set[tuple[str, str]]:
    """The keys by which a study's orders are found."""
    return make_keys(
        accession=[study.accession_number, *study.requested_accession_numbers],
        study=[study.study_instance_uid],
    )


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
    accessions = sorted({plain_key(number) for number in order.accession_numbers if number.strip()})
    conditions: list[ColumnElement[bool]] = [
        Study.study_instance_uid.in_(order.study_instance_uids)
    ]
    for number in accessions:
        # The index of the search is on these very expressions.
        conditions.append(func.upper(Study.accession_number.collate("C")) == number)
    found = set(session.scalars(select(Study.id).where(or_(*conditions))))
    for number in order.accession_numbers:
        found |= set(
            session.scalars(
                select(Study.id).where(
                    Study.requested_accession_numbers.op("<>")("{}"),
                    literal(number) == any_(Study.requested_accession_numbers),
                )
            )
        )
    return sorted(found)


def match(
    session: Session, study: Study, order: Order, matched_by: KeyKind | None = None
) -> MatchState:
    """Keep whether an order counts for a study; what a person decided stays.

    An order with the study's accession number that is for another patient opens a hold.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        order: an order with one of the study's keys.
        matched_by: what they have in common, where it is no key: an order that a worklist gave for
            the study's patient and date.
    """
    known = session.get(StudyOrder, (study.id, order.id), populate_existing=True)
    if known is not None and known.state in (MatchState.ACCEPTED, MatchState.REFUSED):
        return MatchState(known.state)
    state = MatchState.MATCHED if is_for_patient(order, study) else MatchState.MISMATCH
    keys = study_keys(study) & make_keys(accession=order.accession_numbers)
    matched_by = matched_by or (KeyKind.ACCESSION if keys else KeyKind.STUDY)
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
