"""Programs log in over HTTP: the form, the errors, discovery, and what a token opens."""

import pytest
from starlette.testclient import TestClient

from api.app import make_app
from records.accounts import lockouts
from records.accounts.program_logins import ASSERTION_TYPE, token_address
from records.settings import settings
from records.states import Permission
from tests.support.accounts import make_account
from tests.support.assertions import EC, claims, make_program, sign
from tests.support.fhir_resources import patient, service_request

ADDRESS = "/auth/token"
FHIR = {"content-type": "application/fhir+json"}


@pytest.fixture
def program(database, data_dir, setting):
    """A client of a program's machine; from here on nothing is answered without a login."""
    setting(serve_names="testserver")
    make_account()
    make_program(permissions=[Permission.SEND_ORDERS, Permission.READ_STUDIES])
    with TestClient(
        make_app(settings()), base_url="http://localhost", client=("192.0.2.9", 5000)
    ) as client:
        yield client


def form(scope="system/ServiceRequest.cruds", **changed):
    fields = {
        "grant_type": "client_credentials",
        "scope": scope,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": changed.pop("assertion", None) or sign(claims()),
    }
    return {name: value for name, value in (fields | changed).items() if value is not None}


def log_in(client, scope="system/ServiceRequest.cruds", key=EC):
    answer = client.post(ADDRESS, data=form(scope, assertion=sign(claims(), key)))
    assert answer.status_code == 200, answer.text
    client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
    return answer


def test_the_answer_is_as_the_standards_say(program):
    answer = log_in(program)
    body = answer.json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", 300)
    assert body["scope"] == "system/ServiceRequest.cru"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_assertion_type": None}, "invalid_request"),
        ({"client_assertion_type": "urn:x"}, "invalid_request"),
        ({"client_assertion": ""}, "invalid_request"),
        ({"client_assertion": 'x"\\'}, "invalid_client"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"client_id": "another"}, "invalid_client"),
    ],
)
def test_an_error_is_one_of_rfc_6749(program, changed, code):
    answer = program.post(ADDRESS, data=form(**changed))
    assert answer.status_code == 400
    assert answer.json().keys() == {"error", "error_description"}
    assert answer.json()["error"] == code
    described = answer.json()["error_description"]
    assert described.isascii()
    assert not set('"\\') & set(described)
    assert answer.headers["cache-control"] == "no-store"


def test_what_is_no_such_form_is_refused(program):
    fields = form()
    assert program.post(ADDRESS, json=fields).json()["error"] == "invalid_request"
    twice = [*fields.items(), ("scope", "system/*.r")]
    pairs = "&".join(f"{name}={value}" for name, value in twice)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert program.post(ADDRESS, content=pairs, headers=headers).json()["error"] == (
        "invalid_request"
    )
    basic = program.post(ADDRESS, data=fields, headers={"authorization": "Basic cmlzOng="})
    assert basic.json()["error"] == "invalid_request"
    for content in (b"\xff=1", b"&".join(b"f%d=1" % number for number in range(50)), b""):
        answer = program.post(ADDRESS, content=content, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    huge = program.post(ADDRESS, data=form(assertion="x" * 70_000))
    assert huge.status_code == 413
    assert huge.headers["content-type"] == "application/problem+json"
    assert program.get(ADDRESS).status_code == 401  # no such route, and nobody is logged in


def test_too_many_failures_are_429_with_the_wait(program):
    for _ in range(lockouts.FREE_FAILURES_OF_ADDRESS):
        answer = program.post(ADDRESS, data=form(assertion="x"))
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= lockouts.FIRST_WAIT_SECONDS
    assert program.post(ADDRESS, data=form()).status_code == 429


@pytest.mark.parametrize("path", ["/.well-known/smart-configuration", "/fhir/.well-known"])
def test_everybody_is_told_where_tokens_are_given(program, path):
    path = path if path.endswith("configuration") else f"{path}/smart-configuration"
    answer = program.get(path)
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert said["token_endpoint"] == token_address()
    assert said["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert said["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    assert "client-confidential-asymmetric" in said["capabilities"]
    assert "system/*.cru" in said["scopes_supported"]


def test_the_capability_statement_says_how_programs_log_in(program):
    log_in(program)
    security = program.get("/fhir/metadata").json()["rest"][0]["security"]
    assert security["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"
    (oauth,) = security["extension"]
    assert oauth["extension"] == [{"url": "token", "valueUri": token_address()}]


def put(client, resource, **how):
    return client.put(f"/fhir/{resource['resourceType']}/{resource['id']}", json=resource, **how)


def test_scopes_open_their_resources_and_interactions_alone(program):
    order, person = service_request(), patient()
    kinds = {"ServiceRequest": order, "Patient": person}
    for kind, resource in kinds.items():
        resource["id"] = f"one-{kind.lower()}"
    log_in(program, "system/Patient.cu")
    assert put(program, person, headers=FHIR).status_code == 201
    assert program.get(f"/fhir/Patient/{person['id']}").status_code == 403
    refused = put(program, order, headers=FHIR)
    assert refused.status_code == 403
    assert refused.json()["issue"][0]["code"] == "forbidden"
    assert "system/ServiceRequest.u" in refused.json()["issue"][0]["diagnostics"]
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "resource": one,
                "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"},
            }
            for one in kinds.values()
        ],
    }
    assert program.post("/fhir", json=bundle, headers=FHIR).status_code == 403
    log_in(program, "system/ServiceRequest.cru system/Patient.cru")
    assert program.get(f"/fhir/Patient/{person['id']}").status_code == 200
    assert program.post("/fhir", json=bundle, headers=FHIR).status_code == 200
    assert program.get(f"/fhir/ServiceRequest/{order['id']}").status_code == 200
    # Nothing but FHIR.
    assert program.get("/api/studies").status_code == 403
    assert program.post("/api/orders", json={}).status_code == 403


def test_scopes_of_our_own_open_what_their_permissions_open(program):
    log_in(program, "nightdraft/read_studies")
    assert program.get("/api/studies").status_code == 200
    assert program.get("/fhir/metadata").status_code == 403
    log_in(program, "nightdraft/send_orders")
    assert program.get("/api/studies").status_code == 403
    assert program.get("/fhir/metadata").status_code == 200
    assert program.post("/api/orders", json={}).status_code == 422
