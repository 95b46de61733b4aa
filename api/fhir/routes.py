"""The addresses of the FHIR server, and the answer to each."""

from __future__ import annotations

import email.utils
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from api.fhir import refusals
from api.fhir.capability import capability_statement
from api.fhir.negotiation import (
    accept_json,
    parse,
    preferred_return,
    read_body,
    read_version,
)
from api.fhir.scopes import require
from api.outcomes import FHIR_MEDIA_TYPE, FHIR_PATH, issue, outcome
from records.accounts.program_logins import token_address
from records.database.fhir_tables import FhirResource
from records.database.session import snapshot, unit_of_work
from records.fhir import store
from records.fhir.elements import ResourceError
from records.fhir.receiving import ID, TYPES, Incoming, WriteOutcome, Written, receive, receive_all
from records.fhir.receiving import read as read_resource
from records.fhir.transactions import read_etag, read_transaction
from records.fhir.versions import FhirVersion, check

router = APIRouter(prefix=FHIR_PATH, include_in_schema=False, dependencies=[Depends(accept_json)])

Body = Annotated[bytes, Depends(read_body)]
Version = Annotated[FhirVersion, Depends(read_version)]

_STATUS = {WriteOutcome.CREATED: 201, WriteOutcome.UPDATED: 200, WriteOutcome.UNCHANGED: 200}
_WORDS = {201: "201 Created", 200: "200 OK"}


@router.get("/metadata")
def read_capabilities(
    request: Request,
    summary: Annotated[str | None, Query(alias="_summary", max_length=10)] = None,  # noqa: ARG001
) -> Response:
    """The CapabilityStatement; a summary of it has all that is in it."""
    base = _base(request).rstrip("/")
    return _answer(capability_statement(router.routes, base, token_address()))


@router.post("")
@router.post("/")
def receive_transaction(request: Request, body: Body, version: Version) -> Response:
    """Take in a transaction: all of its resources, or none."""

    def take_in() -> Response:
        bundle = parse(body)
        check(bundle, version)
        incoming, full_urls = read_transaction(bundle, version)
        for one in incoming:
            require(one.kind, "u" if one.id else "c")
        with unit_of_work() as session:
            written = receive_all(session, incoming, full_urls, _base(request))
        with_resources = "return=representation" in request.headers.get("prefer", "")
        return _answer(
            {
                "resourceType": "Bundle",
                "type": "transaction-response",
                "entry": [_entry(entry, with_resources=with_resources) for entry in written],
            }
        )

    return refusals.answer(take_in, "transaction", body)


def _create(kind: str) -> Callable[..., Response]:
    def create(request: Request, body: Body, version: Version) -> Response:
        """Create a resource, or change the one with the same identifier."""

        def take_in() -> Response:
            require(kind, "c")
            resource = _parse(body, kind, version)
            condition = request.headers.get("if-none-exist", "").removeprefix("?")
            incoming = Incoming(resource, version, if_none_exist=condition)
            return _write(request, incoming)

        return refusals.answer(take_in, f"POST {kind}", body)

    return create


def _update(kind: str) -> Callable[..., Response]:
    def update(request: Request, resource_id: str, body: Body, version: Version) -> Response:
        """Replace a resource, or create it under this id."""

        def take_in() -> Response:
            require(kind, "u")
            resource = _parse(body, kind, version)
            if not ID.fullmatch(resource_id) or resource.get("id") != resource_id:
                raise ResourceError(
                    "the id of the resource is not the one of the address",
                    f"{kind}.id",
                    "structure",
                )
            if_match = read_etag(request.headers.get("if-match", ""), kind)
            return _write(request, Incoming(resource, version, resource_id, if_match))

        return refusals.answer(take_in, f"PUT {kind}", body)

    return update


def _read(kind: str) -> Callable[..., Response]:
    def read(request: Request, resource_id: str) -> Response:
        """A resource as it was sent, with its version here."""
        require(kind, "r")
        with snapshot() as session:
            row = read_resource(session, kind, resource_id)
            headers = _headers(row)
            if request.headers.get("if-none-match") == headers["etag"]:
                return Response(None, 304, headers)
            return _answer(store.served_form(row), headers=headers)

    return read


for _kind in TYPES:
    router.add_api_route(f"/{_kind}", _create(_kind), methods=["POST"])
    router.add_api_route(f"/{_kind}/{{resource_id}}", _update(_kind), methods=["PUT"])
    router.add_api_route(f"/{_kind}/{{resource_id}}", _read(_kind), methods=["GET"])


def _parse(body: bytes, kind: str, version: FhirVersion) -> dict[str, Any]:
    resource = parse(body)
    check(resource, version)
    if resource["resourceType"] != kind:
        raise ResourceError(
            f"the resource is no {kind}, which is taken at this address",
            "resourceType",
            "structure",
        )
    return resource


def _write(request: Request, incoming: Incoming) -> Response:
    with unit_of_work() as session:
        written = receive(session, incoming, _base(request))
    status = _STATUS[written.outcome]
    headers = _headers(written.row)
    if status == 201:
        headers["location"] = f"{_base(request)}{_location(written.row)}"
    preferred = preferred_return(request)
    if preferred == "minimal":
        return Response(None, status, headers)
    if preferred == "OperationOutcome":
        sentence = f"{_location(written.row)}: {written.outcome.lower()}"
        body = outcome([issue("informational", sentence, severity="information")])
        return _answer(body, status, headers)
    return _answer(store.served_form(written.row), status, headers)


def _entry(written: Written, *, with_resources: bool) -> dict[str, Any]:
    response = {
        "status": _WORDS[_STATUS[written.outcome]],
        "location": _location(written.row),
        "etag": f'W/"{written.row.version}"',
        "lastModified": written.row.updated_at.isoformat(timespec="milliseconds"),
    }
    resource = {"resource": store.served_form(written.row)} if with_resources else {}
    return {**resource, "response": response}


def _location(row: FhirResource) -> str:
    return f"{row.resource_type}/{row.id}/_history/{row.version}"


def _headers(row: FhirResource) -> dict[str, str]:
    return {
        "etag": f'W/"{row.version}"',
        "last-modified": email.utils.format_datetime(row.updated_at, usegmt=True),
    }


def _answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(body, status, headers, media_type=FHIR_MEDIA_TYPE)


def _base(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{FHIR_PATH}/"
