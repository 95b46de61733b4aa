"""A typed client of REST: list the worklist, read a draft, save a text, sign it.

    export NIGHTDRAFT_LOGIN=roe NIGHTDRAFT_PASSWORD=...   # not needed before the first account
    python examples/client.py list
    python examples/client.py read STUDY_INSTANCE_UID
    python examples/client.py save STUDY_INSTANCE_UID --findings TEXT --impression TEXT
    python examples/client.py sign STUDY_INSTANCE_UID SHA256

What `read` shows is a draft until a radiologist has signed it. `sign` signs the text whose SHA-256
`read` has printed, and no other. A person signs, so a person logs in here; for lists and drafts
alone a program takes a token (`Client(url, token=...)`). It needs httpx2 and pydantic.

A call that was not answered is sent again: a save names the text that it was made from (If-Match),
and a signature has an Idempotency-Key, so neither is carried out twice.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
from pydantic import BaseModel, Field

WARNING = (
    "AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - "
    "NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED"
)


class Study(BaseModel):
    """A row of the worklist; the answer has more fields than are taken here."""

    study_instance_uid: str
    accession_number: str
    state: str
    priority: str
    signed_by: str


class Page(BaseModel):
    """A page of the worklist. next: the `after` of the following page."""

    studies: list[Study]
    next: str | None


class Text(BaseModel):
    """The text that readers write from a draft. etag: names exactly this text."""

    draft: uuid.UUID
    version: int
    findings: str
    impression: str
    sha256: str
    saved_by: str
    etag: str = Field(default="", exclude=True)


class Review(BaseModel):
    """A signature."""

    id: uuid.UUID
    decision: str
    reader: str
    decided_at: str


class Problem(Exception):
    """The server refused a call (RFC 9457). current: the present text, where another one came."""

    def __init__(self, answer: httpx.Response) -> None:
        is_problem = answer.headers.get("content-type", "") == "application/problem+json"
        body: dict[str, Any] = answer.json() if is_problem else {}
        self.status = answer.status_code
        self.current = Text.model_validate(body["current"]) if "current" in body else None
        title = body.get("title", answer.reason_phrase)
        super().__init__(f"{title}. {body.get('detail', '')} (call {body.get('request_id', '-')})")


class Client:
    """REST of one server.

    Args:
        url: where it is, as https://nightdraft.example.org.
        token: of a program (`nightdraft token create`).
        by: who saves and signs, before the first account; an account need not say it.
        attempts: how often a call is sent that is not answered.
    """

    def __init__(self, url: str, token: str = "", by: str = "", attempts: int = 6) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=30)
        self._by, self._attempts = by, attempts

    def log_in(self, login: str, password: str, code: str = "") -> None:
        """Log in as a person. Whoever changes something sends the token of the session, too."""
        given = {"login": login, "password": password, "code": code}
        if self._http.post("/login", data=given).status_code != 303:
            raise PermissionError("The login was refused.")
        self._http.headers["x-form-token"] = self._send("GET", "/api/session").json()["form_token"]

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def list_studies(self, **filters: str) -> Iterator[Study]:
        """The studies of the worklist, page by page; the filters are those of its address."""
        after: str | None = ""
        while after is not None:
            query = filters | ({"after": after} if after else {})
            answer = self._send("GET", "/api/worklist", params=query)
            page = Page.model_validate_json(answer.content)
            yield from page.studies
            after = page.next

    def read_text(self, uid: str) -> Text:
        """The text in work; where nobody has written yet it is the draft's own (version 0)."""
        return _text(self._send("GET", _address(uid, "working-text")))

    def save_text(self, uid: str, made_from: Text, findings: str, impression: str) -> Text:
        """Save what a reader wrote; a Problem of status 412 has the text of who saved meanwhile."""
        body = {"findings": findings, "impression": impression, "by": self._by}
        headers = {"if-match": made_from.etag}
        address = _address(uid, "working-text")
        return _text(self._send("PUT", address, json=body, headers=headers))

    def sign(self, uid: str, text: Text) -> Review:
        """Sign exactly this text; a Problem of status 409 has the present one."""
        body = text.model_dump(mode="json", include={"draft", "version", "sha256"})
        headers = {"idempotency-key": f'"{uuid.uuid4()}"'}  # one for all attempts of this call
        address = _address(uid, "reviews/sign")
        answer = self._send("POST", address, json=body | {"by": self._by}, headers=headers)
        return Review.model_validate_json(answer.content)

    def _send(self, method: str, address: str, **content: Any) -> httpx.Response:
        """The answer of a call that may be sent twice; else a Problem or a TransportError."""
        for attempt in range(1, self._attempts + 1):
            wait = min(2.0**attempt / 4, 30.0)
            try:
                answer = self._http.request(method, address, **content)
            except httpx.TransportError:
                if attempt == self._attempts:
                    raise
            else:
                if answer.is_success:
                    return answer
                # 429, 503, and 409 while the first attempt is still being carried out.
                if "retry-after" not in answer.headers or attempt == self._attempts:
                    raise Problem(answer)
                wait = float(answer.headers["retry-after"])
            time.sleep(wait)
        raise AssertionError("unreachable")


def _address(uid: str, what: str) -> str:
    return f"/api/studies/{quote(uid)}/{what}"


def _text(answer: httpx.Response) -> Text:
    text = Text.model_validate_json(answer.content)
    text.etag = answer.headers["etag"]
    return text


def main() -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(description="List, read, save and sign by REST.")
    parser.add_argument("act", choices=["list", "read", "save", "sign"])
    parser.add_argument("uid", nargs="?", default="", help="Study Instance UID")
    parser.add_argument("sha256", nargs="?", default="", help="of the text that is signed")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    for name in ("by", "findings", "impression"):
        parser.add_argument(f"--{name}", default="")
    given = parser.parse_args()
    try:
        with closing(Client(given.url, by=given.by)) as client:
            if login := os.environ.get("NIGHTDRAFT_LOGIN", ""):
                client.log_in(login, os.environ["NIGHTDRAFT_PASSWORD"])
            return _act(client, given)
    except (Problem, PermissionError, httpx.TransportError) as error:
        print(error, file=sys.stderr)
        return 1


def _act(client: Client, given: argparse.Namespace) -> int:
    if given.act == "list":
        for study in client.list_studies():
            signed = f"signed by {study.signed_by}" if study.signed_by else study.state
            print(study.study_instance_uid, study.priority, study.accession_number, signed)
        return 0
    text = client.read_text(given.uid)
    if given.act == "save":
        text = client.save_text(given.uid, text, given.findings, given.impression)
    if given.act == "sign":
        if text.sha256 != given.sha256:
            print("The text is another one by now: read it, and sign what you read.")
            return 1
        review = client.sign(given.uid, text)
        print(f"Signed by {review.reader} at {review.decided_at}.")
        return 0
    print(f"{WARNING}\n\nFindings: {text.findings}\nImpression: {text.impression}")
    print(f"\nVersion {text.version}, SHA-256 {text.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
