"""A DICOMweb server of our own, with the faults that servers have."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydicom import Dataset

from records.pacs import Pacs
from tests.support.pacs import describe, to_bytes

BOUNDARY = "==of parts=="
MULTIPART = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'


@dataclass
class WebPacs:
    """Answers QIDO-RS and WADO-RS.

    Attributes:
        images: what it has.
        ignores_query: whether it answers with everything, whatever is asked.
        token: that it wants; "" is none.
        at_once: how many answers it gives at most, whatever `limit` says.
        statuses: by the end of a path, the status that it answers instead.
        headers: of each answer.
        warning: its Warning header at STUDY level.
        content: what it sends instead of the parts of a multipart answer, by the object's UID.
        sends: what it answers to WADO-RS by a path's end: status, Content-Type, headers, body.
        cuts: ends an answer of WADO-RS after so many bytes.
        body: what it sends instead of each list.
        silence: awaited before each answer, where set.
        before_answer: called with the path of each call, where set.
        asked: paths with queries.
        accepted: the Accept headers.
    """

    images: list[Dataset] = field(default_factory=list)
    ignores_query: bool = False
    at_once: int = 1000
    token: str = ""
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    warning: str = ""
    content: dict[str, bytes] = field(default_factory=dict)
    sends: dict[str, tuple[int, str, dict[str, str], bytes]] = field(default_factory=dict)
    cuts: int | None = None
    body: bytes | None = None
    silence: threading.Event | None = None
    before_answer: Callable[[str], None] | None = None
    asked: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    _server: Any = None

    def __enter__(self) -> WebPacs:
        pacs = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                pacs._answer(self)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.silence:
            self.silence.set()
        self._server.shutdown()
        self._server.server_close()

    def describe(self, **changed: Any) -> Pacs:
        """This PACS as NIGHTDRAFT_PACS_FILE would name it."""
        url = f"http://127.0.0.1:{self._server.server_port}/web"
        return describe(104, **{"retrieve": "wado-rs", "url": url, "seconds": 5} | changed)

    def _answer(self, call: BaseHTTPRequestHandler) -> None:
        self.asked.append(call.path)
        self.accepted.add(call.headers.get("Accept", ""))
        if self.silence:
            self.silence.wait(30)
        if self.before_answer:
            self.before_answer(call.path)
        address = urllib.parse.urlsplit(call.path)
        path = address.path.removeprefix("/web/")
        status = next((code for end, code in self.statuses.items() if path.endswith(end)), 200)
        if self.token and call.headers.get("Authorization") != f"Bearer {self.token}":
            status = 401
        if status != 200:
            self._send(call, status, b"PLANTED", "text/plain")
            return
        query = dict(urllib.parse.parse_qsl(address.query))
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        parts = path.split("/")
        match = {**dict(zip(names, parts[1::2], strict=False)), **query}
        limit, offset = int(match.pop("limit", "1000")), int(match.pop("offset", "0"))
        found = [i for i in self.images if self.ignores_query or _fits(i, match)]
        if parts[-1] in ("studies", "series", "instances"):
            level = names[("studies", "series", "instances").index(parts[-1])]
            listed = {str(image[level].value): image for image in reversed(found)}
            answers = [_describe(image) for image in listed.values()]
            if not self.ignores_query:
                answers = answers[offset : offset + min(limit, self.at_once)]
            body = json.dumps(answers).encode()
            warning = {"Warning": self.warning} if self.warning and level == names[0] else {}
            content = self.body if self.body is not None else body
            self._send(call, 200, content, "application/dicom+json", warning)
            return
        for end, (code, kind, headers, sent) in self.sends.items():
            if path.endswith(end):
                self._send(call, code, sent, kind, headers)
                return
        if not found:
            self._send(call, 404, b"", "text/plain")
            return
        parts = [
            part10(image) if content is None else content
            for image in found
            for content in [self.content.get(str(image.SOPInstanceUID))]
        ]
        self._send(call, 200, to_multipart(*parts), MULTIPART)

    def _send(
        self,
        call: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        kind: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        call.send_response(status)
        for name, value in {**self.headers, **(headers or {}), "Content-Type": kind}.items():
            call.send_header(name, value)
        call.send_header("Content-Length", str(len(body)))
        call.end_headers()
        if self.cuts is not None and kind.startswith("multipart"):
            body = body[: self.cuts]
            call.close_connection = True
        call.wfile.write(body)


def to_multipart(*parts: bytes, newline: str = "\r\n") -> bytes:
    """A multipart/related message."""
    header = f"--{BOUNDARY}{newline}Content-Type: application/dicom{newline}{newline}".encode()
    whole = b"".join(header + part + newline.encode() for part in parts)
    return whole + f"--{BOUNDARY}--".encode()


def part10(image: Dataset) -> bytes:
    """An object as a file."""
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return to_bytes(image)


def _fits(image: Dataset, match: dict[str, str]) -> bool:
    for keyword, asked in match.items():
        own = str(image.get(keyword.replace("ModalitiesInStudy", "Modality"), ""))
        first, dash, last = asked.partition("-")
        if not (first <= own <= last if dash else own == asked):
            return False
    return True


def _describe(image: Dataset) -> dict[str, Any]:
    """An answer in DICOM JSON; PatientName is there to be left unread."""
    keywords = (
        "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "StudyDate",
        "StudyTime", "AccessionNumber", "Modality", "InstanceAvailability",
    )  # fmt: skip
    answer: dict[str, Any] = {
        f"{image[keyword].tag:08X}": {"vr": image[keyword].VR, "Value": [str(image[keyword].value)]}
        for keyword in keywords
        if keyword in image
    }
    answer["00080061"] = {"vr": "CS", "Value": [image.Modality]}
    answer["00201208"] = {"vr": "IS", "Value": [2]}
    answer["00100010"] = {"vr": "PN", "Value": [{"Alphabetic": "PLANTED"}]}
    return answer
