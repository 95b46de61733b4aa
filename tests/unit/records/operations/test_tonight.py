"""Every sentence of the promise for tonight, with the time passed in."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from records.campaigns.counting import Counts
from records.campaigns.progress import CampaignProgress
from records.database.campaign_tables import Campaign
from records.operations.nights import NightHours
from records.operations.overview import Pace, Workload
from records.operations.tonight import Outlook, Tonight, describe_campaigns, judge
from records.operations.work_counts import Work
from records.states import CampaignStudyState, VisibleState, WalkState

ZONE = ZoneInfo("Europe/Berlin")
NOW = dt.datetime(2026, 1, 15, 22, tzinfo=ZONE)
NIGHT = NightHours.parse("19:00-07:00", ZONE).of_date(NOW.date())


def tonight(
    to_do, per_minute=0.0, *, stalled="", outlook=None, now=NOW, far_away=False, night=NIGHT
):
    seconds = to_do / per_minute * 60 if per_minute and not stalled else None
    workload = Workload(
        counts={VisibleState.WAITING: to_do, VisibleState.HELD: 7, VisibleState.DRAFTED: 70},
        pace=Pace(per_minute, seconds, stalled),
        oldest_waiting=None,
    )
    is_known = seconds is not None and not far_away
    ends = now + dt.timedelta(seconds=seconds) if is_known else None
    return Tonight(
        night=night,
        zone=ZONE,
        now=now,
        workload=workload,
        outlook=outlook or judge(night, workload, ends),
        done_at=ends,
        stages=[],
        devices=[],
        campaigns=[],
        campaigns_running=0,
        in_campaigns=0,
        since=night.begins_at,
        work=Work([]),
    )


@pytest.mark.parametrize(
    ("found", "outlook", "sentence"),
    [
        (tonight(0, 5.0), Outlook.NOTHING_TO_DO, "Nothing is left to draft."),
        (
            tonight(0, stalled="No draft worker is running."),
            Outlook.NOTHING_TO_DO,
            "Nothing is left to draft.",
        ),
        (
            tonight(1, 0.5),
            Outlook.IN_TIME,
            "1 study is to be drafted. At 0.5 a minute all are drafted at 22:02, before the night "
            "ends at 16 Jan 07:00.",
        ),
        (
            tonight(1080, 2.0),
            Outlook.IN_TIME,
            "1080 studies are to be drafted. At 2 a minute all are drafted at 16 Jan 07:00, before "
            "the night ends at 16 Jan 07:00.",
        ),
        (
            tonight(1082, 2.0),
            Outlook.LATE,
            "1082 studies are to be drafted. At 2 a minute all are drafted at 16 Jan 07:01, and "
            "the night ends at 16 Jan 07:00.",
        ),
        (
            tonight(9, 1e-30, far_away=True),
            Outlook.LATE,
            "9 studies are to be drafted. At 1e-30 a minute all are drafted at a time far away, "
            "and the night ends at 16 Jan 07:00.",
        ),
        (
            tonight(9, stalled="No draft worker is running."),
            Outlook.STALLED,
            "9 studies are to be drafted. No draft worker is running. No time can be promised.",
        ),
        (
            tonight(2, stalled="All waits for its order.", outlook=Outlook.WAITS_FOR_ORDERS),
            Outlook.WAITS_FOR_ORDERS,
            "2 studies are to be drafted. All waits for its order. No time can be promised.",
        ),
    ],
)
def test_each_sentence_of_the_promise(found, outlook, sentence):
    assert (found.outlook, found.sentence) == (outlook, sentence)
    assert found.is_promise_broken == (outlook in ("LATE", "STALLED"))


def test_by_day_the_promise_is_for_the_night_that_comes():
    noon = dt.datetime(2026, 1, 15, 12, tzinfo=ZONE)
    found = tonight(600, 2.0, now=noon)
    assert (found.has_begun, found.until) == (False, NIGHT.begins_at)
    assert found.sentence.endswith("drafted at 17:00, before the night ends at 16 Jan 07:00.")
    assert (tonight(1, 1.0).has_begun, tonight(1, 1.0).until) == (True, NIGHT.ends_at)


def test_a_night_in_which_the_clocks_change_ends_by_the_clock():
    hours = NightHours.parse("19:00-07:00", ZONE)
    for day, minutes in ((dt.date(2026, 3, 28), 660), (dt.date(2026, 10, 24), 780)):
        begins = dt.datetime.combine(day, dt.time(19), ZONE)
        night = hours.of_date(day)
        in_time = tonight(minutes, 1.0, now=begins.astimezone(dt.UTC), night=night)
        late = tonight(minutes + 1, 1.0, now=begins.astimezone(dt.UTC), night=night)
        assert (in_time.outlook, late.outlook) == (Outlook.IN_TIME, Outlook.LATE)
        assert "before the night ends at" in in_time.sentence


def campaign(moving=10, *, done=True, left=0, nights=1, hours=True, walking=False):
    """A running campaign with this outlook."""
    by_state = dict.fromkeys(CampaignStudyState, 0) | {CampaignStudyState.WAITING: moving}
    return CampaignProgress(
        campaign=Campaign(walk_state=WalkState.WALKING if walking else WalkState.WALKED),
        counts=Counts(by_state, {}),
        per_hour=100.0,
        is_open=True,
        opens_at=None,
        closes_at=NIGHT.ends_at,
        done_at=NOW + dt.timedelta(days=nights - 1, hours=1) if done else None,
        nights_left=nights if done else None,
        night_ends_at=NIGHT.ends_at if hours else None,
        left_at_end=left if done and hours else None,
    )


ONE = "1 campaign is running."
LATE = campaign(left=1200, nights=4)


@pytest.mark.parametrize(
    ("campaigns", "sentence"),
    [
        ([], ""),
        ([campaign()], f"{ONE} At the present pace it is done before the window closes."),
        ([LATE], f"{ONE} At the present pace it leaves 1,200 studies for 3 more nights."),
        (
            [campaign(left=1, nights=2)],
            f"{ONE} At the present pace it leaves 1 study for 1 more night.",
        ),
        ([campaign(hours=False)], f"{ONE} At the present pace it is done today."),
        ([campaign(hours=False, nights=9)], f"{ONE} At the present pace it is done within 9 days."),
        ([campaign(done=False)], f"{ONE} No time can be promised."),
        ([campaign(0, done=False, walking=True)], f"{ONE} No time can be promised."),
        ([campaign(0, done=False)], ONE),
        (
            [campaign(), LATE, campaign(left=5, nights=2), campaign(), campaign(done=False)],
            "5 campaigns are running. At the present pace 2 will be done before their windows "
            "close. At the present pace 2 leave 1,205 studies for 3 more nights. No time can be "
            "promised for 1 of them.",
        ),
        (
            [campaign(), LATE],
            "2 campaigns are running. At the present pace 1 will be done before the window "
            "closes. At the present pace 1 leaves 1,200 studies for 3 more nights.",
        ),
        (
            [campaign(hours=False, nights=2), campaign(hours=False)],
            "2 campaigns are running. At the present pace 2 without hours are done within 2 days.",
        ),
        (
            [LATE, campaign(hours=False)],
            "2 campaigns are running. At the present pace 1 leaves 1,200 studies for 3 more "
            "nights. At the present pace 1 without hours is done today.",
        ),
    ],
)  # fmt: skip
def test_each_sentence_about_running_campaigns(campaigns, sentence):
    assert describe_campaigns(campaigns, len(campaigns)) == sentence


def test_where_there_are_too_many_the_first_of_them_are_told_of():
    said = describe_campaigns([campaign()] * 50, 2000)
    assert said.startswith("2,000 campaigns are running. Of the first 50 of them: At the present")
