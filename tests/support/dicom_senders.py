"""Devices that send: synthetic images, and associations to a listener that runs as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE

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
class ListenerProcess:
    """A listener's process."""

    process: subprocess.Popen
    log: Path
    port: int = 0

    def log_lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> int:
        """Ask the listener to end, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            # Where it hangs: every thread's stack, into its log.
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(1)
            raise AssertionError(f"the listener does not end:\n{self.log.read_text()}") from None
        self.process.stdout.close()
        return status


def start_listener(folder: Path, preamble: str = "", **environment: str) -> ListenerProcess:
    """Start a listener with the settings of this test, on a free port unless they name one.

    Args:
        folder: where its log is written.
        preamble: Python code that the process runs first.
        environment: further environment variables.
    """
    log = folder / f"listener-{len(list(folder.iterdir()))}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", preamble + _LISTEN],
            stdout=subprocess.PIPE,
            stderr=file,
            env={"NIGHTDRAFT_LISTEN_PORT": "0", **os.environ, **environment},
        )
    return ListenerProcess(process, log, port=int(process.stdout.readline() or 0))


def make_image(study="1.2.3", sop=None, sop_class=DX, pixels=b"\0\0" * 64, **fields) -> Dataset:
    """A radiograph with a complete header; `fields` replaces elements, or removes those of None."""
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


def write_part10(dataset: Dataset, path: Path) -> Path:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


@contextmanager
def open_association(
    port: int, *classes: str, syntaxes=(ExplicitVRLittleEndian,), caller="CR1", **options
):
    """Ask for an association; it is released at the end where it is still established."""
    entity = AE(ae_title=caller)
    for uid in classes or (DX,):
        entity.add_requested_context(uid, list(syntaxes))
    association = entity.associate("127.0.0.1", port, **options)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        association.dul.join(30)


def send_images(port: int, *images: Dataset, **options) -> list[int]:
    """Send over one association and return the statuses."""
    classes = {image.SOPClassUID for image in images}
    with open_association(port, *classes, **options) as association:
        assert association.is_established
        return [association.send_c_store(image).Status for image in images]


def send_raw_store(
    association, sop_class: str, sop_instance: str, content: bytes | Dataset
) -> Dataset:
    """Send a C-STORE whose command says what one likes, over the first accepted context.

    Returns:
        The answer's command set, with its status and comment.
    """
    answers: list[Dataset] = []

    def keep_answer(event) -> None:
        answers.append(event.message.command_set)

    association.bind(evt.EVT_DIMSE_RECV, keep_answer)
    request = _request(sop_class, sop_instance, content)
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    eventually(lambda: answers or not association.is_established)
    association.unbind(evt.EVT_DIMSE_RECV, keep_answer)
    assert answers, "the association ended without an answer"
    return answers[0]


def send_unfinished_store(association, content: Dataset) -> None:
    """Send all of a C-STORE but its last P-DATA-TF, which never comes."""
    message = C_STORE_RQ()
    message.primitive_to_message(_request(content.SOPClassUID, content.SOPInstanceUID, content))
    context = association.accepted_contexts[0].context_id
    *fragments, _last = message.encode_msg(context, association.dimse.maximum_pdu_size)
    assert len(fragments) > 1, "the image fits one PDU"
    for fragment in fragments:
        data = P_DATA_TF()
        data.from_primitive(fragment)
        association.dul.socket.socket.sendall(data.encode())


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


def associate_request(title="CR1", classes=(DX,)) -> bytes:
    """An A-ASSOCIATE-RQ as pynetdicom sends it."""
    entity = AE(title)
    for uid in classes:
        entity.add_requested_context(uid, [ExplicitVRLittleEndian])
    for number, context in enumerate(entity.requested_contexts):
        context.context_id = 2 * number + 1
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = title, "NIGHTDRAFT"
    primitive.presentation_context_definition_list = entity.requested_contexts
    primitive.maximum_length_received = 16382
    primitive.implementation_class_uid = "1.2.3"
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu.encode()


def encode_pdu(pdu_type: int, content: bytes = b"", length: int | None = None) -> bytes:
    """A PDU (PS3.8 9.3.1) that may declare another length than it has."""
    declared = len(content) if length is None else length
    return struct.pack(">BBL", pdu_type, 0, declared) + content


@contextmanager
def open_connection(port: int):
    """Connect without asking for an association."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        yield connection


def wait_until_closed(connection: socket.socket) -> None:
    """Wait until the other side closes the connection; fails after its timeout."""
    with suppress(ConnectionError):
        while connection.recv(65536):
            pass


def dcmtk_program(name: str) -> str:
    """The full path of a DCMTK program, because pynetdicom brings a storescu of its own."""
    path = Path("/usr/bin") / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing: apt-get install dcmtk")
        pytest.skip(f"{path} is missing: apt-get install dcmtk")
    return str(path)


def send_unsent(
    port: int, title: str, unsent: Sequence[Dataset], timeout_seconds: float
) -> list[Dataset]:
    """Send as a device does that will send again; returns what was not answered 0x0000."""
    ae = AE(title)
    # pynetdicom waits this long for an answer even where the connection is gone.
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout_seconds
    ae.connection_timeout = timeout_seconds
    contexts = {ds.SOPClassUID: ds.file_meta.TransferSyntaxUID for ds in unsent}
    for sop_class, syntax in contexts.items():
        ae.add_requested_context(sop_class, syntax)
    association = ae.associate("127.0.0.1", port, ae_title="NIGHTDRAFT")
    remaining = list(unsent)
    if association.is_established:
        for ds in unsent:
            try:
                status = association.send_c_store(ds)
            except (RuntimeError, ValueError):
                break
            if getattr(status, "Status", None) == 0x0000:
                remaining.remove(ds)
        if association.is_established:
            association.release()
    return remaining
