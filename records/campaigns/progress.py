"""How far campaigns are, and when they will be done, for the command, REST and the pages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from records.campaigns import rows
from records.campaigns.campaigns import window_of
from records.campaigns.rows import Counts
from records.campaigns.window import Window
from records.database.campaign_tables import Campaign
from records.database.session import database_time
from records.states import CampaignState, CampaignStudyState, WalkState

_LATELY_SECONDS = 3600.0
_DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """A campaign, and how far it is.

    Attributes:
        campaign: its row.
        counts: its studies by state and reason.
        per_hour: studies that ended in an hour of open window, lately; None where none did.
        opens_at: when its window opens, if it runs and is closed; None for never.
        closes_at: when its window closes, if it is open.
        done_at: when it will be done at that pace; None where that is not known, or never.
        nights_left: in how many nights.
    """

    campaign: Campaign
    counts: Counts
    per_hour: float | None
    opens_at: dt.datetime | None
    closes_at: dt.datetime | None
    done_at: dt.datetime | None
    nights_left: int | None

    @property
    def ended(self) -> int:
        """Studies that move no more; those that wait for a person are among them."""
        return self.counts.total - self.counts.moving

    @property
    def sentence(self) -> str:
        """What it does now, for a person."""
        campaign = self.campaign
        if campaign.state != CampaignState.RUNNING:
            return {
                CampaignState.PAUSED: "It is paused: nothing more is given to the pipeline.",
                CampaignState.CANCELLED: "It was cancelled: what still waits is not drafted.",
                CampaignState.DONE: "It is done.",
            }[CampaignState(campaign.state)]
        if campaign.walk_state == WalkState.FAILED and not self.counts.moving:
            return f"Its source cannot be walked: {campaign.walk_note}"
        if campaign.stalled_reason:
            return f"It waits: {campaign.stalled_reason}"
        if not campaign.is_open:
            if self.opens_at is None:
                return "Its window does not open again, and studies are left: give it other dates."
            return "Its window is closed."
        if campaign.walk_state == WalkState.WALKING:
            return "Its source is being walked."
        if self.per_hour is None:
            return "Its window is open, and no study has come to an end yet."
        return "Its window is open."


def read_progress(session: Session, campaigns: Sequence[Campaign]) -> list[CampaignProgress]:
    """How far campaigns are, in their order."""
    now = database_time(session)
    counts = rows.read_counts(session, [campaign.id for campaign in campaigns])
    return [_read_one(session, campaign, counts[campaign.id], now) for campaign in campaigns]


def _read_one(
    session: Session, campaign: Campaign, counts: Counts, now: dt.datetime
) -> CampaignProgress:
    if campaign.state != CampaignState.RUNNING:
        return CampaignProgress(campaign, counts, None, None, None, None, None)
    window = window_of(campaign)
    is_open = window.is_open(now)
    per_second = None
    for seconds in (_LATELY_SECONDS, _DAY_SECONDS):
        ended = rows.count_ended_since(session, campaign.id, seconds)
        open_seconds = _open_seconds(
            window, max(now - dt.timedelta(seconds=seconds), campaign.created_at), now
        )
        if ended > 0 and open_seconds > 0:
            per_second = ended / open_seconds
            break
    left = counts.moving / per_second if per_second else None
    is_known = left is not None and campaign.walk_state != WalkState.WALKING
    return CampaignProgress(
        campaign,
        counts,
        per_second * 3600 if per_second else None,
        None if is_open else window.next_opening(now),
        window.next_closing(now) if is_open else None,
        window.after_seconds(now, left) if is_known and left is not None else None,
        window.nights_for(now, left) if is_known and left is not None else None,
    )


def _open_seconds(window: Window, start: dt.datetime, end: dt.datetime) -> float:
    """For how long the window was open between two moments."""
    seconds = 0.0
    for span in window.spans(start, days=3):
        if span.start >= end:
            break
        seconds += (min(span.end, end) - max(span.start, start)).total_seconds()
    return seconds


STATE_WORDS: dict[CampaignStudyState, str] = {
    CampaignStudyState.WAITING: "wait in the campaign",
    CampaignStudyState.PULLING: "are being fetched",
    CampaignStudyState.IN_WORK: "are in the pipeline",
    CampaignStudyState.HELD: "wait for a person's decision",
    CampaignStudyState.DRAFTED: "are drafted",
    CampaignStudyState.SKIPPED: "were skipped",
    CampaignStudyState.FAILED: "failed",
    CampaignStudyState.MISSING: "could not be had",
    CampaignStudyState.CANCELLED: "were cancelled, or are reported elsewhere",
}
"""What the studies of each state do, after their number."""
