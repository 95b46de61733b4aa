"""How far campaigns are, and when they will be done, for the command, REST and the pages."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from records.campaigns import counting
from records.campaigns.campaigns import list_campaigns, window_of
from records.campaigns.counting import Counts
from records.campaigns.window import Window, read_zone
from records.database.campaign_tables import Campaign
from records.database.session import database_time
from records.database.time_marks import TimeMark
from records.states import CampaignKind, CampaignState, CampaignStudyState, WalkState
from records.workflow import sites

_LATELY_SECONDS = 3600.0
_DAY_SECONDS = 86400.0

_FORECAST_DAYS = 400
"""No time is promised that is further away."""


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """A campaign, and how far it is.

    Attributes:
        campaign: its row.
        counts: its studies by state and reason.
        per_hour: studies that ended in an hour of open window, lately; None where none did.
        is_open: whether it runs and its window is open; the sweep settles `campaign.is_open` later.
        opens_at: when its window opens, if it runs and is closed; None for never.
        closes_at: when its window closes, if it is open.
        done_at: when it will be done at that pace; None where that is not known, or never.
        nights_left: in how many nights, this one or the next one among them.
        night_ends_at: when its window closes for this night, or the next one; None without hours.
        left_at_end: how many of its studies are left then, at that pace; None where not known.
        site_code: the code of the site whose studies it drafts; None is every site.
    """

    campaign: Campaign
    counts: Counts
    per_hour: float | None
    is_open: bool
    opens_at: dt.datetime | None
    closes_at: dt.datetime | None
    done_at: dt.datetime | None
    nights_left: int | None
    night_ends_at: dt.datetime | None = None
    left_at_end: int | None = None
    site_code: str | None = None

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
        if not self.is_open:
            if self.opens_at is None:
                return "Its window does not open again, and studies are left: give it other dates."
            return "Its window is closed."
        if campaign.walk_state == WalkState.WALKING:
            return "Its source is being walked."
        if self.per_hour is None:
            return "Its window is open, and no study has come to an end yet."
        return "Its window is open."

    @property
    def forecast(self) -> str:
        """When it will be done, or why no time is promised, for a person; "" if it does not run."""
        campaign = self.campaign
        if campaign.state != CampaignState.RUNNING:
            return ""
        if campaign.walk_state == WalkState.WALKING:
            return "No time is promised while its source is being walked."
        if not self.counts.moving:
            return "Nothing of it is left to do."
        if campaign.stalled_reason:
            return "No time is promised while it waits."
        if self.per_hour is None:
            return "No study ended within a day, so no time is promised."
        if self.done_at is None:
            return (
                "At the present pace it is not done within its dates, or not within "
                f"{_FORECAST_DAYS} days."
            )
        done = local_time(campaign, self.done_at)
        if self.night_ends_at is None or self.left_at_end is None:
            return f"At the present pace it is done about {done}."
        ends = local_time(campaign, self.night_ends_at)
        if not self.left_at_end:
            return (
                f"At the present pace it is done about {done}, before its window closes at {ends}."
            )
        left = "1 study is" if self.left_at_end == 1 else f"{self.left_at_end:,} studies are"
        return (
            f"At the present pace {left} left when its window closes at {ends}; it is done about "
            f"{done}, in {self.nights_left} nights."
        )


def local_time(campaign: Campaign, at: dt.datetime) -> str:
    """A moment by the wall clock of the campaign's site."""
    return at.astimezone(read_zone(campaign.time_zone)).strftime("%a %Y-%m-%d %H:%M %Z")


def read_progress(session: Session, campaigns: Sequence[Campaign]) -> list[CampaignProgress]:
    """How far campaigns are, in their order."""
    now = database_time(session)
    counts = counting.read_counts(session, [campaign.id for campaign in campaigns])
    running = [campaign.id for campaign in campaigns if campaign.state == CampaignState.RUNNING]
    ended = {
        seconds: counting.count_ended(session, running, seconds)
        for seconds in (_LATELY_SECONDS, _DAY_SECONDS)
    }
    codes = {site.id: site.code for site in sites.list_all(session)}
    return [
        replace(
            measure(
                campaign,
                counts[campaign.id],
                {seconds: number.get(campaign.id, 0) for seconds, number in ended.items()},
                now,
            ),
            site_code=codes[campaign.site_id] if campaign.site_id else None,
        )
        for campaign in campaigns
    ]


@dataclass(frozen=True, slots=True)
class CampaignPage:
    """Some campaigns, newest first; `next` is the mark of the following page, or None."""

    campaigns: Sequence[CampaignProgress]
    next: str | None


def read_page(
    session: Session, limit: int, after: str | None = None, state: CampaignState | None = None
) -> CampaignPage:
    """A page of campaigns with how far each is, newest first.

    Args:
        session: the caller's transaction.
        limit: campaigns, at most.
        after: `next` of the page before.
        state: only those in this state.

    Raises:
        NotAllowed: `after` is no mark of a page.
    """
    mark = TimeMark.parse(after) if after is not None else None
    begin = (mark.at, mark.id) if mark is not None else None
    found = list_campaigns(session, limit + 1, begin, state)
    shown = found[:limit]
    following = str(TimeMark(shown[-1].created_at, shown[-1].id)) if len(found) > limit else None
    return CampaignPage(read_progress(session, shown), following)


def measure(
    campaign: Campaign, counts: Counts, ended_in: Mapping[float, int], now: dt.datetime
) -> CampaignProgress:
    """How far a campaign is, and when it will be done.

    Args:
        campaign: its row.
        counts: its studies by state.
        ended_in: how many came to an end in the last seconds, by these seconds. The first one in
            which any did makes the pace.
        now: the time.
    """
    if campaign.state != CampaignState.RUNNING:
        return CampaignProgress(campaign, counts, None, False, None, None, None, None)
    window = window_of(campaign)
    is_open = window.is_open(now)
    per_second = None
    for seconds, ended in ended_in.items():
        open_seconds = _open_seconds(
            window, max(now - dt.timedelta(seconds=seconds), campaign.created_at), now
        )
        if ended > 0 and open_seconds > 0:
            # One that has just begun has a pace that says nothing yet.
            per_second = ended / max(open_seconds, 60.0)
            break
    night = window.night_left(now)
    done_at = nights_left = left_at_end = None
    if per_second and campaign.walk_state != WalkState.WALKING and not campaign.stalled_reason:
        left = counts.moving / per_second
        if left < _FORECAST_DAYS * _DAY_SECONDS:
            end = window.work_off(now, left, _FORECAST_DAYS)
            if end is not None:
                done_at, nights_left = end.at, end.nights
        if night is not None:
            # A part of a study is one that is left. The tolerance is for rounding.
            left_at_end = max(0, math.ceil(counts.moving - per_second * night.seconds - 1e-6))
    return CampaignProgress(
        campaign,
        counts,
        per_second * 3600 if per_second else None,
        is_open,
        None if is_open else window.next_opening(now),
        window.next_closing(now) if is_open else None,
        done_at,
        nights_left,
        night.closes_at if night else None,
        left_at_end,
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


def describe_source(campaign: Campaign) -> str:
    """Where the studies of a campaign are from, in a few words."""
    source = campaign.source
    words = {
        CampaignKind.AGAIN: f"what bundle {str(source.get('from_bundle', ''))[:12]} drafted",
        CampaignKind.LIST: "a list of studies",
        CampaignKind.FOLDER: f"the folder {source.get('folder', '')}",
        CampaignKind.QUERY: (
            f"studies of {', '.join(source.get('modalities', ())) or 'any modality'} "
            f"from {source.get('first_date', '')} to {source.get('last_date', '')}"
        ),
    }[CampaignKind(campaign.kind)]
    return f"{words}, at the PACS {campaign.pacs}" if campaign.pacs else words
