"""PACSs to fetch from: Orthanc and DCMTK's dcmqrscp as programs, and an odd one of our own."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pydicom.config
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pynetdicom import AE, _config, build_context, dimse_messages, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from nightdraft.station.wheels import free_port
from records.pacs import Pacs
from tests.support.dicom_senders import make_image
from tests.support.doc_commands import code_blocks
from tests.support.waiting import eventually

PAGE = "docs/operate/archive.md"

ORTHANC = shutil.which("Orthanc")
DCMQRSCP = shutil.which("dcmqrscp")
DICOMWEB = next(
    (str(path) for path in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so")), None
)

TITLE = "ARCHIVE"
OURS = "NIGHTDRAFT"

PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"


def keep_pynetdicom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back, after a test, what a part or a command sets once for its process."""
    monkeypatch.setattr(dimse_messages, "NamedTemporaryFile", dimse_messages.NamedTemporaryFile)
    for name in ("STORE_RECV_CHUNKED_DATASET", "LOG_HANDLER_LEVEL", "LOG_REQUEST_IDENTIFIERS",
                 "LOG_RESPONSE_IDENTIFIERS"):  # fmt: skip
        monkeypatch.setattr(_config, name, getattr(_config, name))
    monkeypatch.setitem(_config.VALIDATORS, "UI", _config.VALIDATORS["UI"])
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    validation = pydicom.config.settings.reading_validation_mode
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", validation)


def make_study(number: int, films: int = 2, **fields: Any) -> list[Dataset]:
    """A study with some films and one presentation state."""
    study = f"1.2.826.77.{number}"
    fields = {"AccessionNumber": f"A{number}", "StudyTime": "081500", **fields}
    made = [
        make_image(study, f"{study}.1.{film}", SeriesInstanceUID=f"{study}.1", **fields)
        for film in range(1, films + 1)
    ]
    state = make_image(
        study,
        f"{study}.9.1",
        sop_class=PRESENTATION_STATE,
        SeriesInstanceUID=f"{study}.9",
        **fields | {"Modality": "PR"},
    )
    del state.PixelData
    return [*made, state]


def film_uids(images: list[Dataset]) -> set[str]:
    """The SOP Instance UIDs of the films among some objects."""
    return {str(image.SOPInstanceUID) for image in images if image.Modality != "PR"}


def describe(port: int, **changed: Any) -> Pacs:
    """A PACS on this port, as NIGHTDRAFT_PACS_FILE would name it."""
    values = {
        "name": "archive", "host": "127.0.0.1", "port": port, "ae_title": TITLE,
        "calling_ae": OURS, "seconds": 20, "studies_per_minute": 100_000,
    }  # fmt: skip
    return Pacs(**(values | changed))


@dataclass
class PacsProgram:
    """A PACS that runs as a program; it can be killed, and started again with what it has.

    Attributes:
        command: what runs it.
        folder: where it works.
        port: its DICOM port.
        listener_port: where it sends to by C-MOVE.
        web_port: of its HTTP server; 0 is none.
    """

    command: list[Any]
    folder: Path
    port: int
    listener_port: int
    web_port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def web(self) -> str:
        """The address of its DICOMweb service."""
        return f"http://127.0.0.1:{self.web_port}/dicom-web"

    def start(self) -> None:
        """Start it, and wait until it takes associations."""
        with (self.folder / "pacs.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.folder)
        eventually(self.answers, 60)

    def kill(self) -> None:
        """Kill it, with the processes that it has made for associations."""
        assert self.process
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def answers(self) -> bool:
        """Whether it takes an association."""
        with suppress(Exception):
            association = AE(OURS).associate(
                "127.0.0.1", self.port, [build_context(Verification)], ae_title=TITLE
            )
            if association.is_established:
                association.release()
                return True
        return False

    def store(self, images: list[Dataset]) -> None:
        """Give it objects."""
        entity = AE(OURS)
        entity.dimse_timeout = 300  # of a busy machine
        classes = {str(image.SOPClassUID) for image in images}
        association = entity.associate(
            "127.0.0.1", self.port, [build_context(uid) for uid in classes], ae_title=TITLE
        )
        assert association.is_established
        for image in images:
            assert association.send_c_store(image).Status == 0
        association.release()

    def remove(self, sop_instance_uid: str) -> None:
        """Take one object away (Orthanc)."""
        request = urllib.request.Request(self._find(sop_instance_uid), method="DELETE")
        urllib.request.urlopen(request, timeout=10).close()

    def lose(self, sop_instance_uids: Collection[str]) -> None:
        """Delete the files of objects behind its back: it lists them, and cannot send them."""
        storage = self.folder / "storage"
        if self.web_port:
            for uid in sop_instance_uids:
                address = f"{self._find(uid)}/attachments/dicom/info"
                with urllib.request.urlopen(address, timeout=10) as answer:
                    name = json.load(answer)["Uuid"]
                (storage / name[:2] / name[2:4] / name).unlink()
            return
        files = [path for path in storage.iterdir() if path.name != "index.dat"]
        found = {
            str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID): path
            for path in files
        }
        for uid in sop_instance_uids:
            found[uid].unlink()

    def _find(self, sop_instance_uid: str) -> str:
        """The address of an object in Orthanc's own REST."""
        base = f"http://127.0.0.1:{self.web_port}"
        question = json.dumps(
            {"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}}
        ).encode()
        with urllib.request.urlopen(f"{base}/tools/find", question, timeout=10) as answer:
            (found,) = json.load(answer)
        return f"{base}/instances/{found}"


@contextmanager
def running_orthanc(folder: Path, **changed: Any) -> Iterator[PacsProgram]:
    """An Orthanc as our page sets it up, with its DICOMweb plugin where it is installed."""
    folder.mkdir(exist_ok=True)
    config_file = folder / "orthanc.json"
    pacs = PacsProgram([ORTHANC, config_file], folder, free_port(), free_port(), free_port())
    (written,) = code_blocks(PAGE, "Orthanc", "json")
    config = json.loads(written)
    config["DicomModalities"]["nightdraft"] |= {"Host": "127.0.0.1", "Port": pacs.listener_port}
    # Films are put into it by our own title, too.
    config["DicomModalities"]["nightdraft"]["AllowStore"] = True
    config |= {
        "DicomPort": pacs.port, "HttpPort": pacs.web_port, "AuthenticationEnabled": False,
        "DicomCheckCalledAet": True, "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"), "Plugins": [DICOMWEB] if DICOMWEB else [],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, **changed,
    }  # fmt: skip
    config_file.write_text(json.dumps(config))
    try:
        pacs.start()
        yield pacs
    finally:
        pacs.stop()


@contextmanager
def running_dcmqrscp(folder: Path) -> Iterator[PacsProgram]:
    """DCMTK's image server."""
    folder.mkdir(exist_ok=True)
    (folder / "storage").mkdir()
    port, listener_port = free_port(), free_port()
    config_file = folder / "dcmqrscp.cfg"
    config_file.write_text(
        f"""
NetworkTCPPort = {port}
MaxPDUSize = 131072
MaxAssociations = 16
HostTable BEGIN
nightdraft = ({OURS}, 127.0.0.1, {listener_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{TITLE} {folder / "storage"} RW (2000, 1024mb) ANY
AETable END
"""
    )
    pacs = PacsProgram([DCMQRSCP, "-c", config_file], folder, port, listener_port)
    try:
        pacs.start()
        yield pacs
    finally:
        pacs.stop()


@dataclass
class OddPacs:
    """A PACS of our own, with faults.

    Attributes:
        images: what it has.
        cut_at: the longest answer at STUDY level; 0 is any.
        cut_status: its last status where it cut an answer.
        gives_none_when_cut: whether it answers nothing but that status then.
        find_status: its last status to a C-FIND else.
        lacks: keys that it does not return.
        added: answers at STUDY level that it gives whatever it is asked.
        hangs_up_after: ends the association after so many answers.
        tls: its certificate, where it speaks TLS.
        ignores: keys of a question that it does not look at.
        availability: (0008,0056) of an image by its UID.
        withheld: SOP Instance UIDs that it lists and does not send, until they are taken out.
        fails: Study Instance UIDs of which it sends nothing, with the status.
        silent_for: Study Instance UIDs at whose C-GET it hangs up.
        offers_get: whether C-GET is offered.
        refuses: whether it refuses every association.
        silence: awaited before each answer, where set.
        asked: (level, keys) of each question.
        sent: how often each object was sent.
        before_get: called with the number of each C-GET, where set.
        before_image: called with the number of each object before it is sent, where set.
        associations: how many were asked for.
    """

    images: list[Dataset] = field(default_factory=list)
    cut_at: int = 0
    cut_status: int = 0x0000
    gives_none_when_cut: bool = False
    find_status: int = 0x0000
    lacks: set[str] = field(default_factory=set)
    added: list[Dataset] = field(default_factory=list)
    hangs_up_after: int | None = None
    tls: ssl.SSLContext | None = None
    ignores: set[str] = field(default_factory=set)
    availability: dict[str, str] = field(default_factory=dict)
    withheld: set[str] = field(default_factory=set)
    fails: dict[str, int] = field(default_factory=dict)
    silent_for: set[str] = field(default_factory=set)
    offers_get: bool = True
    refuses: bool = False
    silence: threading.Event | None = None
    asked: list[tuple[str, Dataset]] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    before_get: Callable[[int], None] | None = None
    before_image: Callable[[int], None] | None = None
    associations: int = 0
    port: int = 0
    _server: Any = None

    def __enter__(self) -> OddPacs:
        entity = AE(TITLE)
        entity.add_supported_context(Verification)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
        if self.offers_get:
            entity.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        for uid in {str(image.SOPClassUID) for image in self.images}:
            entity.add_supported_context(uid, scu_role=False, scp_role=True)
        if self.refuses:
            entity.require_calling_aet = ["SOMEBODY"]
        self._server = entity.start_server(
            ("127.0.0.1", self.port),
            block=False,
            ssl_context=self.tls,
            evt_handlers=[
                (evt.EVT_C_FIND, self._find),
                (evt.EVT_C_GET, self._get),
                (evt.EVT_REQUESTED, self._count),
            ],
        )
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away; the next `with` block is back at the same port."""
        if self.silence:
            self.silence.set()
        if self._server:
            self._server.shutdown()
            self._server = None

    def _count(self, _: object) -> None:
        self.associations += 1

    @property
    def open_associations(self) -> int:
        """How many there are now."""
        return len(self._server.active_associations)

    def hang_up(self) -> None:
        """Abort every association that is open now."""
        for association in self._server.active_associations:
            association.abort()

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        question = event.identifier
        level = question.QueryRetrieveLevel
        self.asked.append((level, question))
        if self.silence:
            self.silence.wait(30)
        answers = [*(self.added if level == "STUDY" else ()), *self._answers(level, question)]
        is_cut = level == "STUDY" and bool(self.cut_at) and len(answers) > self.cut_at
        if is_cut:
            answers = [] if self.gives_none_when_cut else answers[: self.cut_at]
        for count, answer in enumerate(answers):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            if count == self.hangs_up_after:
                event.assoc.abort()
                return
            yield 0xFF00, answer
        yield (self.cut_status if is_cut else self.find_status), None

    def _answers(self, level: str, question: Dataset) -> Iterator[Dataset]:
        unique = {
            "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID",
        }[level]  # fmt: skip
        seen = set()
        for image in self.images:
            uid = image[unique].value
            if uid in seen or not self._matches(image, question):
                continue
            seen.add(uid)
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            for element in question:
                if element.keyword in self.lacks:
                    continue
                if element.keyword == "ModalitiesInStudy":
                    answer.ModalitiesInStudy = sorted(self._modalities(image.StudyInstanceUID))
                elif element.keyword == "InstanceAvailability":
                    answer.InstanceAvailability = self.availability.get(image.SOPInstanceUID, "")
                elif element.keyword in image:
                    setattr(answer, element.keyword, image[element.keyword].value)
            yield answer

    def _modalities(self, study: str) -> set[str]:
        return {one.Modality for one in self.images if one.StudyInstanceUID == study}

    def _matches(self, image: Dataset, question: Dataset) -> bool:
        for element in question:
            keyword = element.keyword
            value = str(element.value or "")
            if not value or keyword in self.ignores or keyword == "QueryRetrieveLevel":
                continue
            if keyword == "ModalitiesInStudy":
                if value not in self._modalities(image.StudyInstanceUID):
                    return False
                continue
            own = str(image.get(keyword, ""))
            if keyword in ("StudyDate", "StudyTime") and "-" in value:
                first, _, last = value.partition("-")
                if not (own and first <= own <= last):
                    return False
            elif element.VM > 1:
                if own not in element.value:
                    return False
            elif own != value:
                return False
        return True

    def _get(self, event: Any) -> Iterator[Any]:
        question = event.identifier
        self.asked.append(("GET", question))
        study = str(question.StudyInstanceUID)
        if self.before_get:
            self.before_get(sum(level == "GET" for level, _ in self.asked))
        if self.silence:
            self.silence.wait(30)
        if study in self.silent_for:
            event.assoc.abort()
            return
        if study in self.fails:
            yield 1
            yield self.fails[study], None
            return
        chosen = [
            image
            for image in self.images
            if self._matches(image, question) and image.SOPInstanceUID not in self.withheld
        ]
        yield len(chosen)
        for image in chosen:
            if self.before_image:
                self.before_image(self.sent.total() + 1)
            self.sent[str(image.SOPInstanceUID)] += 1
            yield 0xFF00, image


def to_bytes(image: Dataset) -> bytes:
    """An object as a Part 10 file."""
    out = BytesIO()
    dcmwrite(out, image, enforce_file_format=True)
    return out.getvalue()
