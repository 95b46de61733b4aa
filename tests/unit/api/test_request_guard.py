"""Who may call the pages, what may be sent to them, and the headers of every answer."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from api.app import is_loopback
from api.request_guard import MAX_BODY_BYTES, RequestGuard
from api.safety_headers import SAFETY_HEADERS


@pytest.fixture
def client():
    async def accept(request):
        await request.body()
        return PlainTextResponse("accepted")

    routes = [
        Route("/", accept, methods=["GET", "POST"]),
        Route("/api/counts", accept),
        Route("/healthz", accept),
    ]
    return TestClient(RequestGuard(Starlette(routes=routes), ["reading.example"]))


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "10.0.0.5", "Reading.Example"],
)
def test_our_own_names_and_addresses_are_accepted(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "[", "a@b"]
)
def test_strangers_names_are_refused(client, host):
    response = client.get("/api/counts", headers={"host": host})
    assert response.status_code == 421
    assert response.headers["content-type"] == "application/problem+json"
    assert "NIGHTDRAFT_SERVE_NAMES" in response.json()["detail"]


def test_probes_are_accepted_by_any_name(client):
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
    response = client.post("/", headers={"host": "localhost"} | headers)
    assert response.status_code == 403
    assert "nothing was changed" in response.text


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://localhost"}, {"sec-fetch-site": "same-origin", "origin": "null"}],
)
def test_our_own_forms_and_programs_may_change_things(client, headers):
    assert client.post("/", headers={"host": "localhost"} | headers).status_code == 200


def test_long_bodies_are_refused(client):
    headers = {"host": "localhost"}
    assert client.post("/", content=b"x" * MAX_BODY_BYTES, headers=headers).status_code == 200
    assert client.post("/", content=b"x" * (MAX_BODY_BYTES + 1), headers=headers).status_code == 413
    assert client.post("/", content=iter([b"x"]), headers=headers).status_code == 411


@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_every_answer_carries_the_safety_headers(client, host):
    response = client.get("/", headers={"host": host})
    assert SAFETY_HEADERS.items() <= dict(response.headers).items()
    assert "unsafe" not in SAFETY_HEADERS["content-security-policy"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("h", False)],
)
def test_which_hosts_are_loopback(host, expected):
    assert is_loopback(host) is expected


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_sites_page_may_link_to_the_start_page_and_ask_for_nothing(client, site):
    page = {
        "host": "localhost",
        "sec-fetch-site": site,
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert client.get("/", headers=page).status_code == 200
    assert client.get("/?words=ZEPPELIN", headers=page).status_code == 403
    assert client.get("/api/counts", headers=page).status_code == 403
    image = {
        "host": "localhost",
        "sec-fetch-site": site,
        "sec-fetch-mode": "no-cors",
        "sec-fetch-dest": "image",
    }
    assert client.get("/", headers=image).status_code == 403
    assert client.get("/healthz", headers=image).status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none", None])
def test_our_own_pages_and_programs_may_read(client, site):
    headers = {"host": "localhost"} | ({"sec-fetch-site": site} if site else {})
    assert client.get("/?words=ZEPPELIN", headers=headers).status_code == 200
