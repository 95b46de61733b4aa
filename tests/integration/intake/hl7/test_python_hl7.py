"""The client of the library python-hl7 as a foreign peer."""

import hl7
import pytest
from hl7.client import MLLPClient
from sqlalchemy import select

from records.database.order_tables import Order
from records.database.session import unit_of_work
from tests.support.mllp import make_message, make_order, running_listener


@pytest.fixture
def client(database, data_dir):
    with running_listener() as listener, MLLPClient("127.0.0.1", listener.port) as connection:
        yield connection


def test_it_reads_our_answers(client):
    refused = make_message("PID|1||||Doe^Jane", "ORC|NW|78", "OBR|1|78||CXR", control_id="2")
    answers = [
        hl7.parse(client.send_message(content).decode().strip("\x0b\x1c\r"))
        for content in (make_order(), make_order(), refused)
    ]
    assert [str(answer["MSA"][0][1]) for answer in answers] == ["AA", "AA", "AE"]
    assert [str(answer["MSA"][0][2]) for answer in answers] == ["1", "1", "2"]
    assert str(answers[2]["ERR"][0][2]) == "PID^1^3"
    with unit_of_work() as session:
        assert len(session.scalars(select(Order)).all()) == 1
