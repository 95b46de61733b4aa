"""Which studies an order or a report is about: by accession number or study UID, and by patient."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from sqlalchemy import ARRAY, ColumnElement, Text, and_, cast, func, select, text
from sqlalchemy.orm import Session

from records.database.tables import Study
from records.workflow.identifiers import PatientId, make_keys, plain_key
from records.workflow.patient_aliases import are_same_person
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
    uids = [uid for uid in study_instance_uids if uid]
    numbers = sorted({plain_key(number) for number in accession_numbers} - {""})
    conditions: list[ColumnElement[bool]] = []
    if uids:
        conditions.append(Study.study_instance_uid.in_(uids))
    if numbers:
        # The index of the search is on this very expression.
        conditions.append(func.upper(Study.accession_number.collate("C")).in_(numbers))
        conditions.append(
            and_(
                Study.requested_accession_numbers.op("<>")(text("'{}'")),
                Study.requested_accession_numbers.op("&&")(cast(numbers, ARRAY(Text))),
            )
        )
    found: set[uuid.UUID] = set()
    # One query for each: a query for all of them might read the whole table.
    for condition in conditions:
        found |= set(session.scalars(select(Study.id).where(condition)))
    return sorted(found)


def find_studies_of_patient(session: Session, ids: Iterable[PatientId]) -> list[uuid.UUID]:
    """Our ids of the studies under one of these patient ids, whoever issued it."""
    values = {plain_key(given.id) for given in ids} - {""}
    # The index of the search is on this very expression.
    return sorted(
        session.scalars(
            select(Study.id).where(func.upper(Study.patient_id.collate("C")).in_(values))
        )
    )


def is_of_patient(
    session: Session, study: Study, patient: Patient, ids: Sequence[PatientId]
) -> bool:
    """Whether an order or a report may be of the patient of a study.

    The study's id must be one of theirs, with an issuer that does not contradict it, or the two
    were merged. Where one of the two gives no id, name and birth date decide as they do between
    films.

    Args:
        session: the caller's transaction.
        study: the study.
        patient: the patient as the order or the report names him.
        ids: all ids that it gives, the patient's first one among them.
    """
    ours = PatientId(study.patient_id, study.patient_id_issuer)
    if not (ours.id.strip() and ids):
        return same_patient(patient, Patient.of_study(study))
    return are_same_person(session, ours, ids)
