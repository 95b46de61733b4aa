"""Half requests are closed in time, and too many connections make room."""

import http.client
import socket
import threading
from contextlib import ExitStack

import pytest
import uvicorn

from api import connections
from tests.support.dicom_senders import wait_until_closed
from tests.support.waiting import eventually


async def answer(scope, receive, send):
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        if message["type"] == "http.disconnect":
            return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well"})


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 8)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            answer, http=connections.GuardedProtocol, lifespan="off", log_config=None
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        eventually(lambda: server.started)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def get(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def open_connection(stack, port, content=b""):
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
    connection.sendall(content)
    return connection


@pytest.mark.parametrize(
    "content", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf"]
)
def test_a_request_that_does_not_come_whole_is_closed(port, content):
    with ExitStack() as stack:
        assert open_connection(stack, port, content).recv(100) == b""
    assert get(port) == b"well"


def test_many_half_requests_keep_nobody_out(port, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 60.0)
    with ExitStack() as stack:
        half = [open_connection(stack, port, b"GET / HT") for _ in range(8)]
        assert get(port) == b"well"
        wait_until_closed(half[0])


def test_one_connection_asks_more_than_once(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(3):
        connection.request("POST", "/", body=b"x" * 1000)
        assert connection.getresponse().read() == b"well"
    connection.close()
