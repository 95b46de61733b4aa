"""Earlier studies of a patient whose films are kept here, to be shown beside those of a study.

The patient is the same, and the study earlier, by the rule for prior reports (`prior_rule`). Films
are only looked at, so an accession number is not asked for, and neither is a report.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.tables import Instance, Study
from records.reports.prior_rule import (
    Examination,
    is_earlier,
    is_same_examination,
    is_same_patient,
    to_local_digits,
)
from records.states import InstanceState, SiteBasis
from records.workflow.identifiers import plain_key
from records.workflow.patients import Patient
from records.workflow.site_scope import is_visible

MOST_CANDIDATES = 200
"""Studies of one patient id that are looked at: the newest ones."""


@dataclass(frozen=True, slots=True)
class EarlierStudy:
    """An earlier study of the same patient.

    Attributes:
        study: the study.
        films: its films whose files are here, in the order of arrival; at least one.
    """

    study: Study
    films: Sequence[Instance]


def list_earlier_studies(session: Session, study_id: uuid.UUID, limit: int) -> list[EarlierStudy]:
    """The earlier studies with films, newest first, `limit` of them at most.

    They are of the study's site, or of the first site only because nothing says whose they are; and
    only those that may be shown. Each is noted as looked at.
    """
    study = session.get_one(Study, study_id)
    if not study.patient_id.strip():
        return []
    is_shown = (Instance.state == InstanceState.KEPT) & Instance.bytes_removed_at.is_(None)
    candidates = session.scalars(
        select(Study)
        # The index of the search is on this very expression.
        .where(
            func.upper(Study.patient_id.collate("C")) == plain_key(study.patient_id),
            Study.id != study.id,
            (Study.site_id == study.site_id) | (Study.site_basis == SiteBasis.DEFAULT),
            is_visible(Study.site_id),
            exists().where(Instance.study_id == Study.id, is_shown),
        )
        .order_by(Study.study_date.desc(), Study.id.desc())
        .limit(MOST_CANDIDATES)
    )
    ours = _examination(study)
    earlier = [other for other in candidates if _is_prior(ours, _examination(other))][:limit]
    if not earlier:
        return []
    films: dict[uuid.UUID, list[Instance]] = {other.id: [] for other in earlier}
    for film in session.scalars(
        select(Instance)
        .where(Instance.study_id.in_(films), is_shown)
        .order_by(Instance.received_at, Instance.id)
    ):
        films[film.study_id].append(film)
    note_look(study_ids=films)
    return [EarlierStudy(other, films[other.id]) for other in earlier]


def _examination(study: Study) -> Examination:
    return Examination(
        patient=Patient.of_study(study),
        accession_numbers=(study.accession_number, *study.requested_accession_numbers),
        accession_number_issuer=study.accession_number_issuer,
        study_instance_uids=(study.study_instance_uid,),
        performed_on=study.study_date,
    )


def _is_prior(study: Examination, other: Examination) -> bool:
    moments = [to_local_digits(one.performed_on) for one in (other, study)]
    return (
        is_same_patient(study, other)
        and not is_same_examination(study, other)
        and is_earlier(*moments)
    )
