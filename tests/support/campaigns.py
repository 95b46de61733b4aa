"""Campaigns for tests, written through the functions of `records`, and their studies' ends."""

import datetime as dt
from collections import Counter
from zoneinfo import ZoneInfo

from sqlalchemy import select

from records.campaigns import adding, campaigns, counting
from records.campaigns.adding import NewStudy
from records.campaigns.campaigns import NewCampaign
from records.campaigns.window import Hours, Window
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.session import database_time, unit_of_work
from records.states import CampaignKind, WalkState
from worker.campaigns import tend

ALWAYS = Window(None, ZoneInfo("UTC"))


def closed_now(opens_in_hours=2):
    """A window that opens in some hours."""
    with unit_of_work() as session:
        now = database_time(session)
    opens = (now + dt.timedelta(hours=opens_in_hours)).time().replace(microsecond=0)
    closes = (now + dt.timedelta(hours=opens_in_hours + 1)).time().replace(microsecond=0)
    return Window(Hours(opens, closes), ZoneInfo("UTC"))


def create(kind=CampaignKind.LIST, name="backlog", window=ALWAYS, studies=(), **changed):
    """A campaign with rows; it is walked where studies are given."""
    new = NewCampaign(name, kind, window, "test", **{"source": {}, **changed})
    with unit_of_work() as session:
        campaign_id = campaigns.create(session, new)
        if studies:
            adding.add_studies(session, campaign_id, list(studies))
            campaigns.save_walk(session, campaign_id, None, WalkState.WALKED)
    return campaign_id


def of_uids(*uids):
    return [NewStudy(uid) for uid in uids]


def tend_all(rounds=20):
    """Tend until a round changes nothing."""
    for _ in range(rounds):
        done = tend()
        if not (done.followed or done.woken or done.found or done.fed or done.ended):
            return
    raise AssertionError("tending never came to an end")


def get(campaign_id):
    with unit_of_work() as session:
        return session.get(Campaign, campaign_id)


def ends(campaign_id):
    """{study UID or accession number: (state, reason)}."""
    with unit_of_work() as session:
        found = session.scalars(
            select(CampaignStudy).where(CampaignStudy.campaign_id == campaign_id)
        ).all()
    return {
        row.study_instance_uid or row.accession_number: (row.state, row.reason) for row in found
    }


def kept_counts(campaign_id):
    """The kept numbers as (state, reason): number, which must be those of the rows."""
    with unit_of_work() as session:
        counts = counting.read_counts(session, [campaign_id])[campaign_id]
        counted = Counter(
            session.scalars(
                select(CampaignStudy.state).where(CampaignStudy.campaign_id == campaign_id)
            )
        )
    assert {state: n for state, n in counts.by_state.items() if n} == counted
    return counts
