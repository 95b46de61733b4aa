"""How far campaigns are: counts, pace, when they will be done, and what they wait for.

The command, REST and the pages all read it here, so that they promise the same time.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from records.campaigns import campaigns, rows
from records.campaigns.campaigns import window_of
from records.campaigns.rows import Counts
from records.campaigns.window import Window
from records.database.campaign_tables import Campaign
from records.database.session import database_time
from records.database.time_marks import TimeMark
from records.states import CampaignKind, CampaignState, WalkState

LATELY_SECONDS = 3600.0
"""The pace is that of the last hour, where it saw the window open and a study end."""

BEFORE_SECONDS = 86400.0
"""Else it is that of the last day, which for most windows is the night before."""

FORECAST_DAYS = 400
"""No time is promised that is further away."""

KIND_WORDS = {
    CampaignKind.AGAIN: "drafted again",
    CampaignKind.LIST: "a list",
    CampaignKind.FOLDER: "a folder",
    CampaignKind.QUERY: "a query of a PACS",
}
"""Where the studies of each kind are from."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one campaign is.

    Attributes:
        campaign: its row.
        counts: its studies by state and by reason.
        is_open: whether it works now.
        per_hour: studies that came to an end, in an hour of its window, lately.
        seconds_left: of its window, until nothing moves; None where nothing ends.
        done_at: when nothing moves any more at this pace; None where that is not known.
        nights: in how many nights, this one included; None where that is not known.
        opens_at: when its window opens next, where it is closed; None for never.
        closes_at: when its window closes, where it is open; None for never.
        sentence: what it does or waits for, for a person.
    """

    campaign: Campaign
    counts: Counts
    is_open: bool
    per_hour: float
    seconds_left: float | None
    done_at: dt.datetime | None
    nights: int | None
    opens_at: dt.datetime | None
    closes_at: dt.datetime | None
    sentence: str

    @property
    def ended(self) -> int:
        """Studies that nothing moves any more; a held one waits for a person."""
        return self.counts.total - self.counts.moving

    @property
    def share(self) -> float:
        """How much of what was found has come to an end, from 0 to 1."""
        return self.ended / self.counts.total if self.counts.total else 0.0


@dataclass(frozen=True, slots=True)
class CampaignPage:
    """Some campaigns, newest first; `next` is the mark of the following page, or None."""

    campaigns: Sequence[Progress]
    next: str | None


def read_page(session: Session, limit: int, after: str | None = None) -> CampaignPage:
    """A page of all campaigns with their progress, newest first.

    Args:
        session: the caller's transaction.
        limit: campaigns, at most.
        after: `next` of the page before.

    Raises:
        NotAllowed: `after` is no mark of a page.
    """
    mark = TimeMark.parse(after) if after is not None else None
    begin = (mark.at, mark.id) if mark is not None else None
    found = campaigns.list_campaigns(session, limit + 1, begin)
    shown = found[:limit]
    following = str(TimeMark(shown[-1].created_at, shown[-1].id)) if len(found) > limit else None
    return CampaignPage(read_progress(session, shown), following)


def read_progress(session: Session, shown: Sequence[Campaign]) -> list[Progress]:
    """How far campaigns are, in their order."""
    now = database_time(session)
    ids = [campaign.id for campaign in shown]
    counts = rows.read_counts(session, ids)
    running = [campaign.id for campaign in shown if campaign.state == CampaignState.RUNNING]
    lately = rows.count_ended(session, running, LATELY_SECONDS)
    before = rows.count_ended(session, running, BEFORE_SECONDS)
    return [
        _progress(
            campaign,
            counts[campaign.id],
            {LATELY_SECONDS: lately[campaign.id], BEFORE_SECONDS: before[campaign.id]}
            if campaign.id in lately
            else {},
            now,
        )
        for campaign in shown
    ]


def read_one(session: Session, campaign_id: uuid.UUID) -> Progress:
    """How far one campaign is.

    Raises:
        NotFound: no such campaign.
    """
    return read_progress(session, [campaigns.get(session, campaign_id)])[0]


def _progress(
    campaign: Campaign, counts: Counts, ended: dict[float, int], now: dt.datetime
) -> Progress:
    window = window_of(campaign)
    is_running = campaign.state == CampaignState.RUNNING
    is_open = is_running and window.is_open(now)
    per_hour = next(
        (
            pace
            for seconds, number in sorted(ended.items())
            if (pace := _per_hour(number, window, campaign.created_at, now, seconds))
        ),
        0.0,
    )
    left = done_at = nights = None
    if is_running and not counts.moving:
        left = 0.0
    elif is_running and per_hour and not campaign.stalled_reason:
        left = counts.moving / per_hour * 3600
        if left <= FORECAST_DAYS * 86400:
            done_at = window.after_seconds(now, left, FORECAST_DAYS)
            nights = window.nights_for(now, left, FORECAST_DAYS)
    opens_at = window.next_opening(now) if is_running and not is_open else None
    closes_at = window.next_closing(now) if is_open else None
    return Progress(
        campaign,
        counts,
        is_open,
        per_hour,
        left,
        done_at,
        nights,
        opens_at,
        closes_at,
        _sentence(campaign, window.zone, opens_at, closes_at, is_open=is_open),
    )


def _per_hour(
    ended: int, window: Window, created_at: dt.datetime, now: dt.datetime, seconds: float
) -> float:
    """The pace over the time in which the window was open; 0 where it was not, or none ended.

    Numbers are kept by quarters of an hour, so that the first one counts from its beginning.
    """
    if not ended:
        return 0.0
    begin = max(created_at, now - dt.timedelta(seconds=seconds))
    worked = open_seconds(window, begin, now)
    # What ends with the window, or just after it, counts for its last minute at the least.
    return ended / max(worked, 60.0) * 3600


def open_seconds(window: Window, begin: dt.datetime, end: dt.datetime) -> float:
    """How many seconds a window is open from one moment to another."""
    total = 0.0
    for span in window.spans(begin, (end - begin).days + 2):
        if span.start >= end:
            break
        total += (min(span.end, end) - max(span.start, begin)).total_seconds()
    return total


def say_time(at: dt.datetime, zone: ZoneInfo) -> str:
    """A moment by the wall clock of the campaign's site."""
    return f"{at.astimezone(zone):%a %Y-%m-%d %H:%M}"


def say_hours(campaign: Campaign) -> str:
    """The window of a campaign for a person."""
    opens, closes = campaign.window_opens, campaign.window_closes
    text = (
        f"{opens:%H:%M}-{closes:%H:%M}" if opens is not None and closes is not None else "all day"
    )
    text += f" {campaign.time_zone}"
    if campaign.blackouts:
        text += f", not {', '.join('-'.join(hours) for hours in campaign.blackouts)}"
    if campaign.starts_on:
        text += f", from {campaign.starts_on}"
    if campaign.ends_on:
        text += f", until {campaign.ends_on}"
    return text


def say_forecast(progress: Progress) -> str:
    """When a campaign will be done, or why that is not known, as a sentence."""
    campaign = progress.campaign
    if campaign.state != CampaignState.RUNNING:
        return ""
    if not progress.counts.moving:
        return "" if campaign.walk_state == WalkState.WALKING else "Nothing of it moves any more."
    if campaign.stalled_reason:
        return "When it will be done is not known while nothing goes on."
    if progress.seconds_left is None:
        return "When it will be done is known once studies have come to an end."
    if progress.done_at is None or progress.nights is None:
        if campaign.ends_on is not None:
            return f"At the present pace it is not done before its last night, {campaign.ends_on}."
        return "At the present pace it takes more than a year."
    zone = window_of(campaign).zone
    nights = "in this night" if progress.nights == 1 else f"in {progress.nights:,} nights"
    if campaign.window_opens is None:
        nights = "in one day" if progress.nights == 1 else f"in {progress.nights:,} days"
    walked = (
        " Its source is still being walked, so there may be more."
        if campaign.walk_state == WalkState.WALKING
        else ""
    )
    return (
        f"At the present pace it will be done at {say_time(progress.done_at, zone)}, {nights}."
        f"{walked}"
    )


def _sentence(
    campaign: Campaign,
    zone: ZoneInfo,
    opens_at: dt.datetime | None,
    closes_at: dt.datetime | None,
    *,
    is_open: bool,
) -> str:
    if campaign.state == CampaignState.PAUSED:
        return "It is paused: nothing more of it is given to the pipeline until it is resumed."
    if campaign.state == CampaignState.CANCELLED:
        return "It was cancelled: what waited in it is not drafted."
    if campaign.state == CampaignState.DONE:
        return "It is done: each of its studies has its end."
    if campaign.stalled_reason:
        since = (
            f" since {say_time(campaign.stalled_since, zone)}"
            if campaign.stalled_since is not None
            else ""
        )
        return f"Nothing goes on{since}: {campaign.stalled_reason}"
    if not is_open:
        if opens_at is None:
            return "Its window does not open again."
        return f"It waits for its window, which opens at {say_time(opens_at, zone)}."
    if closes_at is None:
        return "It works, at all times."
    return f"It works until its window closes at {say_time(closes_at, zone)}."
