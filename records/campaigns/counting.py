"""How many studies of campaigns are in which state: kept numbers, and their folding.

Triggers keep the numbers as rows change (migration 0031), so nothing here counts millions of rows.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, insert, literal, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from records.database.campaign_tables import Campaign, CampaignStudy, CampaignTally
from records.database.session import interval
from records.states import (
    CAMPAIGN_MOVING,
    CAMPAIGN_UNDER_WAY,
    CampaignState,
    CampaignStudyState,
)
from records.workflow.site_scope import is_of_site

FOLD_ABOVE = 2000
"""So many parts of kept numbers are worth folding."""

_FOLD_AFTER_DAYS = 8
"""The pace of older quarters of an hour is not asked for; their numbers are kept as one."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many studies of a campaign are in each state, and in each state for each reason.

    Attributes:
        by_state: every state is a key.
        by_reason: only reasons that there are.
    """

    by_state: Mapping[CampaignStudyState, int]
    by_reason: Mapping[tuple[CampaignStudyState, str], int]

    @property
    def total(self) -> int:
        """All studies that were found."""
        return sum(self.by_state.values())

    @property
    def moving(self) -> int:
        """Studies that wait or are under way."""
        return sum(self.by_state[state] for state in CAMPAIGN_MOVING)


def read_counts(session: Session, campaign_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Counts]:
    """The kept numbers of campaigns; each campaign is a key."""
    lines = session.execute(
        select(
            CampaignTally.campaign_id,
            CampaignTally.state,
            CampaignTally.reason,
            func.sum(CampaignTally.number),
        )
        .where(CampaignTally.campaign_id.in_(campaign_ids))
        .group_by(CampaignTally.campaign_id, CampaignTally.state, CampaignTally.reason)
    )
    found: dict[uuid.UUID, dict[tuple[CampaignStudyState, str], int]] = {
        campaign_id: {} for campaign_id in campaign_ids
    }
    for campaign_id, state, reason, number in lines:
        if number:
            found[campaign_id][CampaignStudyState(state), reason] = int(number)
    return {
        campaign_id: Counts(
            {
                state: sum(n for (of, _), n in by_reason.items() if of == state)
                for state in CampaignStudyState
            },
            {key: n for key, n in by_reason.items() if key[1]},
        )
        for campaign_id, by_reason in found.items()
    }


def count_ended(
    session: Session, campaign_ids: Sequence[uuid.UUID], seconds: float
) -> dict[uuid.UUID, int]:
    """How many studies of campaigns came to an end in the last seconds, by quarters of an hour.

    Each campaign is a key.
    """
    ended = [state for state in CampaignStudyState if state not in CAMPAIGN_MOVING]
    lines = session.execute(
        select(CampaignTally.campaign_id, func.sum(CampaignTally.number))
        .where(
            CampaignTally.campaign_id.in_(campaign_ids),
            CampaignTally.quarter > func.clock_timestamp() - interval(seconds),
            CampaignTally.state.in_(ended),
        )
        .group_by(CampaignTally.campaign_id)
    )
    found = dict.fromkeys(campaign_ids, 0)
    for campaign_id, number in lines:
        found[campaign_id] = max(0, int(number))
    return found


def count_ended_since(session: Session, campaign_id: uuid.UUID, seconds: float) -> int:
    """How many studies of a campaign came to an end in the last seconds, by quarters of an hour."""
    return count_ended(session, [campaign_id], seconds)[campaign_id]


def count_waiting(session: Session) -> int:
    """How many studies wait in running campaigns, and are not yet given to the pipeline.

    The campaigns are those that are shown; one of every site is for who sees every site.
    """
    return _sum(
        session,
        Campaign.state == CampaignState.RUNNING,
        CampaignTally.state == CampaignStudyState.WAITING,
    ).get("", 0)


def count_missing(session: Session, begins_at: dt.datetime, ends_at: dt.datetime) -> dict[str, int]:
    """How many studies turned out to be missing in the quarters of a stretch of time, by reason.

    One that was missing and was tried again meanwhile does not count. The campaigns are those that
    are shown.
    """
    numbers = _sum(
        session,
        CampaignTally.quarter >= begins_at,
        CampaignTally.quarter < ends_at,
        CampaignTally.state == CampaignStudyState.MISSING,
        key=CampaignTally.reason,
    )
    return {reason: number for reason, number in sorted(numbers.items()) if number > 0}


def _sum(
    session: Session,
    *conditions: ColumnElement[bool],
    key: ColumnElement[str] | InstrumentedAttribute[str] | None = None,
) -> dict[str, int]:
    """Kept numbers of campaigns by a column; one number under "" where none is given."""
    name = literal("") if key is None else key
    lines = session.execute(
        select(name, func.sum(CampaignTally.number))
        .join(Campaign, Campaign.id == CampaignTally.campaign_id)
        .where(*conditions, is_of_site(Campaign.site_id))
        .group_by(*([] if key is None else [key]))
    )
    return {str(of): int(number or 0) for of, number in lines}


def count_under_way(session: Session, campaign_id: uuid.UUID, limit: int) -> int:
    """How many studies of a campaign are under way; counted up to `limit`."""
    under_way = (
        select(CampaignStudy.id)
        .where(
            CampaignStudy.campaign_id == campaign_id,
            CampaignStudy.state.in_([state.value for state in CAMPAIGN_UNDER_WAY]),
        )
        .limit(limit)
        .subquery()
    )
    return session.scalar(select(func.count()).select_from(under_way)) or 0


def fold_tallies(session: Session, above: int = FOLD_ABOVE) -> int:
    """Make one row of the rows of each number and quarter, where there are more than `above`.

    Two calls at once do no harm: a row is deleted once, and only who deleted it adds its number.

    Returns:
        How many rows there were; 0 where nothing was folded.
    """
    rows = session.scalar(select(func.count()).select_from(CampaignTally)) or 0
    if rows <= above:
        return 0
    old = func.clock_timestamp() - interval(_FOLD_AFTER_DAYS * 86400)
    folded = (
        delete(CampaignTally)
        .returning(
            CampaignTally.campaign_id,
            CampaignTally.quarter,
            CampaignTally.state,
            CampaignTally.reason,
            CampaignTally.number,
        )
        .cte("folded")
    )
    quarter = func.greatest(folded.c.quarter, func.date_bin("15 minutes", old, text("'epoch'")))
    number = func.sum(folded.c.number)
    sums = (
        select(folded.c.campaign_id, quarter, folded.c.state, folded.c.reason, number)
        .group_by(folded.c.campaign_id, quarter, folded.c.state, folded.c.reason)
        .having(number != 0)
    )
    session.execute(
        insert(CampaignTally).from_select(
            ["campaign_id", "quarter", "state", "reason", "number"], sums.add_cte(folded)
        )
    )
    return rows
