"""Orders are kept, matched with studies, and take effect there."""

import datetime as dt

from sqlalchemy import select

from records.database.order_tables import Order, OrderChange, StudyOrder
from records.database.session import unit_of_work
from records.database.tables import DraftRequest, Hold, Study
from records.orders.order import OrderAction, OrderText, ReceivedOrder
from records.orders.receiving import OrderOutcome, receive_order
from records.states import (
    HoldReason,
    MatchState,
    OrderChangeKind,
    OrderTextSource,
    Origin,
    Priority,
    RequestState,
)
from tests.support.registered_studies import (
    OTHER_PATIENT,
    PATIENT,
    complete,
    draft_all,
    new_instance,
)

WHY = OrderText(OrderTextSource.REASON, "Fever and cough.")


def new_order(**changed):
    values = {
        "origin": Origin.HL7,
        "sender": "RIS|HOSPITAL",
        "action": OrderAction.PLACE,
        "patient": PATIENT,
        "placer_order_number": "77",
        "accession_numbers": ("A1",),
        "texts": (WHY,),
    }
    return ReceivedOrder(**(values | changed))


def receive(**changed):
    with unit_of_work() as session:
        return receive_order(session, new_order(**changed))


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
    draft_all()
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
