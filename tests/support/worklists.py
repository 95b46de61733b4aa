"""Modality worklists: entries as files, programs that serve them, and an odd one of our own."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification

from intake.queries.worklist import Worklist
from nightdraft.station.wheels import free_port
from records.settings import read_settings
from tests.support.doc_commands import code_blocks
from tests.support.waiting import eventually

PAGE = "docs/operate/integration/worklist.md"

TITLE = "WORKLIST"
REASON = "Fever and cough."


def make_entry(step: dict[str, Any] | None = None, **fields: Any) -> Dataset:
    """An entry for the patient of `registered_studies`; `fields` replaces elements."""
    entry = Dataset()
    values: dict[str, Any] = {
        "AccessionNumber": "A1",
        "PatientID": "P-1",
        "PatientName": "PHANTOM^ONE",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "StudyInstanceUID": "1.2.999.1",
        "RequestedProcedureID": "RP1",
        "RequestedProcedureDescription": "XR CHEST 2 VIEWS",
        "RequestedProcedurePriority": "HIGH",
        "ReasonForTheRequestedProcedure": REASON,
    }
    step_values: dict[str, Any] = {
        "Modality": "DX",
        "ScheduledStationAETitle": "XRAY1",
        "ScheduledProcedureStepStartDate": "20260101",
        "ScheduledProcedureStepStartTime": "081500",
        "ScheduledProcedureStepDescription": "CHEST PA AND LATERAL",
        "ScheduledProcedureStepID": "SPS1",
    }
    scheduled = Dataset()
    for keyword, value in (step_values | (step or {})).items():
        setattr(scheduled, keyword, value)
    for keyword, value in (values | fields).items():
        if value is not None:
            setattr(entry, keyword, value)
    entry.ScheduledProcedureStepSequence = [scheduled]
    return entry


def write_entry(entry: Dataset, path: Path) -> None:
    """Write an entry as Orthanc's plugin and wlmscpfs read it."""
    entry.file_meta = FileMetaDataset()
    entry.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    entry.file_meta.MediaStorageSOPClassUID = ModalityWorklistInformationFind
    entry.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dcmwrite(path, entry, enforce_file_format=True)


def make_worklist(port: int, **changed: Any) -> Worklist:
    """Our client of the worklist on this port."""
    values = {"worklist_host": "127.0.0.1", "worklist_port": port, "worklist_seconds": 10}
    return Worklist(read_settings(**(values | changed)))


@contextmanager
def serving(command: list[Any], port: int, log: Path) -> Iterator[int]:
    """Run a program that serves a worklist, once it answers C-ECHO."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=log.parent)

    def answers() -> bool:
        with suppress(Exception):
            make_worklist(port).check()
            return True
        return False

    try:
        eventually(answers, 60)
        yield port
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def orthanc_worklist(folder: Path, program: str) -> Iterator[int]:
    """Orthanc as our page sets it up, over the entries in `folder`; its port."""
    port = free_port()
    (written,) = code_blocks(PAGE, "Orthanc", "json")
    config = json.loads(written)
    config["Worklists"]["Database"] = str(folder)
    config["DicomModalities"]["nightdraft"][1] = "127.0.0.1"
    config |= {
        "DicomPort": port,
        "HttpServerEnabled": False,
        "StorageDirectory": str(folder.parent / "storage"),
        "IndexDirectory": str(folder.parent / "storage"),
    }
    path = folder.parent / "orthanc.json"
    path.write_text(json.dumps(config))
    with serving([program, path], port, folder.parent / "orthanc.log"):
        yield port


@contextmanager
def dcmtk_worklist(folder: Path, program: str) -> Iterator[int]:
    """DCMTK's wlmscpfs; the folder above `folder` is its data, the folder's name its AE title."""
    port = free_port()
    (folder / "lockfile").touch()
    with serving([program, "-dfp", folder.parent, str(port)], port, folder.parent / "wlmscpfs.log"):
        yield port


@dataclass
class OddWorklist:
    """A worklist of our own: what it answers, whatever it is asked.

    Attributes:
        answers: identifiers of its pending answers; a function gets the question.
        status: its last status.
        asked: the identifiers that it was sent.
        callers: the calling AE titles.
        delay: awaited before it answers, where set.
        tls: its certificate, where it speaks TLS.
    """

    answers: list[Dataset] | Callable[[Dataset], list[Dataset]] = field(default_factory=list)
    status: int = 0x0000
    asked: list[Dataset] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    delay: threading.Event | None = None
    port: int = 0
    tls: ssl.SSLContext | None = None
    _server: Any = None

    def __enter__(self) -> OddWorklist:
        entity = AE(TITLE)
        entity.add_supported_context(ModalityWorklistInformationFind)
        entity.add_supported_context(Verification)
        entity.require_called_aet = True
        self._server = entity.start_server(
            ("127.0.0.1", self.port),
            block=False,
            ssl_context=self.tls,
            evt_handlers=[(evt.EVT_C_FIND, self._find)],
        )
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away; the next `with` block is back at the same port."""
        if self.delay:
            self.delay.set()
        if self._server:
            self._server.shutdown()
            self._server = None

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        self.asked.append(event.identifier)
        self.callers.append(str(event.assoc.requestor.ae_title))
        if self.delay:
            self.delay.wait(30)
        answers = self.answers(event.identifier) if callable(self.answers) else self.answers
        for answer in answers:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, answer
        yield self.status, None
