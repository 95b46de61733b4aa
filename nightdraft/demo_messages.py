"""HL7 messages of the demonstration, as a RIS sends them: orders, and an earlier report."""

from __future__ import annotations

import datetime as dt
import socket

import pydicom

from intake.hl7.mllp import END, make_frame
from records.errors import PartError

_SECONDS = 60.0
"""How long the answer is waited for."""


def make_order(film: pydicom.Dataset, accession: str, reason: str, *, other_patient: bool) -> bytes:
    """Return an ORM^O01 that orders a study.

    Args:
        film: A film of the study, whose patient the order names.
        accession: The accession number of the study.
        reason: Why the examination is requested.
        other_patient: Name another patient than the film does.
    """
    order = {1: "1", 2: accession, 4: "CXR^XR CHEST", 18: accession, 31: f"^{reason}"}
    return _message(
        "ORM^O01",
        accession,
        _patient(film, other_patient=other_patient),
        f"ORC|NW|{accession}",
        _segment("OBR", order),
    )


def make_prior_report(film: pydicom.Dataset, accession: str, impression: str) -> bytes:
    """Return an ORU^R01 with the final report of a film of the year before.

    Args:
        film: A film of the study that is drafted, whose patient the report names.
        accession: The accession number of the earlier study.
        impression: What the report says.
    """
    performed = f"{int(film.StudyDate[:4]) - 1}{film.StudyDate[4:]}"
    # 29 February has no day in the year before.
    performed = performed[:6] + ("28" if performed.endswith("0229") else performed[6:])
    result = {1: "1", 3: accession, 4: "CXR^XR CHEST", 7: performed, 18: accession, 24: "DX"}
    return _message(
        "ORU^R01",
        accession,
        _patient(film),
        _segment("OBR", {**result, 25: "F"}),
        f"OBX|1|TX|19005-8^Impression^LN||{impression}||||||F",
    )


def send_message(host: str, port: int, message: bytes) -> None:
    """Send a message by MLLP and wait for its answer.

    Raises:
        PartError: The listener does not answer, or refuses the message.
    """
    try:
        with socket.create_connection((host, port), _SECONDS) as connection:
            connection.sendall(make_frame(message))
            answer = b""
            while END not in answer:
                received = connection.recv(4096)
                if not received:
                    break
                answer += received
    except OSError as error:
        raise PartError(
            f"the HL7 listener at {host} port {port} does not answer: {error}"
        ) from None
    if b"\rMSA|AA|" not in answer:
        raise PartError(f"the HL7 listener at {host} port {port} refused a message of the demo")


def _message(kind: str, control_id: str, *segments: str) -> bytes:
    now = dt.datetime.now().astimezone().strftime("%Y%m%d%H%M%S%z")
    header = (
        rf"MSH|^~\&|DEMO|RIS|NIGHTDRAFT|DEMO|{now}||{kind}|{control_id}{kind[:3]}|P|2.5.1"
        "||||||UNICODE UTF-8"
    )
    return "".join(f"{segment}\r" for segment in (header, *segments)).encode()


def _patient(film: pydicom.Dataset, *, other_patient: bool = False) -> str:
    """PID of a film's patient, or of another one."""
    id_, name, born = str(film.PatientID), str(film.PatientName), str(film.PatientBirthDate)
    if other_patient:
        id_, name, born = f"{id_}B", f"{name}^B", "19610704"
    return _segment("PID", {1: "1", 3: id_, 5: name, 7: born, 8: str(film.PatientSex)})


def _segment(name: str, fields: dict[int, str]) -> str:
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])
