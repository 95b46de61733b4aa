"""Orders are kept, matched with studies, and take effect there."""

import datetime as dt
from dataclasses import replace

import pytest
from sqlalchemy import select

from records.database.draft_tables import DraftRequest
from records.database.order_tables import Order, OrderChange, StudyOrder
from records.database.session import unit_of_work
from records.database.tables import Hold, Study
from records.errors import MessageError
from records.orders.order import OrderAction, OrderText
from records.orders.receiving import OrderOutcome, receive_orders
from records.states import (
    HoldReason,
    MatchState,
    OrderChangeKind,
    OrderTextSource,
    Priority,
    RequestState,
)
from records.workflow.identifiers import PatientId
from tests.support.ordered_studies import complete, draft, new_order, receive
from tests.support.registered_studies import OTHER_PATIENT, PATIENT, new_instance


def read(column, *conditions):
    with unit_of_work() as session:
        return session.scalars(select(column).where(*conditions)).all()


def test_an_order_is_kept_once_and_its_history_says_what_changed(database):
    assert receive().outcome is OrderOutcome.PLACED
    assert receive().outcome is OrderOutcome.UNCHANGED
    later = OrderText(OrderTextSource.REASON, "Chest pain.")
    assert receive(texts=(later,)).outcome is OrderOutcome.CHANGED
    assert receive(action=OrderAction.CANCEL, texts=()).outcome is OrderOutcome.CANCELLED
    (order,) = read(Order)
    assert order.texts == [{"source": "order_reason", "text": "Chest pain."}]
    assert (order.status, order.version) == ("CANCELLED", 3)
    assert read(OrderChange.kind) == [
        OrderChangeKind.PLACED,
        OrderChangeKind.CHANGED,
        OrderChangeKind.CANCELLED,
    ]


def test_an_older_message_changes_nothing(database):
    noon = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
    receive(sent_at=noon, action=OrderAction.CANCEL)
    result = receive(sent_at=noon - dt.timedelta(minutes=1))
    assert result.outcome is OrderOutcome.OUTDATED
    assert read(Order.status) == ["CANCELLED"]


def test_an_order_after_the_draft_makes_a_new_draft(database):
    (study_id,) = complete(new_instance(accession_number="a1"))
    draft()
    assert receive(priority=Priority.STAT).study_ids == (study_id,)
    (study,) = read(Study)
    assert (study.state, study.revision, study.priority) == ("RECEIVING", 2, Priority.STAT)
    assert read(StudyOrder.state) == [MatchState.MATCHED]


def test_an_order_for_another_patient_opens_a_hold_and_changes_nothing_else(database):
    complete(new_instance())
    assert receive(patient=OTHER_PATIENT, priority=Priority.STAT).study_ids == ()
    assert read(Hold.reason) == [HoldReason.ORDER_MISMATCH]
    assert read(StudyOrder.state) == [MatchState.MISMATCH]
    assert read(DraftRequest.state) == [RequestState.WAITING]
    assert read(Study.priority) == [Priority.ROUTINE]


def test_control_characters_and_endless_values_are_not_kept(database):
    bad = OrderText(OrderTextSource.NOTE, "Cough\x00 since\r\nMonday\x1b[31m\u202e" + "x" * 20_000)
    result = receive(texts=(bad,), procedure="XR\x00 CHEST\n2 views", site="s" * 400)
    (order,) = read(Order)
    assert order.id == result.order_id
    assert order.texts[0]["text"].startswith("Cough since\nMonday[31mxxx")
    assert (len(order.texts[0]["text"]), order.procedure) == (10_240, "XR CHEST 2 views")
    assert len(order.site) == 256


def test_several_orders_of_one_message_are_one_call_in_whichever_sequence(database):
    complete(new_instance("1.1", accession_number="A1"), new_instance("1.2", accession_number="A2"))
    orders = [
        new_order(placer_order_number=number, accession_numbers=(accession,))
        for number, accession in (("9", "A2"), ("8", "A1"), ("9", "A2"))
    ]
    with unit_of_work() as session:
        results = receive_orders(session, orders)
    outcomes = [result.outcome for result in results]
    assert outcomes == [OrderOutcome.PLACED, OrderOutcome.PLACED, OrderOutcome.UNCHANGED]
    assert results[0].study_ids != results[1].study_ids
    assert len(results[0].study_ids) == len(results[1].study_ids) == 1


@pytest.mark.parametrize("nothing", ["", " ", "\x01\x02", "\t\n", "\u202e \ufeff"])
def test_what_has_no_letter_identifies_neither_a_patient_nor_an_order(database, nothing):
    with pytest.raises(MessageError, match="no patient id"):
        receive(patient=replace(PATIENT, patient_id=nothing))
    with pytest.raises(MessageError, match="no number"):
        receive(
            placer_order_number=nothing,
            accession_numbers=(nothing, nothing),
            study_instance_uids=(nothing, nothing),
        )
    assert read(Order) == []
    blank = OrderText(OrderTextSource.NOTE, nothing)
    receive(other_patient_ids=(PatientId(nothing, "X"), PatientId("P-9")), texts=(blank,))
    (order,) = read(Order)
    assert order.other_patient_ids == [{"id": "P-9", "issuer": ""}]
    assert order.texts == []
