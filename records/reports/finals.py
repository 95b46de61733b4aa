"""Rule 13: a final report from elsewhere ends our draft of the same study.

An open request is cancelled. A draft that is not signed is an older one from then on, for a person
has reported the study. How far the two are apart is kept (`FinalComparison`), and a worker computes
it. Where final reports of one study differ, a hold asks a person (`differing_finals`).
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Uuid, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.draft_tables import Draft, DraftRequest
from records.database.report_tables import FinalComparison, ReceivedReport
from records.database.tables import Event, Study
from records.reports import differing_finals
from records.reports.reading import list_by_study
from records.reports.report import is_final
from records.reviews import signing
from records.settings import settings
from records.states import EndReason, EventKind, ReportStatus, RequestState, StudyState
from records.workflow import requests, study_sites, withdrawals

_ENDED_BY_FINAL = (
    RequestState.WAITING,
    RequestState.PREPARED,
    RequestState.DRAFTED,
    RequestState.FAILED,
)


def apply_to_study(session: Session, study: Study, report: ReceivedReport) -> None:
    """Let a report take effect on the study that it is about.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        report: a version that is new.
    """
    # A worker that is saving the draft of it is waited for, and one that comes later waits.
    request = _lock_request(session, study)
    if report.status == ReportStatus.CANCELLED:
        _take_back(session, study, request)
    if is_final(report):
        if not report.is_addendum:  # alone it is no report that a draft could be compared with
            note_comparisons(session, study.id, report.id)
        if not withdrawals.has_signed_report(session, study.id):
            _end_by_final(session, study, request, report)
    differing_finals.ask_about_new(session, study, report)


def end_if_reported(session: Session, study: Study) -> bool:
    """End a study's request where its final report was here before; the caller has locked it.

    A person who asked for a draft after the final had come gets one. Where the finals differ from
    each other, a hold asks a person.

    Returns:
        Whether the study's newest request is cancelled now.
    """
    reports = list_by_study(session, study)
    for report in reports:
        study_sites.share_site(session, study, report)
    differing_finals.ask_about_earlier(session, study, reports)
    for report in reports:
        if is_final(report) and not _asked_since(session, study, report):
            return _end_by_final(session, study, _lock_request(session, study), report)
    return False


def note_comparisons(session: Session, study_id: uuid.UUID, report_id: uuid.UUID) -> None:
    """Let drafts of a study be compared with its final report, once each.

    They are the current ones, and those that were compared with an older version of a final.
    """
    was_compared = exists().where(FinalComparison.draft_id == Draft.id)
    drafts = select(Draft.study_id, Draft.id, literal(report_id, Uuid)).where(
        Draft.study_id == study_id,
        or_(Draft.superseded_at.is_(None), was_compared),
    )
    session.execute(
        insert(FinalComparison)
        .from_select(["study_id", "draft_id", "report_id"], drafts)
        .on_conflict_do_nothing()
    )


def note_comparisons_of_draft(session: Session, study_id: uuid.UUID) -> None:
    """Let a draft that was just saved be compared with the finals that were here before it."""
    if not _is_drafted_although_reported(session, study_id):
        return
    study = session.get_one(Study, study_id)
    for report in list_by_study(session, study):
        if is_final(report) and not report.is_addendum:
            note_comparisons(session, study_id, report.id)


def find_waiting_comparison(session: Session) -> uuid.UUID | None:
    """A study with a comparison that no worker has made yet; None where there is none."""
    return session.scalar(
        select(FinalComparison.study_id)
        .where(FinalComparison.distances.is_(None))
        .order_by(FinalComparison.id)
        .limit(1)
    )


def claim_comparison(session: Session) -> tuple[int, Draft, ReceivedReport] | None:
    """Lock a comparison that is to be made until the caller's commit; None where there is none.

    Returns:
        Its id, the draft and the report.
    """
    comparison = session.scalar(
        select(FinalComparison)
        .where(FinalComparison.distances.is_(None))
        .order_by(FinalComparison.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if comparison is None:
        return None
    return (
        comparison.id,
        session.get_one(Draft, comparison.draft_id),
        session.get_one(ReceivedReport, comparison.report_id),
    )


def keep_comparison(
    session: Session, comparison_id: int, distances: dict[str, Any], observations: dict[str, Any]
) -> None:
    """Keep how far a final report is from a draft; the columns of `FinalComparison`."""
    session.execute(
        update(FinalComparison)
        .where(FinalComparison.id == comparison_id)
        .values(distances=distances, observations=observations, at=func.clock_timestamp())
    )


def _lock_request(session: Session, study: Study) -> DraftRequest | None:
    return session.scalar(
        select(DraftRequest)
        .where(DraftRequest.id == study.request_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


def _end_by_final(
    session: Session, study: Study, request: DraftRequest | None, report: ReceivedReport
) -> bool:
    if study.state != StudyState.COMPLETE or _is_drafted_although_reported(session, study.id):
        return False  # one that still arrives is looked at when it is prepared
    if request is None or request.state not in _ENDED_BY_FINAL:
        return False
    detail = f"a {report.status.lower()} report came by {report.origin}"
    draft_id = withdrawals.current_draft(session, study.id)
    if draft_id is not None and not withdrawals.is_signed(session, draft_id):
        by = report.author or report.sender
        signing.note_signed_elsewhere(session, study.id, draft_id, report.id, by)
    withdrawals.cancel(session, study, detail, EndReason.REPORTED_ELSEWHERE)
    # What was delivered of the draft is withdrawn here, once there are deliveries.
    return True


def _is_drafted_although_reported(session: Session, study_id: uuid.UUID) -> bool:
    """Whether the site, or a campaign that has the study in work, wants drafts of what is reported.

    Such a draft is for the comparison with its report.
    """
    if settings().draft_reported_studies:
        return True
    wanted = exists().where(
        CampaignStudy.study_id == study_id,
        CampaignStudy.follows,
        Campaign.id == CampaignStudy.campaign_id,
        Campaign.skip_reported.is_(False),
    )
    return bool(session.scalar(select(wanted)))


def _take_back(session: Session, study: Study, request: DraftRequest | None) -> None:
    """Open the request again that a final ended, where no final stands any longer."""
    if (
        request is not None
        and request.state == RequestState.CANCELLED
        and request.reason == EndReason.REPORTED_ELSEWHERE
        and not any(map(is_final, list_by_study(session, study)))
    ):
        requests.retry(session, study_id=study.id)


def _asked_since(session: Session, study: Study, report: ReceivedReport) -> bool:
    """Whether a person asked for a draft of the study after its final report had come."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    Event.study_id == study.id,
                    Event.kind == EventKind.RETRIED,
                    Event.at > report.received_at,
                )
            )
        )
    )
