"""Devices that send: synthetic films, and associations to a listener that runs as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF

from tests.support.waiting import eventually

DX = "1.2.840.10008.5.1.4.1.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"

_LISTEN = """
import faulthandler
import signal
import sys
from intake.dicom.listener import run_listener
from records.errors import NightdraftError
from records.settings import settings
from records.telemetry import set_up_logs
set_up_logs("json", "debug", "listener")
faulthandler.register(signal.SIGUSR1)
try:
    run_listener(settings(), lambda port: print(port, flush=True))
except NightdraftError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@dataclass
class Running:
    """A listener's process."""

    process: subprocess.Popen
    log: Path
    port: int = 0

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def end(self) -> int:
        """Ask it to end, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            # Where it hangs: every thread's stack, into its log.
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(1)
            raise AssertionError(f"it does not end:\n{self.log.read_text()}") from None
        self.process.stdout.close()
        return status


def start_listener(folder: Path, first: str = "", **environment: str) -> Running:
    """A listener with the settings of this test, on a free port; its log in `folder`.

    first: Python that it runs before all else.
    """
    log = folder / f"listener-{len(list(folder.iterdir()))}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", first + _LISTEN],
            stdout=subprocess.PIPE,
            stderr=file,
            env={**os.environ, "NIGHTDRAFT_LISTEN_PORT": "0", **environment},
        )
    running = Running(process, log)
    running.port = int(process.stdout.readline() or 0)
    return running


def film(study="1.2.3", sop=None, sop_class=DX, pixels=b"\0\0" * 64, **fields) -> Dataset:
    """A film with a header that is whole; `fields` overrides or adds."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = sop or generate_uid()
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.1"
    dataset.Modality = "DX"
    dataset.PatientID = "P-1"
    dataset.PatientName = "PHANTOM^ONE"
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "F"
    dataset.AccessionNumber = "A1"
    dataset.StudyDate = "20260101"
    dataset.Rows = dataset.Columns = 8
    dataset.BitsAllocated = 16
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OW"
    for keyword, value in fields.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def part10(dataset: Dataset, path: Path) -> Path:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


@contextmanager
def association(port: int, *classes: str, syntaxes=(ExplicitVRLittleEndian,), caller="CR1", **more):
    """An association that is established; released at the end where it still stands."""
    entity = AE(ae_title=caller)
    for uid in classes or (DX,):
        entity.add_requested_context(uid, list(syntaxes))
    made = entity.associate("127.0.0.1", port, **more)
    try:
        yield made
    finally:
        if made.is_established:
            made.release()
        made.dul.join(30)


def send(port: int, *films: Dataset, **more) -> list[int]:
    """Send over one association; the statuses."""
    classes = {film.SOPClassUID for film in films}
    with association(port, *classes, **more) as made:
        assert made.is_established
        return [made.send_c_store(film).Status for film in films]


def store_raw(made, sop_class: str, sop_instance: str, content: bytes | Dataset) -> Dataset:
    """A C-STORE whose command says what one likes; its answer's status and comment."""
    request = _request(sop_class, sop_instance, content)
    made._reactor_checkpoint.clear()  # as send_c_store does: the answer is ours to take
    eventually(lambda: made._is_paused)
    made.dimse.send_msg(request, made.accepted_contexts[0].context_id)
    _, answer = made.dimse.get_msg(block=True)
    made._reactor_checkpoint.set()
    assert answer is not None, "no answer"
    return answer


def store_without_end(made, content: Dataset) -> None:
    """All of a C-STORE but its last P-DATA-TF, which never comes."""
    message = C_STORE_RQ()
    message.primitive_to_message(_request(content.SOPClassUID, content.SOPInstanceUID, content))
    context = made.accepted_contexts[0].context_id
    *pieces, _last = message.encode_msg(context, made.dimse.maximum_pdu_size)
    assert len(pieces) > 1, "the film fits one PDU"
    for piece in pieces:
        data = P_DATA_TF()
        data.from_primitive(piece)
        made.dul.socket.socket.sendall(data.encode())


def _request(sop_class: str, sop_instance: str, content: bytes | Dataset) -> C_STORE:
    if isinstance(content, Dataset):
        content = encode(content, False, True)
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = sop_instance
    request.Priority = 2
    request.DataSet = BytesIO(content)
    return request


def pdu(kind: int, content: bytes = b"", length: int | None = None) -> bytes:
    """A PDU (PS3.8 9.3.1) that may declare another length than it has."""
    return struct.pack(">BBL", kind, 0, len(content) if length is None else length) + content


@contextmanager
def connection(port: int):
    with socket.create_connection(("127.0.0.1", port), 30) as made:
        yield made


def is_closed(made: socket.socket) -> bool:
    """Wait until the other side hangs up."""
    try:
        while made.recv(65536):
            pass
    except ConnectionError:
        return True
    return True


def dcmtk(name: str) -> str:
    """A program of DCMTK by its whole name: pynetdicom brings a storescu of its own."""
    path = Path("/usr/bin") / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing: apt-get install dcmtk")
        pytest.skip(f"{path} is missing: apt-get install dcmtk")
    return str(path)
