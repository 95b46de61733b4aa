"""FHIR R4 resources of a patient that does not exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MRN = "http://hospital.example/mrn"
V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
LOINC = "http://loinc.org"


def identifier(kind: str, value: str, system: str = "") -> dict[str, Any]:
    """An Identifier with a type of HL7 table 0203."""
    typed = {"type": {"coding": [{"system": V2_0203, "code": kind}]}, "value": value}
    return typed | ({"system": system} if system else {})


def patient(**changed: Any) -> dict[str, Any]:
    """A Patient with the id of `tests.support.registered_studies.PATIENT`."""
    return {
        "resourceType": "Patient",
        "id": "jane",
        "identifier": [identifier("MR", "P1", MRN)],
        "name": [{"family": "Roe", "given": ["Jane"]}],
        "gender": "female",
        "birthDate": "1970-01-31",
    } | changed


def service_request(**changed: Any) -> dict[str, Any]:
    """A ServiceRequest with the Patient contained, and accession number A1."""
    return {
        "resourceType": "ServiceRequest",
        "contained": [patient(id="p")],
        "identifier": [identifier("PLAC", "77"), identifier("ACSN", "A1")],
        "status": "active",
        "intent": "order",
        "priority": "stat",
        "code": {"text": "Chest 2 views"},
        "subject": {"reference": "#p"},
        "reasonCode": [{"text": "Fever and cough."}],
    } | changed


def diagnostic_report(**changed: Any) -> dict[str, Any]:
    """A final DiagnosticReport with the Patient contained, on accession number A0."""
    return {
        "resourceType": "DiagnosticReport",
        "contained": [patient(id="p")],
        "identifier": [identifier("ACSN", "A0"), {"system": "http://ris.example", "value": "R1"}],
        "status": "final",
        "code": {"text": "Chest 2 views"},
        "subject": {"reference": "#p"},
        "effectiveDateTime": "2026-11-20T08:00:00+01:00",
        "conclusion": "No acute disease.",
    } | changed


def observation(loinc: str, words: str, **changed: Any) -> dict[str, Any]:
    """An Observation that is a section of a report, by its LOINC code."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": loinc}]},
        "valueString": words,
    } | changed


def load_samples(samples: Path) -> dict[str, dict[str, Any]]:
    """The sample resources, by the names of their files without .json."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(samples.glob("fhir/*.json"))}
