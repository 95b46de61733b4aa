"""What a report of one study changes of the patient's other studies here."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.draft_tables import DraftRequest
from records.database.tables import Study
from records.settings import settings
from records.states import EndReason, RequestState, StudyState
from records.workflow import discrepancy_rechecks, requests, stored_bytes, withdrawals
from records.workflow.identifiers import PatientId
from records.workflow.study_lookup import find_studies_of_patient


def apply_prior_report(
    session: Session, ids: Iterable[PatientId], own: Collection[uuid.UUID], detail: str
) -> None:
    """Let the patient's other studies, which are not read yet, be prepared with a report.

    What is WAITING reads it when it is prepared; what is PREPARED is prepared again. A draft is
    made anew only where the site asks for that and the films are still here. Where a draft and its
    final report differ, a worker looks whether this report mentions what one of them does not.

    Args:
        session: the caller's transaction.
        ids: the patient's ids. The report is new, or it has changed.
        own: the studies that the report itself is about.
        detail: what happened, for the timelines.
    """
    ids = tuple(ids)
    discrepancy_rechecks.hold_patient(session, ids)
    of_patient = find_studies_of_patient(session, ids)
    discrepancy_rechecks.note_studies(session, {*of_patient, *own})
    others = [study_id for study_id in of_patient if study_id not in own]
    if not others:
        return
    if settings().redraft_on_prior_report:
        drafted = session.scalars(
            select(Study.id)
            .join(DraftRequest, DraftRequest.id == Study.request_id)
            .where(Study.id.in_(others), DraftRequest.state == RequestState.DRAFTED)
            .order_by(Study.id)
        ).all()
        for study_id in drafted:
            study = withdrawals.lock_study(session, study_id)
            is_read = withdrawals.has_signed_report(session, study_id)
            can_be_drafted = not stored_bytes.lacks_bytes(session, study_id)
            if study.state == StudyState.COMPLETE and not is_read and can_be_drafted:
                withdrawals.start_anew(session, study, EndReason.PRIOR_REPORT, detail)
    requests.prepare_anew(session, others, detail)
