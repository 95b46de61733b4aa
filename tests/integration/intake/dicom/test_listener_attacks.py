"""The listener under attack: good senders are served, whatever else connects."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from records.database.operation_tables import Refusal
from records.database.session import unit_of_work
from records.operations import refusals
from records.operations.refusals import MAX_ROWS_PER_CALLER
from tests.support.dicom_senders import associate_request, make_image, open_association, send_images
from tests.support.listener_state import read_rows
from tests.support.waiting import eventually

GOOD_SENDERS = 10


def send_many(port, caller):
    """Good senders at the same time, each over an association of its own; their statuses."""
    images = [make_image(f"1.2.{number}") for number in range(GOOD_SENDERS)]

    def send(number_and_image):
        number, image = number_and_image
        return send_images(port, image, caller=f"{caller}{number}")[0]

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(send, enumerate(images)))


@pytest.fixture
def attackers():
    with ExitStack() as connections:

        def connect(port, count, content=b""):
            opened = [
                connections.enter_context(socket.create_connection(("127.0.0.1", port), 30))
                for _ in range(count)
            ]
            for connection in opened:
                connection.sendall(content)
            return opened

        yield connect


def test_connections_that_never_ask_properly_keep_no_good_sender_out(listen, attackers):
    port = listen(max_associations=8).port
    numbered_0 = bytearray(associate_request("EVIL"))
    numbered_0[numbered_0.index(b"\x20\x00", 74) + 4] = 0
    for connection in attackers(port, 60, bytes(numbered_0)):
        connection.close()
    assert send_many(port, "A") == [0] * GOOD_SENDERS
    attackers(port, 200)  # they say nothing
    assert send_many(port, "B") == [0] * GOOD_SENDERS
    slow = attackers(port, 60)
    request, ended = associate_request("SLOW"), threading.Event()

    def trickle():
        for byte in request:
            for connection in slow:
                with suppress(OSError):  # hung up on
                    connection.send(bytes([byte]))
            if ended.wait(0.2):
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert send_many(port, "C") == [0] * GOOD_SENDERS
    finally:
        ended.set()
        thread.join()


def test_associations_of_strangers_keep_no_known_sender_out(listen, attackers):
    port = listen(max_associations=4, known_callers="CR1").port
    assert send_images(port, make_image(), caller="CR2") == [0]
    attackers(port, 40, associate_request("EVIL"))
    assert send_images(port, make_image(), caller="CR1") == [0]
    assert send_images(port, make_image(), caller="CR2") == [0]  # it sent before


def test_made_up_classes_and_titles_are_counted_in_few_rows(listen):
    port = listen().port
    for start in range(3):
        classes = [f"1.2.276.0.99.{start}.{number}" for number in range(40)]
        with open_association(port, *classes, caller=f"EVIL{start}") as association:
            assert not association.accepted_contexts

    def counted():
        with unit_of_work() as session:
            return refusals.count_by_reason(session)

    eventually(lambda: counted() == {"class_not_taken": 120})
    rows = read_rows(Refusal)
    assert len(rows) <= MAX_ROWS_PER_CALLER + 1
    assert {row.address for row in rows} == {"127.0.0.1"}


def test_equal_refusals_are_one_row_with_their_number(listen):
    port = listen(max_instance_mb=1).port
    images = [make_image(pixels=b"\0\0" * 700_000) for _ in range(3)]
    assert send_images(port, *images) == [0xC000] * 3
    (row,) = read_rows(Refusal)
    assert (row.reason, row.count, row.sop_instance_uid) == (
        "too_large",
        3,
        images[-1].SOPInstanceUID,
    )
