"""The pages of campaigns: the list, one with its studies, and the question before a change."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup
from pydantic import BaseModel, Field, StringConstraints

from api.campaigns import HIGHEST_ID, retry_group
from api.forms import NONE_IF_EMPTY, FormFields, validate_form
from api.list_queries import ListQuery
from api.plots import draw_share, say_pace
from api.rendering import render
from api.schemas import ONE_LINE
from records.campaigns import campaigns, progress, retrying, rows
from records.campaigns.progress import STATE_WORDS, CampaignProgress, describe_source, local_time
from records.database.session import snapshot, unit_of_work
from records.errors import NotAllowed
from records.states import CampaignState, CampaignStudyState

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

CAMPAIGNS_LISTED = 50
STUDIES_LISTED = 100

Reason = Annotated[str, StringConstraints(max_length=100, pattern=ONE_LINE)]


class CampaignsQuery(ListQuery):
    """Which campaigns are shown. after: the mark before the page."""

    state: Annotated[CampaignState | None, NONE_IF_EMPTY] = None


class StudiesQuery(BaseModel):
    """Which studies of a campaign are shown. after: the number before the page."""

    state: Annotated[CampaignStudyState | None, NONE_IF_EMPTY] = None
    reason: Reason = ""
    after: Annotated[int, Field(ge=0, le=HIGHEST_ID)] = 0
    done: Annotated[Literal["pause", "resume", "cancel"] | None, NONE_IF_EMPTY] = None
    retried: Annotated[int | None, Field(ge=0)] = None

    def query_string(self, **changes: Any) -> str:
        """The query string of this query with some values changed; empty ones are left out."""
        values = self.model_dump(include={"state", "reason", "after"}) | changes
        return urlencode({name: value for name, value in values.items() if value})


class Change(BaseModel):
    """What is to be done with a campaign; state and reason are of a group that is tried again."""

    action: Literal["pause", "resume", "cancel", "retry"]
    state: Annotated[Literal["FAILED", "MISSING", "SKIPPED"] | None, NONE_IF_EMPTY] = None
    reason: Reason = ""

    def group(self) -> tuple[CampaignStudyState, str]:
        """The group that is tried again.

        Raises:
            NotAllowed: it is not named.
        """
        if self.state is None or not self.reason:
            raise NotAllowed("what is tried again is named by its state and its reason")
        return CampaignStudyState(self.state), self.reason


@router.get("/campaigns")
def show_campaigns(query: Annotated[CampaignsQuery, Query()]) -> str:
    """Campaigns, the newest first, with how far each is."""
    return render(
        "campaigns.html", live=_render_list(query), query=query, states=list(CampaignState)
    )


@router.get("/campaigns/live")
def show_live_list(query: Annotated[CampaignsQuery, Query()]) -> str:
    """The part of the list that changes."""
    return _render_list(query)


@router.get("/campaigns/{campaign_id}")
def show_campaign(campaign_id: uuid.UUID, query: Annotated[StudiesQuery, Query()]) -> str:
    """One campaign: what it does, its numbers, and its studies or those of one state and reason."""
    if query.reason and query.state is None:
        raise NotAllowed("a reason needs its state")
    one = _read(campaign_id)
    with snapshot() as session:
        found = rows.list_studies(
            session,
            campaign_id,
            STUDIES_LISTED + 1,
            state=query.state,
            reason=query.reason or None,
            after=query.after,
        )
    return render(
        "campaign.html",
        live=render("campaign_live.html", **_one(one)),
        studies=found[:STUDIES_LISTED],
        next=found[STUDIES_LISTED - 1].id if len(found) > STUDIES_LISTED else None,
        query=query,
        states=list(CampaignStudyState),
        **_one(one),
    )


@router.get("/campaigns/{campaign_id}/live")
def show_live_campaign(campaign_id: uuid.UUID) -> str:
    """The part of a campaign's page that changes."""
    return render("campaign_live.html", **_one(_read(campaign_id)))


@router.get("/campaigns/{campaign_id}/change")
def show_change(campaign_id: uuid.UUID, change: Annotated[Change, Query()]) -> str:
    """Ask whether a change is meant, and say how many studies it is about."""
    one = _read(campaign_id)
    number = one.counts.by_state[CampaignStudyState.WAITING]
    if change.action == "retry":
        number = one.counts.by_reason.get(change.group(), 0)
    return render("campaign_change.html", change=change, number=number, **_one(one))


@router.post("/campaigns/{campaign_id}/change")
def post_change(campaign_id: uuid.UUID, fields: FormFields) -> Response:
    """Change a campaign, and show it."""
    change = validate_form(Change, dict(fields))
    if change.action == "retry":
        said = f"retried={retry_group(campaign_id, *change.group())}"
    else:
        with unit_of_work() as session:
            {
                "pause": campaigns.pause,
                "resume": campaigns.resume,
                "cancel": campaigns.cancel,
            }[change.action](session, campaign_id)
        said = f"done={change.action}"
    return RedirectResponse(f"/campaigns/{campaign_id}?{said}", status_code=303)


def _read(campaign_id: uuid.UUID) -> CampaignProgress:
    with snapshot() as session:
        (one,) = progress.read_progress(session, [campaigns.get(session, campaign_id)])
    return one


def _render_list(query: CampaignsQuery) -> str:
    with snapshot() as session:
        page = progress.read_page(session, CAMPAIGNS_LISTED, query.after, query.state)
    return render("campaigns_live.html", page=page, query=query, **_words())


def _one(one: CampaignProgress) -> dict[str, Any]:
    return {
        "one": one,
        "campaign": one.campaign,
        "counts": one.counts,
        "source": describe_source(one.campaign),
        "retried_states": retrying.RETRIED,
        **_words(),
    }


def _words() -> dict[str, Any]:
    return {
        "share": _draw_progress,
        "time": _say_time,
        "pace": say_pace,
        "state_words": STATE_WORDS,
    }


def _draw_progress(one: CampaignProgress) -> Markup:
    """How much of a campaign has ended; 100 % only where all has."""
    total = one.counts.total
    return draw_share(100 * one.ended // total / 100 if total else 0.0)


def _say_time(one: CampaignProgress, at: dt.datetime) -> str:
    return local_time(one.campaign, at)
