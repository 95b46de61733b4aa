"""The pages by HTTPS: a certificate that is renewed while they are read."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import ssl
from contextlib import ExitStack, suppress

import psutil
import pytest

from records.handshakes import MAX_WAITING
from tests.support.certificates import Authority
from tests.support.smuggling import MARK, attacks, talk
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def own(authority):
    return authority.issue("pages")


def port_of(server):
    return int(server.url.rpartition(":")[2])


def served(port, authority, version=None):
    context = ssl.create_default_context(cafile=str(authority.file))
    if version:
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.getpeercert(binary_form=True)


def test_pages_by_https_and_a_certificate_that_is_renewed(serve, authority, own):
    server = serve(serve_certificate=own.certificate, serve_certificate_key=own.key)
    port = port_of(server)
    context = ssl.create_default_context(cafile=str(authority.file))
    connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)

    def get(path):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer, answer.read()

    answer, _ = get("/")
    assert answer.status == 200
    assert answer.headers["Strict-Transport-Security"] == f"max-age={180 * 86_400}"
    first = connection.sock
    before = served(port, authority)
    other = authority.issue("renewed")
    for old, new in ((own.certificate, other.certificate), (own.key, other.key)):
        renewed = old.with_suffix(".renewed")
        shutil.copyfile(new, renewed)
        renewed.replace(old)
    after = eventually(lambda: (now := served(port, authority)) != before and now)
    assert get("/healthz")[0].status == 200
    assert connection.sock is first
    own.key.write_text("no key")
    os.utime(own.key, (1, 1))
    os.utime(own.certificate, (1, 1))
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "NIGHTDRAFT_SERVE_CERTIFICATE_KEY cannot be used" in server.log.read_text())
    assert served(port, authority) == after
    assert get("/healthz")[0].status == 200
    connection.close()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises(ssl.SSLError):
        served(port, authority, ssl.TLSVersion.TLSv1_1)
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" not in plain.recv(100)
    assert server.end() == 0


def test_a_certificate_that_cannot_be_used_stops_it(serve, own):
    server = serve(wait=False, serve_certificate=own.certificate, serve_certificate_key="/none")
    assert server.process.wait(30) == 1
    assert "SettingsError: NIGHTDRAFT_SERVE_CERTIFICATE or" in server.log.read_text()


def test_a_silent_handshake_is_closed_and_keeps_nobody_out(serve, authority, own):
    server = serve(serve_certificate=own.certificate, serve_certificate_key=own.key)
    port = port_of(server)
    silent = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(50)]
    assert served(port, authority)
    for connection in silent:
        with connection:
            assert connection.recv(1) == b""  # closed by the server


def handshakes(port, authority):
    """How many handshakes had each outcome, as a scrape says it; the scrape has one, too."""
    context = ssl.create_default_context(cafile=str(authority.file))
    connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        outcome: int(float(number))
        for outcome, number in re.findall(
            r'^nightdraft_https_handshakes_total\{outcome="(\w+)"\} (\S+)$', text, re.MULTILINE
        )
    }


def test_many_silent_handshakes_are_ended_and_counted_and_starve_nobody(serve, authority, own):
    server = serve(serve_certificate=own.certificate, serve_certificate_key=own.key)
    port = port_of(server)
    before = handshakes(port, authority)
    assert set(before) == {"DONE", "FAILED", "TOO_SLOW", "TOO_MANY"}
    process = psutil.Process(server.process.pid)
    with ExitStack() as stack:
        silent = []
        for number in range(3 * MAX_WAITING):
            connection = socket.create_connection(("127.0.0.1", port), 60)
            silent.append(stack.enter_context(connection))
            if number % 3 == 1:  # the first bytes of a ClientHello, and then nothing
                connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        assert served(port, authority)  # while those wait
        ended = eventually(lambda: (now := handshakes(port, authority))["TOO_MANY"] and now)
        assert ended["TOO_MANY"] >= 2 * MAX_WAITING
        assert process.num_fds() < 2 * MAX_WAITING
        for connection in silent:
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""  # ended by the server
        after = eventually(
            lambda: (now := handshakes(port, authority))["TOO_SLOW"] + now["TOO_MANY"]
            == 3 * MAX_WAITING and now
        )  # fmt: skip
        assert after["TOO_SLOW"] > MAX_WAITING / 2
        assert after["FAILED"] == before["FAILED"]
        with socket.create_connection(("127.0.0.1", port), 30) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            plain.recv(100)
        eventually(lambda: handshakes(port, authority)["FAILED"] == before["FAILED"] + 1)
    assert server.end() == 0


def test_a_server_that_ends_does_not_wait_for_handshakes(serve, authority, own):
    server = serve(serve_certificate=own.certificate, serve_certificate_key=own.key)
    with socket.create_connection(("127.0.0.1", port_of(server)), 60) as silent:
        assert served(port_of(server), authority)
        assert server.end() == 0
        with suppress(ConnectionResetError):
            assert silent.recv(1) == b""


STAND_INS = {
    b"GET http://internal.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n": 404,
    b"GET http://localhost/ HTTP/1.1\r\nHost: internal.example\r\n\r\n": 421,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: internal.example\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: internal.example\r\nX-Forwarded-Host: localhost\r\n\r\n": 421,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"x" * 40_000 + b"\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"x" * 400_000 + b"\r\n\r\n": 400,
    b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: localhost\r\n  folded: 1\r\n\r\n": 400,
    b"GET / HTTP/1.1\nHost: localhost\n\n": 400,
}
"""Requests in somebody else's name, each with the status of its answer."""


def test_no_request_is_smuggled_and_none_stands_for_another(serve):
    server = serve()
    for name, content in attacks("localhost").items():
        statuses, answer = talk(port_of(server), content)
        assert statuses, name
        assert statuses[0] in (400, 411, 501), (name, answer)
    last = b"GET /api/studies HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert talk(port_of(server), last)[0] == [200]
    eventually(lambda: "method=GET" in server.log.read_text())
    assert f"method={MARK}" not in server.log.read_text()
    for content, status in STAND_INS.items():
        statuses, answer = talk(port_of(server), content)
        assert statuses == [status], (content[:60], answer)
