"""What campaigns cost among few and among millions: the operations of `nightdraft bench growth`."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence

from sqlalchemy import select

from nightdraft.bench.operation import Operation
from records.campaigns import adding, campaigns, counting, feeding, following, pulling, rows
from records.campaigns.adding import NewStudy
from records.database.campaign_tables import CampaignMark, CampaignStudy
from records.database.session import unit_of_work
from records.states import CampaignKind, CampaignStudyState
from worker.campaigns import tend

AHEAD = 1_000_000
"""So many studies of a campaign may be under way: more than are, so that each run gives some."""

_numbers = itertools.count(1)


def campaign_operations(studies_there: int) -> list[Operation]:
    """What the sweep, the fetching process and the pages do; two campaigns name every study."""
    middle = studies_there // 2
    return [
        Operation("campaign: add 1,000 studies", _add, lambda _: _new_studies(1000)),
        Operation("campaign: give 8 studies to the pipeline", _feed, lambda _: _next_rows(8)),
        Operation("campaign: claim a study to fetch", lambda _: _claim()),
        Operation("campaign: bring 16 rows up to date", lambda _: _follow(), lambda _: _mark(16)),
        Operation("campaign: counts of each", lambda _: _count()),
        Operation("campaign: pause and resume", lambda _: _pause_and_resume()),
        Operation("campaign: first page of MISSING", lambda _: _list(0)),
        Operation("campaign: MISSING from the middle", lambda _: _list(middle)),
        Operation("sweep: nothing to do for campaigns", lambda _: tend(), lambda _: tend()),
    ]


def _of(name: str) -> uuid.UUID:
    with unit_of_work() as session:
        return campaigns.find(session, name).id


def _new_studies(count: int) -> list[NewStudy]:
    return [NewStudy(f"2.25.8{next(_numbers):09d}") for _ in range(count)]


def _add(studies: Sequence[NewStudy]) -> None:
    campaign = _of("open")
    with unit_of_work() as session:
        adding.add_studies(session, campaign, studies)


def _next_rows(count: int) -> list[tuple[int, uuid.UUID | None]]:
    with unit_of_work() as session:
        return feeding.list_next(session, campaigns.find(session, "again"), AHEAD)[:count]


def _feed(next_rows: Sequence[tuple[int, uuid.UUID | None]]) -> None:
    campaign_id = _of("again")
    with unit_of_work() as session:
        feeding.list_next(session, campaigns.find(session, "again"), len(next_rows))
    for row_id, study_id in next_rows:
        with unit_of_work() as session:
            campaign = campaigns.get_running(session, campaign_id)
            assert campaign is not None
            feeding.feed(session, campaign, row_id, study_id)


def _claim() -> None:
    with unit_of_work() as session:
        pulling.claim(session, "archive", AHEAD, [CampaignKind.LIST])


def _mark(count: int) -> None:
    with unit_of_work() as session:
        session.add_all(
            CampaignMark(study_id=study_id)
            for study_id in session.scalars(
                select(CampaignStudy.study_id)
                .where(CampaignStudy.study_id.is_not(None), CampaignStudy.follows)
                .limit(count)
            )
        )


def _follow() -> None:
    with unit_of_work() as session:
        following.follow_marks(session, 1000)


def _count() -> None:
    with unit_of_work() as session:
        counting.read_counts(
            session, [campaign.id for campaign in campaigns.list_campaigns(session, 50)]
        )


def _pause_and_resume() -> None:
    campaign = _of("closed")
    with unit_of_work() as session:
        campaigns.pause(session, campaign)
    with unit_of_work() as session:
        campaigns.resume(session, campaign)


def _list(after: int) -> None:
    campaign = _of("open")
    with unit_of_work() as session:
        rows.list_studies(session, campaign, 50, state=CampaignStudyState.MISSING, after=after)
