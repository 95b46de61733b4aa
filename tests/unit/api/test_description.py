"""The OpenAPI document: every body, answer and error has an example, and each fits its schema."""

from functools import cache

import jsonschema_rs
import pytest

from api.access.table import TABLE
from api.app import make_app
from api.description import read_examples
from api.idempotency import takes_key
from api.problems import PROBLEM_RESPONSES
from records.settings import settings

ERRORS = {str(status) for status in PROBLEM_RESPONSES}


@cache
def document():
    """The document, which takes a second to make."""
    return make_app(settings()).openapi()


def operations():
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def resolve(part):
    while "$ref" in part:
        *_, kind, name = part["$ref"].split("/")
        part = document()["components"][kind][name]
    return part


def check(example, schema):
    whole = {**schema, "components": document()["components"]}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(example)


def answers():
    for call, operation in operations():
        for status, answer in operation["responses"].items():
            yield call, status, resolve(answer)


def test_every_body_has_an_example_that_fits():
    bodies = [(call, each["requestBody"]) for call, each in operations() if "requestBody" in each]
    assert len(bodies) > 25
    for call, body in bodies:
        schema = body["content"]["application/json"]["schema"]
        examples = resolve(schema).get("examples", [])
        assert examples, call
        for example in examples:
            check(example, schema)


def test_every_answer_in_json_has_an_example_that_fits():
    number = 0
    for call, status, answer in answers():
        content = answer.get("content", {}).get("application/json")
        if content is None or (call == "GET /readyz" and status == "503"):
            continue
        assert "example" in content, f"{call} {status}"
        check(content["example"], content["schema"])
        number += 1
    assert number > 60


def test_every_error_is_a_problem_with_an_example_that_fits():
    seen = set()
    for call, status, answer in answers():
        if status not in ERRORS or call == "GET /readyz":
            continue
        assert set(answer["content"]) == {"application/problem+json"}, f"{call} {status}"
        content = answer["content"]["application/problem+json"]
        check(content["example"], content["schema"])
        assert content["example"]["status"] == int(status)
        seen.add(status)
    assert seen == ERRORS


def test_a_wrong_example_is_found():
    schema = {"$ref": "#/components/schemas/StudySummary"}
    right = read_examples("answers")["StudySummary"]
    check(right, schema)
    for wrong in (right | {"state": "SLEEPING"}, right | {"id": 7}, {"id": right["id"]}):
        with pytest.raises(jsonschema_rs.ValidationError):
            check(wrong, schema)


def test_no_example_is_left_over():
    names = {call for call, _ in operations()} | set(document()["components"]["schemas"])
    for kind in ("requests", "answers"):
        assert set(read_examples(kind)) <= names


@pytest.mark.parametrize("status", sorted(ERRORS))
def test_an_error_says_when_it_is_answered(status):
    description = document()["components"]["responses"][f"Problem{status}"]["description"]
    assert description[0].isupper()
    assert description.endswith(".")


def test_every_call_is_described_in_sentences():
    for call, operation in operations():
        text = operation["description"]
        assert text[0].isupper(), call
        assert text.rstrip().endswith("."), call
        for parameter in map(resolve, operation.get("parameters", [])):
            if "description" in parameter:
                assert parameter["description"].endswith("."), (call, parameter["name"])
    for call, status, answer in answers():
        assert answer["description"], f"{call} {status}"
        assert answer["description"] != "Successful Response", f"{call} {status}"


def test_keys_are_described_where_they_are_taken():
    for call, operation in operations():
        method, path = call.split()
        names = {resolve(each)["name"] for each in operation.get("parameters", [])}
        assert ("Idempotency-Key" in names) is takes_key(method, path), call
        if takes_key(method, path):
            assert {"400", "409", "410", "422"} <= set(operation["responses"]), call


def test_what_waits_for_a_text_names_it():
    for call, operation in operations():
        names = {resolve(each)["name"] for each in operation.get("parameters", [])}
        statuses = set(operation["responses"])
        assert ("If-Match" in names) is ({"412", "428"} <= statuses) is ("428" in statuses), call


def test_every_route_of_rest_is_described():
    hidden = {"/api/openapi.json", "/api/docs"}
    routes = {f"{method} {path}" for method, path in TABLE if path.startswith("/api/")}
    described = {call for call, _ in operations() if call.split()[1].startswith("/api/")}
    assert {call for call in routes if call.split()[1] not in hidden} == described
