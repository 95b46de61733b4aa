"""Reads reports out of HL7 v2 result messages, ORU^R01 (HL7 2.9, chapter 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from records.errors import CorpusError, MessageError, SettingsError
from records.hl7_messages import Message, Segment, read_messages
from records.hl7_results import CANCELLED, CORRECTED, FINAL, TEXT_TYPES, Result, read_results
from training.deid.deidentify import KnownIdentifiers
from training.importing.reports import FoundReport, Rejection, list_files, to_moment

ACCESSION_FIELDS = ("OBR-18", "OBR-3", "ORC-3")
"""Where the accession number is: the first field that is filled. OBR-18 is IHE's; OBR-3 and ORC-3
are the filler's order number, which many systems take for it."""
_STATUS_NAMES = {
    "P": "preliminary",
    "R": "not verified",
    "I": "only in process",
    "S": "partial",
    "A": "partial",
    "O": "only ordered",
    "N": "not asked for",
}


def read_hl7_reports(
    source: Path, accession_fields: Sequence[str] = ACCESSION_FIELDS
) -> Iterator[FoundReport | Rejection]:
    """Yield the reports of a file, or of all files below a folder, message by message.

    Args:
        source: A file with one message, a batch or many messages; or a folder of such files.
        accession_fields: Fields of OBR or ORC, as "OBR-18"; the first one that is filled counts.

    Raises:
        CorpusError: There is no such file or folder, or it cannot be read.
        SettingsError: A field is not written so.
    """
    fields = [_parse_field(name) for name in accession_fields]
    for path, name in list_files(source):
        messages = 0
        try:
            with path.open("rb") as file:
                for message in read_messages(file):
                    messages += 1
                    yield from _try_message(message, f"{name}, line {message.line}", fields)
        except OSError as error:
            raise CorpusError(f"{path} cannot be read ({error.strerror})") from error
        if not messages:
            yield Rejection(name, "", "it holds no HL7 message")


def _try_message(
    message: Message, where: str, fields: Sequence[tuple[str, int]]
) -> Iterator[FoundReport | Rejection]:
    try:
        yield from _read_message(message, where, fields)
    except MessageError as error:
        yield Rejection(where, "", str(error))


def _read_message(
    message: Message, where: str, accession_fields: Sequence[tuple[str, int]]
) -> Iterator[FoundReport | Rejection]:
    header = message.header
    where = f"{where}, message {header.part(10) or 'without an id'}"
    kind = (header.part(9, 1), header.part(9, 2))
    if kind != ("ORU", "R01"):
        yield Rejection(where, "", f"it is {'^'.join(filter(None, kind)) or 'of no type'}")
        return
    if header.part(11) not in ("P", ""):
        yield Rejection(where, "", f"it is no message of production (MSH-11 {header.part(11)})")
        return
    patient = next((s for s in message.segments if s.name == "PID"), None)
    patient_id = (patient.part(3) or patient.part(2)) if patient else ""
    if patient is None or not patient_id:
        yield Rejection(where, "", "it names no patient (PID-3)")
        return
    results = list(read_results(message.segments))
    if not results:
        yield Rejection(where, "", "it has no result (OBR)")
    for result in results:
        yield _read_result(result, patient, patient_id, where, header, accession_fields)


def _read_result(
    result: Result,
    patient: Segment,
    patient_id: str,
    where: str,
    header: Segment,
    accession_fields: Sequence[tuple[str, int]],
) -> FoundReport | Rejection:
    request = result.request
    accession = _accession(result, accession_fields)
    study = accession or result.study_uid
    if not study:
        return Rejection(where, "", "it names neither an accession number nor a study")
    status = result.status
    if status not in (FINAL, CORRECTED, CANCELLED):
        meaning = _STATUS_NAMES.get(status, "not known")
        return Rejection(where, study, f"it is not final (status {status}, {meaning})")
    taken = to_moment(request.part(7))
    names = "=".join(name.replace("&", " ") for name in patient.repetitions(5))
    found = FoundReport(
        source=where,
        patient=patient_id,
        known=KnownIdentifiers(names, patient_id, accession, patient.part(7)[:8], taken[:8]),
        accession=accession,
        study_uid=result.study_uid,
        taken=taken,
        issued=to_moment(request.part(22)) or to_moment(header.part(7)),
        texts=result.read_texts(),
        is_withdrawn=status == CANCELLED,
        other_ids=tuple(
            other
            for number in range(2, len(patient.repetitions(3)) + 1)
            if (other := patient.part(3, 1, number)) and other != patient_id
        ),
    )
    if found.is_withdrawn or any(
        found.texts.get(name) for name in ("report", "findings", "impression")
    ):
        return found
    kinds = sorted({s.part(2) for s in result.observations} - {*TEXT_TYPES})
    reason = f"its report is no text ({', '.join(kinds)})" if kinds else "it has no report (OBX)"
    return Rejection(where, study, reason)


def _accession(result: Result, fields: Sequence[tuple[str, int]]) -> str:
    segments = {"OBR": result.request, "ORC": result.order}
    for name, number in fields:
        segment = segments[name]
        if segment is not None and (value := segment.part(number)):
            return value
    return ""


def _parse_field(name: str) -> tuple[str, int]:
    segment, _, number = name.strip().upper().partition("-")
    if segment not in ("OBR", "ORC") or not number.isdecimal():
        raise SettingsError(f"{name!r} is no field of OBR or ORC; write it as OBR-18")
    return segment, int(number)
