"""REST for campaigns: create, list, pause, resume, cancel, try again, and what became of each."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.campaign_export import stream_csv
from api.campaign_schemas import (
    CampaignDryRun,
    CampaignList,
    CampaignRequest,
    CampaignRetry,
    CampaignStudyPage,
    CampaignSummary,
)
from api.list_queries import PageLimit, PageMark
from api.night_schemas import Retried
from api.problems import problem_responses
from records.campaigns import adding, campaigns, progress, retrying, rows
from records.database.session import snapshot, unit_of_work
from records.errors import NotAllowed
from records.operations import campaign_outlook
from records.operations.campaign_outlook import DryRun
from records.settings import settings
from records.states import CampaignState, CampaignStudyState, WalkState

router = APIRouter(prefix="/api", tags=["campaigns"])

RETRY_AT_ONCE = 500
"""Studies that are taken up in one transaction."""

HIGHEST_ID = 2**63 - 1

LOOKED_AT = 2_000
"""Studies that a dry run looks at; somebody waits for its answer."""


class CsvResponse(StreamingResponse):
    """CSV as a stream."""

    media_type = "text/csv"


@router.get("/campaigns", responses=problem_responses(409))
def list_campaigns(
    state: Annotated[
        CampaignState | None, Query(description="Only campaigns in this state.")
    ] = None,
    after: PageMark = None,
    limit: PageLimit = 50,
) -> CampaignList:
    """Campaigns, the newest first, with how far each is."""
    with snapshot() as session:
        return CampaignList.from_page(progress.read_page(session, limit, after, state))


@router.post(
    "/campaigns", status_code=201, responses=problem_responses(400, 403, 404, 409, 411, 413)
)
def create_campaign(wanted: CampaignRequest) -> CampaignSummary:
    """Create a campaign; it begins as soon as its window is open."""
    with unit_of_work() as session:
        campaign_id = campaigns.create(session, wanted.to_new(settings()))
        if wanted.studies:
            adding.add_studies(session, campaign_id, wanted.to_studies())
            campaigns.save_walk(session, campaign_id, None, WalkState.WALKED)
    return read_campaign(campaign_id)


@router.post("/campaigns/dry-run", responses=problem_responses(400, 403, 404, 409, 411, 413))
def try_campaign(wanted: CampaignRequest) -> CampaignDryRun:
    """Say what a campaign would do, and create nothing; no PACS is asked and no folder walked."""
    return CampaignDryRun.from_found(look_at(wanted))


def look_at(wanted: CampaignRequest) -> DryRun:
    """What a campaign would do that somebody describes."""
    return campaign_outlook.look_into_rows(
        wanted.to_new(settings()), wanted.to_studies(), settings(), LOOKED_AT
    )


@router.get("/campaigns/{campaign_id}", responses=problem_responses(404))
def read_campaign(campaign_id: uuid.UUID) -> CampaignSummary:
    """One campaign: how far it is, why studies ended, and when it will be done."""
    with snapshot() as session:
        (one,) = progress.read_progress(session, [campaigns.get(session, campaign_id)])
        return CampaignSummary.from_progress(one)


@router.get("/campaigns/{campaign_id}/studies", responses=problem_responses(404, 409))
def list_studies(
    campaign_id: uuid.UUID,
    state: Annotated[
        CampaignStudyState | None, Query(description="Only studies in this state.")
    ] = None,
    reason: Annotated[
        str | None, Query(max_length=100, description="Only those with this reason; needs state.")
    ] = None,
    after: Annotated[int, Query(ge=0, le=HIGHEST_ID, description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> CampaignStudyPage:
    """The studies of a campaign in the order in which its source named them."""
    if reason and state is None:
        raise NotAllowed("a reason needs its state")
    with snapshot() as session:
        campaigns.get(session, campaign_id)
        found = rows.list_studies(
            session, campaign_id, limit + 1, state=state, reason=reason, after=after
        )
        return CampaignStudyPage.from_rows(found, limit)


@router.get(
    "/campaigns/{campaign_id}/export",
    response_class=CsvResponse,
    responses=problem_responses(404),
)
def export_studies(campaign_id: uuid.UUID) -> StreamingResponse:
    """Each study of a campaign with its end and its reason, as CSV."""
    with snapshot() as session:
        campaigns.get(session, campaign_id)
    return CsvResponse(
        (text for text, _ in stream_csv(campaign_id)),
        headers={"Content-Disposition": f'attachment; filename="campaign-{campaign_id}.csv"'},
    )


@router.post("/campaigns/{campaign_id}/pause", responses=problem_responses(403, 404, 409))
def pause_campaign(campaign_id: uuid.UUID) -> CampaignSummary:
    """Give nothing more of a campaign to the pipeline; what is in the pipeline is finished."""
    return _change(campaign_id, campaigns.pause)


@router.post("/campaigns/{campaign_id}/resume", responses=problem_responses(403, 404, 409))
def resume_campaign(campaign_id: uuid.UUID) -> CampaignSummary:
    """Go on with a paused campaign, within its window."""
    return _change(campaign_id, campaigns.resume)


@router.post("/campaigns/{campaign_id}/cancel", responses=problem_responses(403, 404, 409))
def cancel_campaign(campaign_id: uuid.UUID) -> CampaignSummary:
    """End a campaign: what waits in it is not drafted; what is in the pipeline is finished."""
    return _change(campaign_id, campaigns.cancel)


@router.post(
    "/campaigns/{campaign_id}/retry", responses=problem_responses(400, 403, 404, 409, 411, 413)
)
def retry_studies(campaign_id: uuid.UUID, retry: CampaignRetry) -> Retried:
    """Let studies of a campaign be tried again that ended in a state for a reason."""
    return Retried(studies=retry_group(campaign_id, CampaignStudyState(retry.state), retry.reason))


def retry_group(campaign_id: uuid.UUID, state: CampaignStudyState, reason: str) -> int:
    """Let studies be tried again that ended for a reason, a part at a time; returns how many."""
    count, part = 0, RETRY_AT_ONCE
    while part == RETRY_AT_ONCE:
        with unit_of_work() as session:
            part = retrying.retry(session, campaign_id, state, reason, RETRY_AT_ONCE)
        count += part
    return count


def _change(
    campaign_id: uuid.UUID, change: Callable[[Session, uuid.UUID], None]
) -> CampaignSummary:
    with unit_of_work() as session:
        change(session, campaign_id)
    return read_campaign(campaign_id)
