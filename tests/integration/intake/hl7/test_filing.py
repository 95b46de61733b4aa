"""Messages that are stored in one transaction have the effects that they have one by one."""

from sqlalchemy import select

from intake.hl7.filing import file_messages
from intake.hl7.mapping import read_mapping
from intake.hl7.reading import read_frame
from records.database.order_tables import Order, OrderChange, ReceivedMessage
from records.database.session import unit_of_work
from tests.support.mllp import make_message, make_order


def file_together(*contents):
    mapping = read_mapping("")
    messages = [
        message
        for content in contents
        for message in read_frame(content, mapping, is_too_long=False)
    ]
    return [answer.code for answer in file_messages(messages)]


def read(column):
    with unit_of_work() as session:
        return session.scalars(select(column)).all()


def test_new_orders_are_kept_each_with_the_message_that_brought_it(database):
    contents = [make_order(control_id=str(n), number=f"77{n}") for n in range(20)]
    assert file_together(*contents) == ["AA"] * 20
    with unit_of_work() as session:
        rows = session.execute(
            select(ReceivedMessage.control_id, Order.placer_order_number)
            .join(OrderChange, OrderChange.message_id == ReceivedMessage.id)
            .join(Order, Order.id == OrderChange.order_id)
        ).all()
    assert sorted(rows) == sorted((str(n), f"77{n}") for n in range(20))


def test_an_order_and_its_change_are_two_lines_of_one_history(database):
    first, second = make_order(), make_order(control_id="2", reason="Chest pain.")
    assert file_together(first, second, first) == ["AA", "AA", "AA"]
    assert [order.texts[0]["text"] for order in read(Order)] == ["Chest pain."]
    assert read(OrderChange.kind) == ["PLACED", "CHANGED"]
    assert sorted(read(ReceivedMessage.repeats)) == [0, 1]


def test_a_message_that_is_refused_leaves_the_others_their_effect(database, data_dir):
    nobody = make_message("PID|1||||Doe^Jane", "ORC|NW|78", "OBR|1|78||CXR", control_id="2")
    last = make_order(control_id="3", number="79")
    assert file_together(make_order(), nobody, last) == ["AA", "AE", "AA"]
    assert len(read(Order)) == 2
