"""What a FHIR request asks for by its headers: content type, version, form of the answer."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from starlette.exceptions import HTTPException

from records.fhir.elements import ResourceError
from records.fhir.versions import FhirVersion

_JSON = ("application/fhir+json", "application/json", "text/json")
_FORMATS = ("json", *_JSON, "application/fhir json")  # a plus sign in an address is a space
_ANY = ("*/*", "application/*")

Format = Annotated[str | None, Query(alias="_format")]
Pretty = Annotated[Literal["true", "false"] | None, Query(alias="_pretty")]


async def accept_json(
    request: Request,
    format_: Format = None,
    pretty: Pretty = None,  # noqa: ARG001
) -> None:
    """A dependency of every FHIR route: refuses who accepts no JSON.

    `_pretty` is taken and changes nothing: the answer may have any white space.

    Raises:
        HTTPException: 406.
    """
    if format_ is not None:
        is_accepted = format_.partition(";")[0].strip().lower() in _FORMATS
    else:
        accepted = [
            part.strip().lower() for part in request.headers.get("accept", "*/*").split(",")
        ]
        is_accepted = any(
            part.partition(";")[0].strip() in (*_JSON, *_ANY) and part[-4:] != ";q=0"
            for part in accepted
        )
    if not is_accepted:
        raise HTTPException(406, "Answers are JSON alone: accept application/fhir+json")


async def read_version(request: Request) -> FhirVersion:
    """The version of FHIR in which a body is written: R4 where the content type does not name it.

    Raises:
        HTTPException: 415 for another content type than JSON, and for another version.
    """
    content_type, *parameters = request.headers.get("content-type", "").lower().split(";")
    if content_type.strip() not in _JSON:
        raise HTTPException(415, "Resources are taken as JSON: send application/fhir+json")
    version = FhirVersion.R4
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8"):
            raise HTTPException(415, "JSON is taken as UTF-8 alone")
        if name == "fhirversion":
            try:
                version = FhirVersion(value.strip('"'))
            except ValueError:
                known = ", ".join(FhirVersion)
                raise HTTPException(415, f"The fhirVersion is none of {known}") from None
    return version


async def read_body(request: Request) -> bytes:
    """The body; `api.request_guard` has limited it."""
    return await request.body()


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        ResourceError: it is none.
    """

    def refuse(_name: str) -> Any:
        raise ValueError

    try:
        parsed = json.loads(body, parse_constant=refuse)
    except RecursionError:
        raise ResourceError("the body is nested too deep", "", "structure") from None
    except ValueError:
        raise ResourceError("the body is no JSON in UTF-8", "", "structure") from None
    if not isinstance(parsed, dict):
        raise ResourceError("the body is no JSON object", "", "structure")
    return parsed


def preferred_return(request: Request) -> Literal["minimal", "representation", "OperationOutcome"]:
    """What `Prefer: return=` asks for; the resource where it asks for nothing that is known."""
    for part in request.headers.get("prefer", "").replace(",", ";").split(";"):
        name, _, value = part.strip().partition("=")
        if name == "return" and value in ("minimal", "OperationOutcome"):
            return value  # type: ignore[return-value]
    return "representation"
