"""One order that is named by its placer's number, its filler's, or both, stays one order."""

import pytest

from records.database.order_tables import Order
from records.database.session import unit_of_work
from records.errors import MessageError
from records.orders.order import OrderAction
from records.orders.receiving import receive_orders
from records.states import Origin
from records.workflow.patients import Patient
from tests.support.ordered_studies import new_order, receive

PLACER = {"placer_order_number": "P7^OE", "filler_order_number": ""}
BOTH = {"placer_order_number": "P7^OE", "filler_order_number": "F1^RIS"}
FILLER = {"placer_order_number": "", "filler_order_number": "F1^RIS"}


def orders():
    """The numbers and the status of each order."""
    with unit_of_work() as session:
        return sorted(
            (order.placer_order_number, order.filler_order_number, order.status)
            for order in session.query(Order)
        )


@pytest.mark.parametrize(
    "sequence",
    [
        (PLACER, BOTH),
        (PLACER, BOTH, PLACER, FILLER),
        (BOTH, PLACER),
        (BOTH, FILLER),
        (FILLER, BOTH, PLACER),
        (PLACER, {**BOTH, "placer_order_number": " p7^oe "}, FILLER),
    ],
)
def test_messages_about_one_order_are_one_order(database, sequence):
    for numbers in sequence[:-1]:
        receive(**numbers)
    receive(**sequence[-1], action=OrderAction.CANCEL)
    ((placer, filler, status),) = orders()
    assert (placer.strip().upper(), filler, status) == ("P7^OE", "F1^RIS", "CANCELLED")


def test_messages_of_one_transaction_find_each_other(database):
    with unit_of_work() as session:
        sent = [new_order(**numbers) for numbers in (PLACER, BOTH, FILLER)]
        results = receive_orders(session, sent)
    assert len({result.order_id for result in results}) == 1
    assert orders() == [("P7^OE", "F1^RIS", "ACTIVE")]


@pytest.mark.parametrize(
    "other",
    [
        {**BOTH, "filler_order_number": "F2^RIS"},  # two examinations of one request
        {**PLACER, "placer_order_number": "P7^ICU"},  # two placers count alike
        {**PLACER, "sender": "ANOTHER"},
        {**PLACER, "origin": Origin.REST},
    ],
)
def test_two_orders_stay_two(database, other):
    receive(**BOTH)
    receive(**other)
    assert len(orders()) == 2


def test_a_placers_number_of_two_orders_decides_nothing(database):
    receive(**BOTH)
    receive(**{**BOTH, "filler_order_number": "F2^RIS"})
    receive(**PLACER)
    assert [filler for _, filler, _ in orders()] == ["", "F1^RIS", "F2^RIS"]


def test_a_number_that_a_message_leaves_out_stays(database):
    receive(**BOTH, procedure="CHEST")
    receive(**FILLER, procedure="CHEST PA")
    with unit_of_work() as session:
        (order,) = session.query(Order)
        assert (order.placer_order_number, order.procedure) == ("P7^OE", "CHEST PA")


@pytest.mark.parametrize("blank", ["", "  ", "\x00\x1b", "\t\x7f "])
def test_a_patient_id_without_a_letter_is_none(database, blank):
    with pytest.raises(MessageError, match="no patient id"):
        receive(**BOTH, patient=Patient(blank, "", "X^Y"))
    with pytest.raises(MessageError, match="no number"):
        receive(placer_order_number=blank, filler_order_number="", accession_numbers=(blank,))
    assert orders() == []
