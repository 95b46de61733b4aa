"""Reads corrections of patients, merges and moved visits out of ADT (HL7 2.9, chapter 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from intake.hl7.field_reader import FieldReader
from intake.hl7.header import Header
from intake.hl7.mapping import FieldMapping, parse_source
from intake.hl7.orders import describe_patient, visit_number
from intake.hl7.refusal import ErrorCode, MessageRefused
from records.hl7_messages import Segment
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient

CORRECTIONS, MERGES, MOVES = ("A08", "A31"), ("A18", "A40"), ("A45",)
"""Events that change patients."""

_RETIRED_ID = parse_source("MRG-1")
_OLD_VISITS = (parse_source("MRG-5"), parse_source("PV1-19"))


@dataclass(frozen=True, slots=True)
class PatientCorrection:
    """What is right of a patient (A08, A31)."""

    ids: tuple[PatientId, ...]
    patient: Patient
    used: dict[str, str]

    def describe(self) -> tuple[str, dict[str, str]]:
        """What it is in words, and its values by the names of the rules."""
        return "correction of a patient", describe_patient(self.patient, self.ids[1:])


@dataclass(frozen=True, slots=True)
class PatientMerge:
    """Ids that are of another patient from now on (A18, A40)."""

    surviving: Patient
    surviving_ids: tuple[PatientId, ...]
    retired_ids: tuple[PatientId, ...]
    used: dict[str, str]

    def describe(self) -> tuple[str, dict[str, str]]:
        """What it is in words, and its values by the names of the rules."""
        retired = ", ".join(f"{given.id}^{given.issuer}".rstrip("^") for given in self.retired_ids)
        values = describe_patient(self.surviving, self.surviving_ids[1:])
        return "merge of patients", {**values, "retired_ids (MRG-1)": retired}


@dataclass(frozen=True, slots=True)
class VisitMove:
    """A visit that belongs to another patient (A45)."""

    to: Patient
    to_ids: tuple[PatientId, ...]
    visit_number: str
    used: dict[str, str]

    def describe(self) -> tuple[str, dict[str, str]]:
        """What it is in words, and its values by the names of the rules."""
        values = describe_patient(self.to, self.to_ids[1:])
        return "move of a visit", {**values, "visit_number": self.visit_number}


PatientEffect = PatientCorrection | PatientMerge | VisitMove


def read_patient_effects(
    segments: Sequence[Segment], header: Header, mapping: FieldMapping
) -> list[PatientEffect]:
    """Read what a message changes of patients: of A40 and A45 one for each MRG.

    Raises:
        MessageRefused: A segment or an id is missing.
    """
    groups = _split_at(segments, "PID")
    if not groups:
        raise MessageRefused(
            ErrorCode.SEGMENT_SEQUENCE, "PID", "the message has no PID: it names no patient"
        )
    effects: list[PatientEffect] = []
    for group in groups:
        reader = FieldReader(mapping, group)
        patient, others = reader.patient()
        if not patient.patient_id:
            raise MessageRefused(
                ErrorCode.REQUIRED_FIELD, "PID-3", "the message names no patient id"
            )
        ids = (PatientId(patient.patient_id, patient.issuer), *others)
        if header.event in CORRECTIONS:
            effects.append(PatientCorrection(ids, patient, reader.used))
        elif header.event in MERGES:
            effects += [
                PatientMerge(patient, ids, old, reader.used) for old in _retired(group, mapping)
            ]
        else:
            effects += [
                VisitMove(patient, ids, visit, reader.used) for visit in _visits(group, mapping)
            ]
    return effects


def _retired(group: Sequence[Segment], mapping: FieldMapping) -> list[tuple[PatientId, ...]]:
    retired = [
        tuple(FieldReader(mapping, [segment]).ids_at(_RETIRED_ID))
        for segment in group
        if segment.name == "MRG"
    ]
    if not retired or not all(retired):
        raise MessageRefused(
            ErrorCode.REQUIRED_FIELD, "MRG-1", "the message does not say which id is given up"
        )
    return retired


def _visits(group: Sequence[Segment], mapping: FieldMapping) -> list[str]:
    """The visits that move: MRG-5, the number that they had, else PV1-19; one for each MRG."""
    sources = {**mapping.sources, "visit_number": _OLD_VISITS}
    visits = [
        visit_number(FieldReader(replace(mapping, sources=sources), part))
        for part in _split_at(group, "MRG") or [list(group)]
    ]
    if not all(visits):
        raise MessageRefused(
            ErrorCode.REQUIRED_FIELD, "MRG-5", "the message does not say which visit moves"
        )
    return visits


def _split_at(segments: Sequence[Segment], name: str) -> list[list[Segment]]:
    """The segments from each one of this name to the next; what is before the first is dropped."""
    groups: list[list[Segment]] = []
    for segment in segments:
        if segment.name == name:
            groups.append([])
        if groups:
            groups[-1].append(segment)
    return groups
