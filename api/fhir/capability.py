"""The CapabilityStatement, made of the routes that are served."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from starlette.routing import BaseRoute, Route

from api.outcomes import FHIR_MEDIA_TYPE, FHIR_PATH
from records.fhir.receiving import TYPES

_DATE = "2026-11-27"
"""When what is served changed last."""

_INTERACTIONS = {("POST", False): "create", ("PUT", True): "update", ("GET", True): "read"}
"""Interactions by method, and by whether the address has an id."""

_PURPOSES = {
    "ServiceRequest": "It makes, changes or cancels an order. The same resource again, by id or by "
    "identifier, changes nothing.",
    "DiagnosticReport": "It is kept as a report from elsewhere. Its text is read from result "
    "(Observations), conclusion, and presentedForm (text/plain, text/html).",
    "Patient": "Its identifiers are compared with (0010,0020) and (0010,0021) of films.",
}


def interactions(routes: Iterable[BaseRoute]) -> dict[str, list[str]]:
    """The interactions of each type, and those of the whole system as "", by the routes."""
    served: dict[str, list[str]] = {}
    for route in routes:
        if not isinstance(route, Route):
            continue
        match = re.fullmatch(rf"{FHIR_PATH}(?:/([A-Z]\w+)(/{{\w+}})?)?", route.path)
        if match is None:
            continue
        for method in sorted(route.methods or ()):
            if match[1] is None:
                served.setdefault("", []).append("transaction")
            else:
                code = _INTERACTIONS[method, bool(match[2])]
                served.setdefault(match[1], []).append(code)
    return {kind: sorted(codes) for kind, codes in served.items()}


def capability_statement(
    routes: Iterable[BaseRoute], address: str, token_address: str
) -> dict[str, Any]:
    """The CapabilityStatement (R4) of the FHIR routes.

    Args:
        routes: those of the router.
        address: where the server is, as https://nightdraft.example/fhir.
        token_address: where programs get tokens.
    """
    served = interactions(routes)
    kinds = [kind for kind in reversed(TYPES) if kind in served]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": _DATE,
        "kind": "instance",
        "software": {"name": "Nightdraft", "version": version("nightdraft")},
        "implementation": {
            "description": "Takes in orders, reports and what they refer to",
            "url": address,
        },
        "fhirVersion": "4.0.1",
        "format": [FHIR_MEDIA_TYPE, "json"],
        "rest": [
            {
                "mode": "server",
                "documentation": "R4 and R4B, and with fhirVersion=5.0 in the content type R5. "
                "There is no search.",
                "security": _security(token_address),
                "resource": [_describe(kind, served[kind]) for kind in kinds],
                "interaction": [{"code": code} for code in served.get("", ())],
            }
        ],
    }


def _security(token_address: str) -> dict[str, Any]:
    """How programs log in; the extension is of SMART App Launch 2.2, chapter "Conformance"."""
    return {
        "extension": [
            {
                "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
                "extension": [{"url": "token", "valueUri": token_address}],
            }
        ],
        "service": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                        "code": "SMART-on-FHIR",
                    }
                ],
                "text": "SMART Backend Services",
            }
        ],
        "description": "Authorization: Bearer, with a token that was made here, or with one that "
        "was given for a signed assertion (SMART Backend Services).",
    }


def _describe(kind: str, codes: list[str]) -> dict[str, Any]:
    return {
        "type": kind,
        "documentation": _PURPOSES.get(kind, "It is read where an order or a report refers to it."),
        "interaction": [{"code": code} for code in codes],
        "versioning": "versioned",
        "readHistory": False,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalUpdate": False,
        "conditionalDelete": "not-supported",
        "referencePolicy": ["literal", "logical", "local"],
    }
