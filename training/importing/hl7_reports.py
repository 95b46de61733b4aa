"""Reads reports out of HL7 v2 result messages, ORU^R01 (HL7 2.9, chapter 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from records.errors import CorpusError, MessageError, SettingsError
from records.hl7_messages import Message, Segment, read_messages
from training.deid.deidentify import KnownIdentifiers
from training.importing.reports import FoundReport, Rejection, list_files, to_moment
from training.importing.section_codes import add_text, section_of

ACCESSION_FIELDS = ("OBR-18", "OBR-3", "ORC-3")
"""Where the accession number is: the first field that is filled. OBR-18 is IHE's; OBR-3 and ORC-3
are the filler's order number, which many systems take for it."""
_INDICATION_FIELDS = ((31, 2), (31, 1), (13, 1))
"""OBR-31, reason for study (its text, else its code), and OBR-13, relevant clinical information."""
_TEXT_TYPES = ("TX", "FT", "ST", "")
_STUDY_UID_CODES = ("113014", "110180")  # DICOM Study; Study Instance UID
FINAL, CORRECTED, CANCELLED = "F", "C", "X"
_WITHDRAWN = ("D", "W", "X")
"""Result status (HL7 table 0123) and observation status (table 0085)."""
_STATUS_NAMES = {
    "P": "preliminary",
    "R": "not verified",
    "I": "only in process",
    "S": "partial",
    "A": "partial",
    "O": "only ordered",
    "N": "not asked for",
}


@dataclass(frozen=True, slots=True)
class _Result:
    """One OBR of a message, with the segments that belong to it."""

    request: Segment
    order: Segment | None
    observations: list[Segment]
    study_uid: str


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
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CorpusError(f"{path} cannot be read ({error.strerror})") from error
        messages = 0
        for message in read_messages(data):
            messages += 1
            where = f"{name}, line {message.line}"
            try:
                yield from _read_message(message, where, fields)
            except MessageError as error:
                yield Rejection(where, "", str(error))
        if not messages:
            yield Rejection(name, "", "it holds no HL7 message")


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
    results = list(_results(message.segments))
    if not results:
        yield Rejection(where, "", "it has no result (OBR)")
    for result in results:
        yield _read_result(result, patient, patient_id, where, header, accession_fields)


def _read_result(
    result: _Result,
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
    status = _status(result)
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
        texts=_texts(result),
        is_withdrawn=status == CANCELLED,
    )
    if found.is_withdrawn or any(
        found.texts.get(name) for name in ("report", "findings", "impression")
    ):
        return found
    kinds = sorted({s.part(2) for s in result.observations} - {*_TEXT_TYPES})
    reason = f"its report is no text ({', '.join(kinds)})" if kinds else "it has no report (OBX)"
    return Rejection(where, study, reason)


def _results(segments: Sequence[Segment]) -> Iterator[_Result]:
    """Yield each OBR with the ORC before it and the OBX after it."""
    uid = next((s.part(1) for s in segments if s.name == "ZDS"), "")
    order: Segment | None = None
    current: _Result | None = None
    for segment in segments:
        if segment.name == "ORC":
            order = segment
        elif segment.name == "OBR":
            if current:
                yield _with_study_uid(current)
            current, order = _Result(segment, order, [], uid), None
        elif segment.name == "OBX" and current:
            current.observations.append(segment)
    if current:
        yield _with_study_uid(current)


def _with_study_uid(result: _Result) -> _Result:
    """Return the result with the study that an observation of its names, if ZDS names none."""
    uids = (
        segment.part(5)
        for segment in result.observations
        if segment.part(3) in _STUDY_UID_CODES or segment.part(3, 2).lower() == "study instance uid"
    )
    uid = result.study_uid or next(uids, "")
    return _Result(result.request, result.order, result.observations, uid)


def _status(result: _Result) -> str:
    """Return the result's status: OBR-25, or else what all its texts have."""
    if status := result.request.part(25).upper():
        return status
    statuses = {s.part(11).upper() for s in result.observations if s.part(2) in _TEXT_TYPES}
    if statuses and statuses <= {*_WITHDRAWN}:
        return CANCELLED
    return next((s for s in (CORRECTED, FINAL) if s in statuses), min(statuses, default="none"))


def _texts(result: _Result) -> dict[str, str]:
    """Return the texts by section. Only observations that are final themselves are taken."""
    texts: dict[str, str] = {}
    for observation in result.observations:
        if observation.part(2) not in _TEXT_TYPES:
            continue
        if observation.part(11).upper() not in (FINAL, CORRECTED, ""):
            continue
        identifier, _, suffix = observation.part(3).partition("&")
        names_study = (
            identifier in _STUDY_UID_CODES or "instance uid" in observation.part(3, 2).lower()
        )
        if not names_study:
            section = section_of((suffix, identifier), observation.part(3, 2))
            add_text(texts, section, observation.text(5))
    request = result.request
    given = (request.part(field, component) for field, component in _INDICATION_FIELDS)
    if indication := next(filter(None, given), ""):
        texts["indication"] = indication
    if procedure := request.part(4, 2):
        texts["procedure"] = procedure
    return texts


def _accession(result: _Result, fields: Sequence[tuple[str, int]]) -> str:
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
