"""Campaigns of the pictures: one that is done, one that is paused, and one for tonight."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from pydicom.uid import generate_uid
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from records.campaigns import adding, campaigns
from records.campaigns.adding import NewStudy
from records.campaigns.campaigns import NewCampaign
from records.campaigns.window import Hours, Window
from records.database.campaign_tables import Campaign, CampaignStudy, CampaignTally
from records.database.draft_tables import Draft
from records.database.session import database_time, unit_of_work
from records.database.tables import Study
from records.settings import settings
from records.states import (
    CampaignKind,
    CampaignState,
    CampaignStudyState,
    WalkState,
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """A campaign of the pictures.

    Attributes:
        name: as the department calls it.
        state: how it stands.
        numbers: its studies by state and reason.
        days: how long ago it was created.
    """

    name: str
    state: CampaignState
    numbers: Mapping[tuple[CampaignStudyState, str], int]
    days: int


_DRAFTED = (CampaignStudyState.DRAFTED, "")
_WAITING = (CampaignStudyState.WAITING, "")
_REPORTED = (CampaignStudyState.SKIPPED, "ALREADY_FINAL")
_NOT_CHEST = (CampaignStudyState.SKIPPED, "not_chest")
_UNREADABLE = (CampaignStudyState.FAILED, "UNREADABLE")
_NOT_HERE = (CampaignStudyState.MISSING, "NOT_HERE")

BACKLOGS = (
    Backlog(
        "Chest clinic 2024",
        CampaignState.DONE,
        {_DRAFTED: 1118, _REPORTED: 231, _NOT_CHEST: 46, _UNREADABLE: 2},
        41,
    ),
    Backlog(
        "Archive 2019, drafted again",
        CampaignState.PAUSED,
        {_DRAFTED: 310, _WAITING: 2205, _NOT_HERE: 17},
        12,
    ),
    Backlog(
        "Unread films of October",
        CampaignState.RUNNING,
        {
            _DRAFTED: 1204,
            _WAITING: 640,
            _REPORTED: 88,
            _NOT_CHEST: 19,
            _UNREADABLE: 3,
            _NOT_HERE: 6,
        },
        3,
    ),
)
"""The campaigns of the pictures, the oldest first."""


def add_campaigns() -> None:
    """Write the campaigns; the drafts of the running one are, as far as they go, the demo's."""
    with unit_of_work() as session:
        now = database_time(session)
        local = now.astimezone(ZoneInfo(settings().time_zone or "UTC"))
        # Closed while the pictures are taken, so that no part of the demonstration works on it.
        is_day = 8 <= local.hour < 18
        opens, closes = (dt.time(19), dt.time(7)) if is_day else (dt.time(8), dt.time(18))
        window = Window(Hours(opens, closes), ZoneInfo(settings().time_zone or "UTC"))
        here = session.execute(
            select(Study.study_instance_uid, Study.accession_number, Study.id)
            .join(Draft, Draft.study_id == Study.id)
            .where(Draft.superseded_at.is_(None))
            .order_by(Study.id)
        ).all()
        for backlog in BACKLOGS:
            new = NewCampaign(backlog.name, CampaignKind.LIST, window, "Demo Reader")
            campaign = campaigns.create(session, new)
            _add_studies(session, campaign, backlog, [NewStudy(*one) for one in here])
            campaigns.save_walk(session, campaign, None, WalkState.WALKED)
            created = now - dt.timedelta(days=backlog.days)
            is_done = backlog.state is CampaignState.DONE
            session.execute(
                update(Campaign)
                .where(Campaign.id == campaign)
                .values(
                    state=backlog.state,
                    created_at=created,
                    ended_at=created + dt.timedelta(days=5) if is_done else None,
                )
            )
            session.execute(
                update(CampaignTally)
                .where(CampaignTally.campaign_id == campaign)
                .values(quarter=CampaignTally.quarter - dt.timedelta(hours=12))
            )


def _add_studies(
    session: Session, campaign: uuid.UUID, backlog: Backlog, here: Sequence[NewStudy]
) -> None:
    total = sum(backlog.numbers.values())
    known = list(here) if backlog.state is CampaignState.RUNNING else []
    unknown = [
        NewStudy(str(generate_uid(prefix=None)), f"C{backlog.days:02d}{number:06d}")
        for number in range(total - len(known))
    ]
    adding.add_studies(session, campaign, [*known, *unknown])
    ids = session.scalars(
        select(CampaignStudy.id)
        .where(CampaignStudy.campaign_id == campaign)
        .order_by(CampaignStudy.id)
    ).all()
    begin = 0
    for (state, reason), number in backlog.numbers.items():
        chosen = ids[begin : begin + number]
        begin += number
        session.execute(
            update(CampaignStudy)
            .where(CampaignStudy.campaign_id == campaign, CampaignStudy.id.in_(chosen))
            .values(state=state, reason=reason)
        )
