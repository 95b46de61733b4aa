"""What REST gives and takes of campaigns, as pydantic models; the command writes them, too."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from records.campaigns.progress import CampaignPage, Progress, say_forecast, say_hours
from records.database import campaign_tables
from records.states import (
    CampaignKind,
    CampaignState,
    CampaignStudyState,
    Priority,
    Purpose,
    WalkState,
)


class ReasonCount(BaseModel):
    """How many studies of a campaign are in a state for a reason."""

    state: CampaignStudyState
    reason: str
    studies: int


class CampaignSummary(BaseModel):
    """A campaign and how far it is.

    kind: AGAIN (what a bundle drafted), LIST, FOLDER or QUERY (of a PACS). window: its hours in
    words. walk_state: whether its source is still being walked. walk_note: why the walk failed, or
    what it left out. stalled_reason: why nothing goes on, where a system is at fault. per_hour:
    studies that came to an end, in an hour of its window, lately. done_at: when it will be done at
    that pace, and nights in how many nights; null where that is not known. sentence and forecast
    say the same for a person.
    """

    id: uuid.UUID
    name: str
    kind: CampaignKind
    state: CampaignState
    is_open: bool
    opens_at: dt.datetime | None
    closes_at: dt.datetime | None
    window: str
    studies: int
    ended: int
    counts: dict[CampaignStudyState, int]
    per_hour: float
    done_at: dt.datetime | None
    nights: int | None
    walk_state: WalkState
    stalled_reason: str
    stalled_since: dt.datetime | None
    sentence: str
    forecast: str
    created_at: dt.datetime
    created_by: str
    ended_at: dt.datetime | None

    @classmethod
    def from_progress(cls, progress: Progress) -> CampaignSummary:
        """The campaign of a row, with its numbers."""
        return cls(**_summary_fields(progress))


class CampaignDetail(CampaignSummary):
    """One campaign with what it was created with, and its numbers by reason.

    source: what its walk needs: from_bundle, folder, or from, to and modalities. bundle: the digest
    of the bundle that drafts; null is whichever is served. skip_reported: whether studies with a
    final report are skipped. studies_per_minute: how many are fetched at most; null is what the
    PACS allows.
    """

    source: dict[str, Any]
    pacs: str
    bundle: str | None
    purpose: Purpose
    priority: str
    skip_reported: bool
    studies_per_minute: float | None
    time_zone: str
    walk_note: str
    reasons: list[ReasonCount]

    @classmethod
    def from_progress(cls, progress: Progress) -> CampaignDetail:
        """The campaign of a row, with its numbers."""
        campaign = progress.campaign
        return cls(
            **_summary_fields(progress),
            source=campaign.source,
            pacs=campaign.pacs,
            bundle=campaign.bundle,
            purpose=Purpose(campaign.purpose),
            priority=Priority(campaign.priority).name,
            skip_reported=campaign.skip_reported,
            studies_per_minute=campaign.studies_per_minute,
            time_zone=campaign.time_zone,
            walk_note=campaign.walk_note,
            reasons=[
                ReasonCount(state=state, reason=reason, studies=number)
                for (state, reason), number in sorted(progress.counts.by_reason.items())
            ],
        )


def _summary_fields(progress: Progress) -> dict[str, Any]:
    campaign = progress.campaign
    return {
        "id": campaign.id,
        "name": campaign.name,
        "kind": CampaignKind(campaign.kind),
        "state": CampaignState(campaign.state),
        "is_open": progress.is_open,
        "opens_at": progress.opens_at,
        "closes_at": progress.closes_at,
        "window": say_hours(campaign),
        "studies": progress.counts.total,
        "ended": progress.ended,
        "counts": dict(progress.counts.by_state),
        "per_hour": round(progress.per_hour, 1),
        "done_at": progress.done_at,
        "nights": progress.nights,
        "walk_state": WalkState(campaign.walk_state),
        "stalled_reason": campaign.stalled_reason,
        "stalled_since": campaign.stalled_since,
        "sentence": progress.sentence,
        "forecast": say_forecast(progress),
        "created_at": campaign.created_at,
        "created_by": campaign.created_by,
        "ended_at": campaign.ended_at,
    }


class CampaignList(BaseModel):
    """Campaigns, newest first; `next` is the `after` of the following page."""

    campaigns: list[CampaignSummary]
    next: str | None

    @classmethod
    def from_page(cls, page: CampaignPage) -> CampaignList:
        """The page of a list."""
        return cls(
            campaigns=[CampaignSummary.from_progress(one) for one in page.campaigns],
            next=page.next,
        )


class CampaignStudy(BaseModel):
    """One study of a campaign, and what became of it.

    study_id: our own id, once it is here. listed: how many wanted images its source lists. missing:
    SOP Instance UIDs of those that did not come. not_before: when it is tried again.
    """

    model_config = ConfigDict(from_attributes=True)

    id: int
    state: CampaignStudyState
    reason: str
    detail: str
    study_instance_uid: str
    accession_number: str
    study_id: uuid.UUID | None
    attempts: int
    not_before: dt.datetime | None
    size: int | None
    listed: int | None
    missing: list[str]
    changed_at: dt.datetime


class CampaignStudyPage(BaseModel):
    """Studies of a campaign as they were found; `next` is the `after` of the following page."""

    studies: list[CampaignStudy]
    next: int | None

    @classmethod
    def from_rows(
        cls, found: Sequence[campaign_tables.CampaignStudy], limit: int
    ) -> CampaignStudyPage:
        """The page of at most `limit` rows, of which one more was read."""
        shown = found[:limit]
        return cls(
            studies=[CampaignStudy.model_validate(row) for row in shown],
            next=shown[-1].id if len(found) > limit else None,
        )
