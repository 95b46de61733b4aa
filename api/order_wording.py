"""Words values of orders for people: the names of fields, and old and new values of a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from records.database.order_tables import OrderChange
from records.states import ChangeOrigin, MatchState, OrderTextSource, Origin, Priority

ORIGIN_LABELS: dict[Origin, str] = {
    Origin.HL7: "HL7",
    Origin.FHIR: "FHIR",
    Origin.WORKLIST: "modality worklist",
    Origin.DICOM: "DICOM",
    Origin.REST: "REST",
    Origin.FILE: "file",
}
"""By which interface something came."""

CHANGE_ORIGIN_LABELS: dict[ChangeOrigin, str] = {
    **{ChangeOrigin(origin): label for origin, label in ORIGIN_LABELS.items()},
    ChangeOrigin.PERSON: "a person here",
    ChangeOrigin.STUDY: "its study",
}
"""What changed an order or a study."""

TEXT_LABELS: dict[OrderTextSource, str] = {
    OrderTextSource.REASON: "Reason",
    OrderTextSource.REASON_CODE: "Reason, as a code",
    OrderTextSource.CLINICAL_INFORMATION: "Clinical information",
    OrderTextSource.NOTE: "Note",
    OrderTextSource.DIAGNOSIS: "Diagnosis",
}
"""In which part of an order a text stood."""

MATCH_SENTENCES: dict[MatchState, str] = {
    MatchState.MATCHED: "It counts for the study.",
    MatchState.MISMATCH: "It is for another patient or of another site. A person must decide.",
    MatchState.ACCEPTED: "It counts for the study: a person decided so.",
    MatchState.REFUSED: "It does not count: a person decided that it is not the study's.",
    MatchState.OTHER_SITE: (
        "It does not count: it is another site's order of another patient. Only a number without "
        "an issuer is the same."
    ),
}
"""Whether an order counts for a study."""

PATIENT_LABELS: dict[str, str] = {
    "name": "Name",
    "patient_id": "Patient ID",
    "issuer": "Issuer of the patient ID",
    "birth_date": "Born",
    "sex": "Sex",
}
"""The fields of a patient that are compared."""

FIELD_LABELS: dict[str, str] = {
    "status": "Status",
    "patient_name": "Patient",
    "patient_id": "Patient ID",
    "patient_id_issuer": "Issuer of the patient ID",
    "other_patient_ids": "Other patient IDs",
    "patient_birth_date": "Born",
    "patient_sex": "Sex",
    "accession_numbers": "Accession numbers",
    "accession_number_issuer": "Issuer of the accession numbers",
    "placer_order_number": "Placer order number",
    "filler_order_number": "Filler order number",
    "study_instance_uids": "Study instance UIDs",
    "visit_number": "Visit number",
    "procedure": "Requested procedure",
    "texts": "Why it was requested",
    "priority": "Priority",
    "scheduled_at": "Scheduled for",
    "due_at": "Report due",
    "site": "Site",
}
"""The names of an order's fields, in the order in which a page shows them."""


def describe_value(name: str, value: Any) -> str:
    """A value of an order's field in one line, from the table or from its history as JSON."""
    if value is None or value in ("", []):
        return ""
    if name == "priority":
        return Priority(value).name
    if name == "texts":
        return "; ".join(
            f"{TEXT_LABELS[OrderTextSource(text['source'])]}: {text['text']}" for text in value
        )
    if name == "other_patient_ids":
        return ", ".join(describe_patient_id(other) for other in value)
    if isinstance(value, list):
        return ", ".join(value)
    return str(value)


def describe_patient_id(given: Mapping[str, str]) -> str:
    """A patient id with who gave it, where that is known."""
    return f"{given['id']} ({given['issuer']})" if given["issuer"] else given["id"]


def describe_cause(origin: str | None, sender: str) -> str:
    """What changed an order or a study, as pages and the command say it: "HL7 from RIS|NORTH".

    Args:
        origin: a ChangeOrigin; None where a film changed its study.
        sender: as the line of the history keeps it.
    """
    if origin is None:
        return sender
    label = CHANGE_ORIGIN_LABELS[ChangeOrigin(origin)]
    if origin == ChangeOrigin.PERSON:
        return f"{label}, {sender}"
    if origin == ChangeOrigin.STUDY:
        return f"{label} {sender}, whose site it took"
    return f"{label} from {sender}"


def describe_change(
    change: OrderChange, site_codes: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """The fields that a line of an order's history changed: name, old value, new value.

    Args:
        change: the line.
        site_codes: the code of each site, by our id as text.
    """
    names = [name for name in FIELD_LABELS if name in change.new_values]
    described = [
        (
            FIELD_LABELS[name],
            describe_value(name, change.old_values.get(name)),
            describe_value(name, change.new_values[name]),
        )
        for name in names
    ]
    if (site := change.new_values.get("site_id")) is not None:
        before = site_codes.get(change.old_values.get("site_id", ""), "")
        described.append(("Belongs to site", before, site_codes.get(site, "")))
    return described
