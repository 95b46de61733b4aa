"""Which studies an order or a report is about: by accession number or study UID, and by patient."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, any_, func, literal, or_, select
from sqlalchemy.orm import Session

from records.database.tables import Study
from records.workflow.identifiers import PatientId, make_keys, plain_key
from records.workflow.patients import Patient, same_patient


def study_keys(study: Study) -> set[tuple[str, str]]:
    """The keys by which a study's orders and reports are found."""
    return make_keys(
        accession=[study.accession_number, *study.requested_accession_numbers],
        study=[study.study_instance_uid],
    )


def find_study_ids(
    session: Session, accession_numbers: Iterable[str], study_instance_uids: Iterable[str]
) -> list[uuid.UUID]:
    """Our ids of the studies with one of these, in the order in which studies are locked."""
    conditions: list[ColumnElement[bool]] = [
        Study.study_instance_uid.in_(filter(None, study_instance_uids))
    ]
    numbers = sorted(set(filter(None, map(str.strip, accession_numbers))))
    for number in numbers:
        # The index of the search is on these very expressions.
        conditions.append(func.upper(Study.accession_number.collate("C")) == plain_key(number))
    study_ids = set(session.scalars(select(Study.id).where(or_(*conditions))))
    for number in numbers:
        study_ids |= set(
            session.scalars(
                select(Study.id).where(
                    Study.requested_accession_numbers.op("<>")("{}"),
                    literal(number) == any_(Study.requested_accession_numbers),
                )
            )
        )
    return sorted(study_ids)


def find_studies_of_patient(session: Session, ids: Iterable[PatientId]) -> list[uuid.UUID]:
    """Our ids of the studies under one of these patient ids, whoever issued it."""
    values = {plain_key(given.id) for given in ids} - {""}
    # The index of the search is on this very expression.
    return sorted(
        session.scalars(
            select(Study.id).where(func.upper(Study.patient_id.collate("C")).in_(values))
        )
    )


def is_of_patient(study: Study, patient: Patient, ids: Sequence[PatientId]) -> bool:
    """Whether an order or a report may be of the patient of a study.

    The study's id must be one of theirs, with an issuer that does not contradict it. Where one of
    the two gives no id, name and birth date decide as they do between films.

    Args:
        study: the study.
        patient: the patient as the order or the report names him.
        ids: all ids that it gives, the patient's first one among them.
    """
    ours = PatientId(study.patient_id, study.patient_id_issuer)
    if not (ours.id.strip() and ids):
        return same_patient(patient, Patient.of_study(study))
    return any(not ours.contradicts(other) for other in ids)
