"""What the sweep does for campaigns: windows, rows that follow their studies, walks, feeding, ends.

Everything is found in rows, so a sweep that is missed, doubled or killed is made good by the next.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from records.campaigns import campaigns, counting, feeding, following, pulling, retrying
from records.database.session import database_time, unit_of_work
from records.settings import settings
from records.states import CampaignKind, WalkState

AT_ONCE = 1000
"""Marks, drafts of a walk, or rows, in one transaction."""

_FED = (CampaignKind.AGAIN, CampaignKind.LIST)
"""Campaigns of studies that are here already."""


@dataclass(slots=True)
class Tended:
    """What was done: marks followed, rows woken, found, fed; and whether there is more of it."""

    followed: int = 0
    woken: int = 0
    found: int = 0
    fed: int = 0
    ended: int = 0
    more: bool = False


def tend() -> Tended:
    """Do a little for each running campaign, one transaction each.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next sweep goes on.
    """
    done = Tended()
    with unit_of_work() as session:
        done.followed = following.follow_marks(session, AT_ONCE)
    with unit_of_work() as session:
        campaigns.settle_windows(session, database_time(session))
        running = campaigns.list_running(session)
        if running:
            done.woken = retrying.wake_due(session, AT_ONCE)
            pulling.expire_claims(session, pulling.CLAIM_SECONDS)
            counting.fold_tallies(session)
    for campaign in running:
        if campaign.kind == CampaignKind.AGAIN and campaign.walk_state == WalkState.WALKING:
            _walk(campaign.id, done)
        if campaign.is_open and not campaign.pacs and campaign.kind in _FED:
            _feed(campaign.id, done)
    if running:
        with unit_of_work() as session:
            done.ended = campaigns.end_done(session)
    done.more = done.more or done.followed >= AT_ONCE or done.woken >= AT_ONCE
    return done


def _walk(campaign_id: uuid.UUID, done: Tended) -> None:
    with unit_of_work() as session:
        campaign = campaigns.get_running(session, campaign_id, lock=True)
        if campaign is not None and campaign.walk_state == WalkState.WALKING:
            walked = feeding.walk_again(session, campaign, AT_ONCE)
            done.found += walked
            done.more = done.more or walked >= AT_ONCE


def _feed(campaign_id: uuid.UUID, done: Tended) -> None:
    with unit_of_work() as session:
        campaign = campaigns.get_running(session, campaign_id)
        if campaign is None:
            return
        next_rows = feeding.list_next(session, campaign, settings().campaign_ahead)
    for row_id, study_id in next_rows:
        # One transaction each: nobody holds the lock of one study and waits for another one's.
        with unit_of_work() as session:
            campaign = campaigns.get_running(session, campaign_id)
            if campaign is None:
                return
            feeding.feed(session, campaign, row_id, study_id)
        done.fed += 1
