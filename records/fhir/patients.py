"""What a Patient that is sent again changes of orders, reports and studies."""

from __future__ import annotations

from sqlalchemy.orm import Session

from records import patient_changes
from records.fhir.elements import Json, ResourceError, first, items, read_identifiers, text
from records.fhir.references import ReadingRules, Subject, read_patient
from records.states import Origin
from records.workflow.identifiers import PatientId


def apply_changes(
    session: Session, before: Json, after: Json, rules: ReadingRules, sender: str
) -> None:
    """Apply what differs between two versions of a Patient; its numbers are not changed by it.

    Args:
        session: the caller's transaction.
        before: the resource as it was; empty where it is new.
        after: the resource as it was sent now.
        rules: how it is read, and where its links lead.
        sender: who sent it.

    Raises:
        ResourceError: a new link leads nowhere.
    """
    if not read_identifiers(after):
        return
    now = read_patient(after, rules)
    if before and read_identifiers(before):
        then = read_patient(before, rules).patient
        words = (now.patient.name, now.patient.birth_date, now.patient.sex)
        if words != (then.name, then.birth_date, then.sex):
            patient_changes.correct_patient(
                session, Origin.FHIR, sender, _ids(now), now.patient, None
            )
    known = items(before.get("link"))
    for link in items(after.get("link")):
        kind = text(link.get("type"))
        if link in known or kind not in ("replaced-by", "replaces"):
            continue
        found = rules.resolve(first(link.get("other")), after)
        if found is None or found.get("resourceType") != "Patient":
            raise ResourceError(
                "the other Patient is not known here: send it before",
                "Patient.link.other",
                "not-found",
            )
        other = read_patient(found, rules, "Patient.link.other")
        surviving, retired = (other, now) if kind == "replaced-by" else (now, other)
        kept = _ids(surviving)
        # A number that both have, as a national one, is not given up.
        if given_up := [id_ for id_ in _ids(retired) if id_ not in kept]:
            patient_changes.merge_patients(
                session, Origin.FHIR, sender, surviving.patient, kept, given_up, None
            )


def _ids(subject: Subject) -> list[PatientId]:
    return [PatientId(subject.patient.patient_id, subject.patient.issuer), *subject.other_ids]
