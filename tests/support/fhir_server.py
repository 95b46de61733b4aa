"""A FHIR server on a real port: searches in memory, SMART Backend Services, and faults."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError

from intake.queries.smart_login import ASSERTION_TYPE

SYSTEM = "http://hospital.example/mrn"
CLIENT = "nightdraft"


def make_patient(number: str = "pat1", value: str = "P-1", system: str = SYSTEM) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": number,
        "identifier": [{"system": system, "value": value}],
        "name": [{"use": "official", "family": "Phantom", "given": ["One"]}],
        "birthDate": "1970-01-01",
        "gender": "female",
    }


def make_report(number: str = "r1", patient: str = "pat1", **changed: Any) -> dict[str, Any]:
    report = {
        "resourceType": "DiagnosticReport",
        "id": number,
        "status": "final",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}
        ],
        "code": {"text": "XR CHEST"},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": "2025-06-01T10:00:00+00:00",
        "conclusion": "No acute disease.",
    }
    return {name: value for name, value in (report | changed).items() if value is not None}


@dataclass
class FhirServer:
    """Answers searches over `resources`; what `fault` returns for a path is answered in its place.

    Attributes:
        resources: by `Type/id`.
        page_size: entries of a page.
        fault: (path with query) -> (status, headers, body) or None.
        keys: the public keys of clients, by `kid`; with some, calls need a token.
        asked: every path that was asked for.
        tokens: the tokens that were given, with their end.
        ignores_patient: whether it ignores the parameter, as some servers do.
    """

    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    page_size: int = 50
    fault: Callable[[str], tuple[int, dict[str, str], bytes] | None] = lambda _path: None
    keys: dict[str, Any] = field(default_factory=dict)
    token_seconds: int = 300
    asked: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    assertions: list[dict[str, Any]] = field(default_factory=list)
    ignores_patient: bool = False
    port: int = 0
    _server: Any = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/fhir"

    def put(self, *resources: dict[str, Any]) -> None:
        for resource in resources:
            self.resources[f"{resource['resourceType']}/{resource['id']}"] = resource

    def __enter__(self) -> FhirServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer._send(self, outer.fault(self.path) or outer._answer(self))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer._send(self, outer.fault(self.path) or outer._give_token(body))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away; the next `with` block is back at the same port."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, answer: tuple[int, dict[str, str], bytes]) -> None:
        status, headers, body = answer
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(handler.path)
        path = parts.path.removeprefix("/fhir/")
        if path == ".well-known/smart-configuration":
            return as_json({"token_endpoint": f"http://127.0.0.1:{self.port}/token"})
        if path == "metadata":
            return as_json({"resourceType": "CapabilityStatement"})
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.keys and token not in self.tokens:
            return as_json(outcome("login"), 401)
        if "/" in path:
            found = self.resources.get(path)
            return as_json(found) if found else as_json(outcome("not-found"), 404)
        return as_json(self._search(path, parse_qs(parts.query)))

    def _search(self, kind: str, query: dict[str, list[str]]) -> dict[str, Any]:
        found = [r for r in self.resources.values() if r["resourceType"] == kind]
        if kind == "Patient":
            found = [p for p in found if self._matches(p, query["identifier"][0])]
        elif "patient" in query and not self.ignores_patient:
            wanted = f"Patient/{query['patient'][0]}"
            found = [r for r in found if r["subject"].get("reference") == wanted]
        elif "patient.identifier" in query:
            patients = {
                f"Patient/{p['id']}"
                for p in self.resources.values()
                if p["resourceType"] == "Patient"
                and self._matches(p, query["patient.identifier"][0])
            }
            found = [r for r in found if r["subject"].get("reference") in patients]
        start = int(query.get("page", ["0"])[0])
        page = found[start : start + self.page_size]
        entries = [{"resource": r, "search": {"mode": "match"}} for r in page]
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
        if start + self.page_size < len(found):
            kept = "&".join(f"{k}={v[0]}" for k, v in query.items() if k != "page")
            url = f"{self.base}/{kind}?{kept}&page={start + self.page_size}"
            bundle["link"] = [{"relation": "self", "url": "x"}, {"relation": "next", "url": url}]
        return bundle

    @staticmethod
    def _matches(patient: dict[str, Any], wanted: str) -> bool:
        system, _, value = wanted.partition("|")
        return any(
            (entry["system"], entry["value"]) == (system, value) for entry in patient["identifier"]
        )

    def _give_token(self, body: str) -> tuple[int, dict[str, str], bytes]:
        """The token endpoint of SMART Backend Services: the assertion is verified."""
        form = {name: values[0] for name, values in parse_qs(body).items()}
        try:
            assert form["grant_type"] == "client_credentials"
            assert form["client_assertion_type"] == ASSERTION_TYPE
            assertion = form["client_assertion"]
            kid = json.loads(_decoded(assertion.split(".")[0]))["kid"]
            token = jwt.decode(assertion, self.keys[kid], algorithms=["RS384", "ES384"])
            claims = token.claims
            assert claims["iss"] == claims["sub"] == CLIENT
            assert claims["aud"] == f"http://127.0.0.1:{self.port}/token"
            assert 0 < claims["exp"] - time.time() <= 300
            assert claims["jti"] not in [one["jti"] for one in self.assertions]
        except (AssertionError, KeyError, JoseError, ValueError):
            return as_json({"error": "invalid_client"}, 400)
        self.assertions.append(claims)
        given = f"token-{len(self.assertions)}"
        self.tokens.append(given)
        return as_json(
            {"access_token": given, "token_type": "bearer", "expires_in": self.token_seconds}
        )


def as_json(value: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/fhir+json"}, json.dumps(value).encode()


def outcome(code: str) -> dict[str, Any]:
    issue = {"severity": "error", "code": code, "diagnostics": "PHANTOM^ONE is not known"}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
