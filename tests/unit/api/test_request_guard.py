import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from api.app import is_loopback
from api.request_guard import MAX_BODY, SAFETY, Door


@pytest.fixture
def client():
    async def let_in(request):
        await request.body()
        return PlainTextResponse("let in")

    routes = [
        Route("/", let_in, methods=["GET", "POST"]),
        Route("/api/counts", let_in),
        Route("/healthz", let_in),
    ]
    return TestClient(Door(Starlette(routes=routes), ["reading.example"]))


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "10.0.0.5", "Reading.Example"],
)
def test_our_own_names_and_addresses_are_let_in(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "[", "a@b"]
)
def test_strangers_names_are_refused(client, host):
    refused = client.get("/api/counts", headers={"host": host})
    assert refused.status_code == 421
    assert refused.headers["content-type"] == "application/problem+json"
    assert "NIGHTDRAFT_SERVE_NAMES" in refused.json()["detail"]


def test_probes_are_let_in_by_any_name(client):
    assert client.get("/healthz", headers={"host": "pod-17"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "http://localhost"},
    ],
)
def test_changes_from_other_sites_are_refused(client, headers):
    posted = client.post("/", headers={"host": "localhost"} | headers)
    assert posted.status_code == 403
    assert "nothing was changed" in posted.text


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://localhost"}, {"sec-fetch-site": "same-origin", "origin": "null"}],
)
def test_our_own_forms_and_programs_may_change_things(client, headers):
    assert client.post("/", headers={"host": "localhost"} | headers).status_code == 200


def test_long_bodies_are_refused(client):
    said = {"host": "localhost"}
    assert client.post("/", content=b"x" * MAX_BODY, headers=said).status_code == 200
    assert client.post("/", content=b"x" * (MAX_BODY + 1), headers=said).status_code == 413
    assert client.post("/", content=iter([b"x"]), headers=said).status_code == 411


@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_every_answer_carries_the_safety_headers(client, host):
    answer = client.get("/", headers={"host": host})
    assert SAFETY.items() <= dict(answer.headers).items()
    assert "unsafe" not in SAFETY["content-security-policy"]


@pytest.mark.parametrize(
    ("host", "only_here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("h", False)],
)
def test_loopback_is_known(host, only_here):
    assert is_loopback(host) is only_here
