"""Walking the source of a campaign: who may, until when, and how far it is."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from records.database.campaign_tables import Campaign
from records.database.session import interval
from records.errors import LostLease
from records.states import (
    CampaignKind,
    CampaignState,
    WalkState,
)


@dataclass(frozen=True, slots=True)
class ClaimedWalk:
    """A source that this process may walk until its claim runs out."""

    campaign_id: uuid.UUID
    kind: CampaignKind
    pacs: str
    source: Mapping[str, Any]
    position: Mapping[str, Any] | None
    claimed_at: dt.datetime


def claim_walk(
    session: Session, kinds: Sequence[CampaignKind], pacs: str, seconds: float
) -> ClaimedWalk | None:
    """Claim the walk of a running campaign's source; None where none is to be walked.

    A source is walked whether or not the campaign's window is open, so that a person sees what
    there is; where the window matters for the questions to a PACS, the rate there limits them.

    Args:
        session: the caller's transaction.
        kinds: of campaigns.
        pacs: the name of the PACS; "" for none.
        seconds: after so long the claim runs out. `save_walk` with each batch renews it.
    """
    campaign = session.scalar(
        select(Campaign)
        .where(
            Campaign.state == CampaignState.RUNNING,
            ~Campaign.is_denied,
            Campaign.walk_state == WalkState.WALKING,
            Campaign.kind.in_(kinds),
            Campaign.pacs == pacs,
            or_(
                Campaign.walk_claimed_at.is_(None),
                Campaign.walk_claimed_at < func.clock_timestamp() - interval(seconds),
            ),
        )
        .order_by(Campaign.priority, Campaign.created_at, Campaign.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if campaign is None:
        return None
    campaign.walk_claimed_at = session.scalar(select(func.clock_timestamp()))
    session.flush()
    assert campaign.walk_claimed_at is not None  # it was set just now
    return ClaimedWalk(
        campaign.id,
        CampaignKind(campaign.kind),
        campaign.pacs,
        campaign.source,
        campaign.walk_position,
        campaign.walk_claimed_at,
    )


def save_walk(
    session: Session,
    walk: ClaimedWalk,
    position: Mapping[str, Any] | None,
    state: WalkState = WalkState.WALKING,
    note: str | None = None,
) -> ClaimedWalk:
    """Keep how far a source was walked, in the transaction that added the rows.

    Args:
        session: the caller's transaction.
        walk: the claim.
        position: where the walk goes on.
        state: WALKED or FAILED where it has ended.
        note: why it failed, or what it may have left out; None leaves what is there.

    Returns:
        The claim, renewed.

    Raises:
        LostLease: somebody else walks it, or the campaign was paused or ended meanwhile; the
            caller's transaction must not commit.
    """
    campaign = session.get(Campaign, walk.campaign_id, with_for_update=True, populate_existing=True)
    if (
        campaign is None
        or campaign.state != CampaignState.RUNNING
        or campaign.is_denied
        or campaign.walk_claimed_at != walk.claimed_at
    ):
        raise LostLease("the campaign's source is walked by somebody else, or not any more")
    campaign.walk_position = dict(position) if position is not None else None
    campaign.walk_state = state
    if note is not None:
        campaign.walk_note = note
    now = session.scalar(select(func.clock_timestamp()))
    assert now is not None
    campaign.walk_claimed_at = now if state is WalkState.WALKING else None
    session.flush()
    return ClaimedWalk(walk.campaign_id, walk.kind, walk.pacs, walk.source, position, now)


def release_walk(session: Session, walk: ClaimedWalk) -> None:
    """Give a walk back, so that it goes on soon: the source does not answer, or this part stops.

    Raises:
        LostLease: somebody else walks it, or the campaign was paused or ended meanwhile.
    """
    save_walk(session, walk, walk.position)
    session.get_one(Campaign, walk.campaign_id).walk_claimed_at = None
    session.flush()
