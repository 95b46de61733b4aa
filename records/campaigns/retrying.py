"""Studies of a campaign that are tried again: by a person, or once their time has come."""

from __future__ import annotations

import uuid
from contextlib import suppress

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.orm import Session

from records.campaigns.campaigns import is_shown
from records.campaigns.rows import is_of_shown_study
from records.database.campaign_tables import Campaign, CampaignMark, CampaignStudy
from records.database.draft_tables import DraftRequest
from records.errors import NotAllowed, NotFound
from records.states import CAMPAIGN_ENDED, CampaignState, CampaignStudyState, RequestState
from records.workflow import requests

RETRIED = (CampaignStudyState.FAILED, CampaignStudyState.MISSING, CampaignStudyState.SKIPPED)
"""States whose studies a person may let be tried again."""


def retry(
    session: Session,
    campaign_id: uuid.UUID,
    state: CampaignStudyState,
    reason: str,
    limit: int = 500,
) -> int:
    """Let studies that ended for a reason be tried again; call again while there are `limit`.

    Those that had come to the pipeline go back to it; the others wait in the campaign again.

    Raises:
        NotFound: no such campaign.
        NotAllowed: studies in that state are not tried again, or the campaign is cancelled.
    """
    if state not in RETRIED:
        raise NotAllowed(f"studies that are {state} are not tried again")
    campaign = session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if campaign is None or not is_shown(campaign):
        raise NotFound("no campaign has that id")
    if campaign.state == CampaignState.CANCELLED:
        raise NotAllowed(f"the campaign {campaign.name!r} is cancelled")
    chosen = session.scalars(
        select(CampaignStudy)
        .where(
            CampaignStudy.campaign_id == campaign_id,
            CampaignStudy.state == state,
            CampaignStudy.reason == reason,
            CampaignStudy.reason != "",
            is_of_shown_study(),
        )
        .order_by(CampaignStudy.id)
        .limit(limit)
    ).all()
    following = [row for row in chosen if row.follows and row.study_id is not None]
    for row in following:
        _retry_request(session, row)
    for row in following:
        # It is in the pipeline again; the mark lets `follow_marks` look, whatever became of it.
        row.state, row.reason, row.detail = CampaignStudyState.IN_WORK, "", ""
        row.changed_at = func.clock_timestamp()
        session.add(CampaignMark(study_id=row.study_id))
    session.flush()
    in_pipeline = {row.id for row in following}
    waiting = [row.id for row in chosen if row.id not in in_pipeline]
    if waiting:
        session.execute(
            update(CampaignStudy)
            .where(CampaignStudy.campaign_id == campaign_id, CampaignStudy.id.in_(waiting))
            .values(
                state=CampaignStudyState.WAITING,
                reason="",
                detail="",
                attempts=0,
                not_before=None,
                missing=[],
                changed_at=func.clock_timestamp(),
            )
            .execution_options(synchronize_session=False)
        )
    if chosen and campaign.state in CAMPAIGN_ENDED:
        campaign.state, campaign.ended_at = CampaignState.RUNNING, None
    return len(chosen)


def _retry_request(session: Session, row: CampaignStudy) -> None:
    assert row.study_id is not None
    if row.request_id is None:
        # Somebody may have decided about the study meanwhile; then its row follows that.
        with suppress(NotAllowed):
            requests.retry(session, study_id=row.study_id)
        return
    session.execute(
        requests.move(RequestState.WAITING)
        .where(DraftRequest.id == row.request_id)
        .values(attempts=0, reason="", detail="", not_before=None, prepared_blob=None)
    )


def wake_due(session: Session, limit: int) -> int:
    """Let studies wait in their campaign again whose time has come.

    Returns:
        How many were woken; call again while there are `limit` of them.
    """
    due = (
        select(CampaignStudy.campaign_id, CampaignStudy.id)
        .where(
            CampaignStudy.state == CampaignStudyState.WAITING,
            CampaignStudy.not_before.is_not(None),
            CampaignStudy.not_before <= func.now(),
        )
        .order_by(CampaignStudy.not_before)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    return len(
        session.scalars(
            update(CampaignStudy)
            .where(
                tuple_(CampaignStudy.campaign_id, CampaignStudy.id).in_(
                    select(due.c.campaign_id, due.c.id)
                )
            )
            .values(not_before=None)
            .returning(CampaignStudy.id)
            .execution_options(synchronize_session=False)
        ).all()
    )
