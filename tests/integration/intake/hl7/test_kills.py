"""The HL7 listener is killed at each point: what was acknowledged is there, and only once."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import func, select

from records.database.order_tables import Order, OrderChange, ReceivedMessage
from records.database.session import unit_of_work
from tests.support.hl7_kills import killed_listener, send_until_answered

POINTS = ["hl7-before-commit", "hl7-before-answer"]
"""All points: tests/prove/test_hl7_kills.py."""
SENDERS, ORDERS = 3, 4


@pytest.mark.parametrize("point", POINTS)
def test_an_acknowledged_message_is_never_lost_and_never_applied_twice(
    database, data_dir, tmp_path, point
):
    mark = tmp_path / "killed"
    with killed_listener(tmp_path / "log", point, mark) as listener:
        ranges = [range(n * ORDERS, (n + 1) * ORDERS) for n in range(SENDERS)]
        with ThreadPoolExecutor(SENDERS) as pool:
            answered = list(pool.map(partial(send_until_answered, listener), ranges))
    assert mark.exists(), "the point was never reached"
    assert listener.starts == 2
    acknowledged = sorted(number for numbers in answered for number in numbers)
    assert len(acknowledged) == SENDERS * ORDERS
    with unit_of_work() as session:
        kept = session.scalars(select(Order.placer_order_number)).all()
        assert sorted(kept) == acknowledged
        assert session.scalar(select(func.count()).select_from(OrderChange)) == len(acknowledged)
        outcomes = session.scalars(select(ReceivedMessage.outcome)).all()
        assert outcomes == ["ACCEPTED"] * len(acknowledged)
