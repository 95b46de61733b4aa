"""The id of a request: in its answer, in what an error says, and in each log line about it."""

import json
import uuid

import pytest

from api.request_log import read_traceparent
from api.safety_headers import SAFETY_HEADERS
from records.telemetry import set_up_logs
from records.workflow import worklist
from tests.support.logging_state import logging_restored

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def log(capsys):
    """What was logged since it was last called."""

    def lines():
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    with logging_restored():
        set_up_logs("json", "debug", "api")
        yield lines


@pytest.mark.parametrize(
    ("path", "status", "route"),
    [
        ("/", 200, "/"),
        ("/?words=PLANTED", 200, "/"),
        ("/api/counts", 200, "/api/counts"),
        ("/api/studies/1.2.3", 404, "/api/studies/{uid}"),
        ("/api/studies?limit=PLANTED", 422, "/api/studies"),
        ("/PLANTED", 404, "unknown"),
        ("/static/nightdraft.css", 200, "/static"),
        ("/healthz", 200, "/healthz"),
    ],
)
def test_each_answer_has_the_id_that_is_in_its_line(client, log, path, status, route):
    answer = client.get(path)
    lines = log()
    (line,) = [line for line in lines if line["message"] == "a request was answered"]
    assert (answer.status_code, line["status"], line["route"]) == (status, status, route)
    assert line["method"] == "GET"
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["trace_id"] == uuid.UUID(line["request_id"]).hex
    assert "PLANTED" not in json.dumps(lines)


def test_a_stranger_who_is_refused_has_an_id_too(client, log):
    answer = client.get("/api/counts", headers={"Host": "evil.example"})
    assert answer.status_code == 421
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert log()[-1]["status"] == 421


def test_a_page_about_an_error_names_the_request(client):
    answer = client.get("/studies/00000000-0000-0000-0000-000000000000")
    assert answer.status_code == 404
    assert f"Request {answer.headers['x-request-id']}" in answer.text


def test_an_unexpected_error_has_the_id_in_its_answer_and_its_line(client, log, monkeypatch):
    def fail(*_, **__):
        raise ValueError("PLANTED")

    monkeypatch.setattr(worklist, "count_by_state", fail)
    monkeypatch.setattr("records.operations.overview.read_workload", fail)
    client._transport.raise_server_exceptions = False
    answer = client.get("/api/counts")
    assert answer.status_code == 500
    lines = log()
    request_id = answer.json()["request_id"]
    assert answer.headers["x-request-id"] == request_id
    assert SAFETY_HEADERS.items() <= dict(answer.headers).items()
    by_message = {line["message"]: line for line in lines}
    assert by_message["a request failed unexpectedly"]["request_id"] == request_id
    assert by_message["a request was answered"]["status"] == 500
    assert "PLANTED" not in json.dumps(lines)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("5f0c9a3e-6c1e-4b1c-9d7a-2b8f3f0e6a11", True),
        ("5f0c9a3e6c1e4b1c9d7a2b8f3f0e6a11", True),
        ("DOE^JOHN", False),
        ("12345678", False),
        ("", False),
    ],
)
def test_an_id_of_the_caller_is_kept_where_it_can_be_no_patients_number(client, log, given, kept):
    answer = client.get("/api/counts", headers={"X-Request-ID": given})
    returned = answer.headers["x-request-id"]
    assert (uuid.UUID(returned).hex == given.replace("-", "")) is kept
    assert log()[-1]["request_id"] == returned


def test_the_trace_of_a_caller_goes_on(client, log, seeder):
    study = seeder.draft_study(1)
    client.get(f"/api/studies/{study}", headers={"traceparent": TRACEPARENT})
    line = log()[-1]
    assert line["trace_id"] == TRACE
    assert line["study"] == client.get(f"/api/studies/{study}").json()["study"]["id"]


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (TRACEPARENT, TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", ""),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", ""),
        ("DOE^JOHN", ""),
        ("", ""),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(value, trace):
    assert read_traceparent(value)[0] == trace
