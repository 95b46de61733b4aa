"""A query parameter that an address does not know is refused, on every route."""

import re
import uuid

import pytest
from fastapi.routing import APIRoute

from api.access.table import TABLE, Door
from api.app import ROUTERS, make_app
from api.query_parameters import OPEN_PATHS, known_parameters
from api.worklist.query import WorklistQuery
from records.settings import settings


def routes():
    """Every route but those of a person's own account, of which there is none here, and those to
    which the identity provider sends browsers.
    """
    return [
        route
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        and route.path not in OPEN_PATHS
        and all(TABLE[method, route.path].needs is not Door.LOGGED_IN for method in route.methods)
    ]


def fill_path(route):
    return re.sub(r"\{\w+\}", lambda _: str(uuid.uuid4()), route.path)


def test_every_route_refuses_what_it_does_not_know_and_names_what_it_knows(client):
    assert len(routes()) > 30
    for route in routes():
        for method in route.methods:
            response = client.request(
                method,
                fill_path(route),
                params={"<nosuch>": "PLANTED"},
                json={} if method in ("POST", "PUT") and route.path.startswith("/api") else None,
            )
            assert response.status_code == 422, route.path
            if method == "HEAD":
                continue
            known = ", ".join(known_parameters(route)) or "none"
            sentence = f"unknown parameter; this address knows {known}"
            assert sentence in response.text, route.path
            assert "PLANTED" not in response.text
            if response.headers["content-type"] == "application/problem+json":
                assert f"query.<nosuch>: {sentence}" in response.json()["detail"]
            elif response.headers["content-type"] == "application/fhir+json":
                (issue,) = response.json()["issue"]
                assert f"query.<nosuch>: {sentence}" in issue["diagnostics"]
            else:
                assert "query.&lt;nosuch&gt;" in response.text


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/api/studies", ["after", "limit", "since", "state", "words"]),
        ("/live", sorted(WorklistQuery.model_fields)),
        ("/studies/{study}", ["before", "list", "renderer"]),
        ("/healthz", []),
        ("/api/docs", []),
    ],
)
def test_what_an_address_knows(path, known):
    (route,) = [route for route in routes() if route.path == path]
    assert known_parameters(route) == known


def test_the_document_lists_the_same_parameters():
    app = make_app(settings())
    paths = app.openapi()["paths"]
    for route in routes():
        if route.include_in_schema:
            for method in route.methods:
                operation = paths[route.path][method.lower()]
                listed = [
                    p["name"] for p in operation.get("parameters", ()) if p.get("in") == "query"
                ]
                assert sorted(listed) == known_parameters(route)
                assert "422" in operation["responses"]


def test_all_that_is_known_is_taken(client, seeder):
    seeder.receive(1)
    query = {"state": "RECEIVING", "words": "phantom", "after": "", "seen": "x"}
    assert client.get("/", params=query).status_code == 200
    assert client.get("/static/nightdraft.css", params={"v": "2"}).status_code == 200


def test_every_route_refuses_a_nul_in_what_it_knows(client):
    asked = 0
    for route in routes():
        for method in route.methods - {"HEAD"}:
            for name in known_parameters(route):
                response = client.request(method, fill_path(route), params={name: "a\0b"}, json={})
                assert response.status_code == 422, (route.path, name)
                asked += 1
    assert asked > 30


def test_a_nul_in_a_path_is_a_question_for_something_that_is_not_there(client):
    for route in routes():
        if "{" in route.path:
            path = re.sub(r"\{\w+\}", "%00", route.path)
            for method in route.methods:
                response = client.request(method, path, json={})
                assert 400 <= response.status_code < 500, (method, route.path)
