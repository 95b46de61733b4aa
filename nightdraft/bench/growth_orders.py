"""What orders cost among few and among millions: the operations of `nightdraft bench growth`."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select

from nightdraft.bench.operation import Operation, new_film, register
from records.database.draft_tables import DraftRequest
from records.database.session import unit_of_work
from records.orders import effects
from records.orders.order import OrderAction, OrderText, ReceivedOrder
from records.orders.receiving import receive_orders
from records.patient_changes import correct_patient, merge_patients, move_visit
from records.states import OrderTextSource, Origin, RequestState
from records.workflow import studies
from records.workflow.arrivals import ReceivedInstance
from records.workflow.identifiers import PatientId

_numbers = itertools.count(1)
_ADT = (Origin.HL7, "ADT")


def order_operations() -> list[Operation]:
    """Orders that come, studies that are matched, and patients that are changed."""
    return [
        Operation("take an order before its film", _receive, lambda _: [_order_for(new_film())]),
        Operation("take an order of a waiting study", _receive, lambda _: [_waiting_order()]),
        Operation("take the same order again", _receive, lambda _: _taken_order()),
        Operation("match and close 8 studies", lambda _: _close(8), lambda _: _film_and_order(8)),
        Operation("read a study's orders to prepare it", _prepare, lambda _: _some_study()),
        Operation("correct a patient", _correct, lambda _: _taken_order()),
        Operation("merge two patients", _merge, lambda _: _taken_order()),
        Operation("move a visit", _move, lambda _: _taken_order()),
    ]


def _order_for(film: ReceivedInstance) -> ReceivedOrder:
    number = f"B{next(_numbers)}"
    return ReceivedOrder(
        origin=Origin.HL7,
        sender="RIS",
        action=OrderAction.PLACE,
        patient=film.patient,
        placer_order_number=number,
        accession_numbers=(film.accession_number,),
        visit_number=f"VISIT{number}",
        texts=(OrderText(OrderTextSource.REASON, "Cough."),),
    )


def _receive(orders: Sequence[ReceivedOrder]) -> None:
    with unit_of_work() as session:
        receive_orders(session, orders)


def _film_and_order(count: int) -> list[ReceivedOrder]:
    """Studies that have arrived after their orders."""
    orders = []
    for _ in range(count):
        film = new_film()
        orders.append(_order_for(film))
        _receive(orders[-1:])
        register(film)
    return orders


def _taken_order() -> list[ReceivedOrder]:
    """An order that is matched with a study that waits to be prepared."""
    orders = _film_and_order(1)
    _close(1)
    return orders


def _close(limit: int) -> None:
    with unit_of_work() as session:
        effects.take_up_closed(session, studies.close_quiet(session, 0.0, limit))


def _waiting_order() -> ReceivedOrder:
    return replace(_taken_order()[0], texts=(OrderText(OrderTextSource.REASON, "Fever."),))


def _some_study() -> uuid.UUID:
    with unit_of_work() as session:
        return session.scalars(
            select(DraftRequest.study_id)
            .where(DraftRequest.state == RequestState.WAITING, DraftRequest.claimable)
            .limit(1)
        ).one()


def _prepare(study_id: uuid.UUID) -> None:
    with unit_of_work() as session:
        effects.take_up_for_preparing(session, study_id)


def _ids(order: ReceivedOrder) -> list[PatientId]:
    return [PatientId(order.patient.patient_id)]


def _correct(orders: Sequence[ReceivedOrder]) -> None:
    (order,) = orders
    with unit_of_work() as session:
        named = replace(order.patient, name="FAMILY^MARRIED")
        correct_patient(session, *_ADT, _ids(order), named, None)


def _merge(orders: Sequence[ReceivedOrder]) -> None:
    (order,) = orders
    surviving = new_film().patient
    with unit_of_work() as session:
        merge_patients(session, *_ADT, surviving, [], _ids(order), None)


def _move(orders: Sequence[ReceivedOrder]) -> None:
    (order,) = orders
    with unit_of_work() as session:
        move_visit(session, *_ADT, new_film().patient, [], order.visit_number, None)
