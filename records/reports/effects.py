"""What a report from elsewhere changes of studies here."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.report_tables import ReceivedReport
from records.database.tables import DraftRequest, Study
from records.settings import settings
from records.states import EndReason, RequestState, StudyState
from records.workflow import requests, withdrawals
from records.workflow.identifiers import patient_ids
from records.workflow.study_lookup import find_studies_of_patient

_PRIOR_CAME = "a report of an earlier study came or changed"


def apply_to_later_studies(session: Session, report: ReceivedReport, own: set[uuid.UUID]) -> None:
    """Let the patient's other studies, which are not read yet, be prepared with this report.

    What is WAITING reads it when it is prepared; what is PREPARED is prepared again. A draft is
    made anew only where the site asks for that.

    Args:
        session: the caller's transaction.
        report: a version that is new, and so the older one counts no longer.
        own: the studies that the report itself is about.
    """
    others = [
        study_id
        for study_id in find_studies_of_patient(session, patient_ids(report))
        if study_id not in own
    ]
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
            if study.state == StudyState.COMPLETE and not is_read:
                withdrawals.start_anew(session, study, EndReason.PRIOR_REPORT, _PRIOR_CAME)
    requests.prepare_anew(session, others, _PRIOR_CAME)
