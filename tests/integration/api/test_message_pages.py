"""Messages of other systems: pages and REST, with those first that a person must look at."""

import re

import pytest

from api.message_pages import CHARACTERS_SHOWN
from records import received_messages
from records.database.session import unit_of_work
from records.operations import overview
from records.states import MessageOutcome
from tests.support.filled_records import MESSAGE, keep_message
from tests.support.received_orders import send_order


def shown(page):
    return re.findall(r'id="message-([^"]+)"', page)


def test_refused_messages_stand_first_until_they_are_settled(client, database, data_dir):
    refused = [str(keep_message("1")), str(keep_message("2"))]
    accepted = str(keep_message("3", MessageOutcome.ACCEPTED))
    page = client.get("/messages").text
    assert shown(page) == [*refused, accepted, *refused[::-1]]
    assert "the order has no number" in page
    assert "ORC-2" in page
    assert "2 messages of other systems refused" in client.get("/").text
    answer = client.post(f"/messages/{refused[0]}/settle", data={"by": "Dr. Roe"})
    assert answer.url.path == f"/messages/{refused[0]}"
    assert "Settled by Dr. Roe" in answer.text
    assert shown(client.get("/messages").text) == [refused[1], accepted, *refused[::-1]]
    assert shown(client.get("/messages?outcome=ACCEPTED").text) == [accepted]
    assert client.post(f"/messages/{refused[0]}/settle", data={"by": "Z"}).status_code == 409
    assert client.post(f"/messages/{refused[1]}/settle", data={"by": " "}).status_code == 409
    client.post(f"/messages/{refused[1]}/settle", data={"by": "Dr. Roe"})
    assert "of other systems refused" not in client.get("/").text


def test_a_refused_message_is_shown_with_a_segment_a_line(client, database, data_dir):
    message = keep_message("1")
    page = client.get(f"/messages/{message}").text
    segments = re.findall(r"<li><code>(.*?)</code></li>", page)
    assert segments == [
        "MSH|^~\\&amp;|RIS|H|||2026||ORM^O01|1|P|2.3",
        "PID|||4711||Döe^&lt;b&gt;Jane",
    ]
    lines = client.get(f"/api/messages/{message}").json()["lines"]
    assert lines[1] == "PID|||4711||Döe^<b>Jane"


def test_a_long_message_is_cut_on_the_page_and_whole_in_rest(client, database, data_dir):
    message = keep_message("1", content=MESSAGE + b"OBX|1|" + b"x" * 100_000 + b"END\r")
    page = client.get(f"/messages/{message}").text
    assert f"OBX|1|{'x' * (CHARACTERS_SHOWN - 6)}</code>" in page
    assert "It is longer than what is shown." in page
    assert client.get(f"/api/messages/{message}").json()["lines"][-1].endswith("xEND")


def test_a_message_without_its_content_says_why(client, database, data_dir):
    accepted = keep_message("1", MessageOutcome.ACCEPTED)
    assert "was not refused is not kept" in client.get(f"/messages/{accepted}").text
    refused = keep_message("2")
    (data_dir / "keys/messages.key").unlink()
    keep_message("3")  # makes another key
    assert "encrypted with another key" in client.get(f"/messages/{refused}").text
    answer = client.get(f"/api/messages/{refused}").json()
    assert answer["lines"] is None
    assert "another key" in answer["why_no_lines"]


def test_an_order_and_the_messages_about_it_name_each_other(client, database, data_dir):
    message = keep_message("1", MessageOutcome.ACCEPTED)
    order = send_order(message_id=message).order_id
    assert f'href="/messages/{message}"' in client.get(f"/orders/{order}").text
    assert f'href="/orders/{order}"' in client.get(f"/messages/{message}").text
    assert client.get(f"/api/messages/{message}").json()["orders"] == [str(order)]


@pytest.mark.parametrize("only_open", [True, False])
def test_rest_gives_pages_of_messages(client, database, data_dir, only_open):
    ids = [str(keep_message(str(n), MessageOutcome.REFUSED)) for n in range(5)]
    keep_message("settled")
    with unit_of_work() as session:
        last = received_messages.read_page(session, limit=1).messages[0]
        received_messages.settle(session, last.id, "Dr. Roe")
    if not only_open:
        ids.append(str(last.id))
    found, after = [], None
    while True:
        query = {"limit": 2, "open": only_open} | ({"after": after} if after else {})
        answer = client.get("/api/messages", params=query).json()
        found += [message["id"] for message in answer["messages"]]
        after = answer["next"]
        if after is None:
            break
    assert found == ids[::-1]
    assert client.get("/api/messages", params={"after": "x"}).status_code == 409


def test_rest_settles_a_message(client, database, data_dir):
    message = keep_message("1")
    answer = client.post(f"/api/messages/{message}/settle", json={"by": "Dr. Roe"}).json()
    assert (answer["settled_by"], answer["outcome"]) == ("Dr. Roe", "REFUSED")
    assert answer["settled_at"]
    again = client.post(f"/api/messages/{message}/settle", json={"by": "Dr. Roe"})
    assert again.status_code == 409


def test_messages_are_counted_by_outcome(client, database, broker, data_dir):
    assert 'nightdraft_messages_total{outcome="REFUSED"} 0.0' in client.get("/metrics").text
    keep_message("1")
    keep_message("2", MessageOutcome.ACCEPTED)
    metrics = client.get("/metrics").text
    assert 'nightdraft_messages_total{outcome="REFUSED"} 1.0' in metrics
    assert 'nightdraft_messages_total{outcome="ACCEPTED"} 1.0' in metrics
    assert "RIS" not in metrics
    with unit_of_work() as session:
        assert overview.count_open_messages(session) == 1
