"""How far a campaign is, and what is said of it: pace, forecast, window, faults."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from records.campaigns import campaigns, progress, rows
from records.campaigns.window import Hours, Window
from records.database.session import database_time, unit_of_work
from records.errors import NotFound
from records.states import CampaignStudyState
from tests.support.campaigns import ALWAYS, closed_now, create, of_uids, tend_all

pytestmark = pytest.mark.usefixtures("database")


def read(campaign):
    with unit_of_work() as session:
        return progress.read_one(session, campaign)


def end_some(campaign, number, hours_ago=0.0):
    """Let studies of a campaign have been drafted, and move the campaign's creation back."""
    with unit_of_work() as session:
        session.execute(
            text(
                "UPDATE campaign_studies SET state = 'DRAFTED' WHERE campaign_id = :campaign "
                "AND id IN (SELECT id FROM campaign_studies WHERE campaign_id = :campaign "
                "AND state = 'WAITING' LIMIT :number)"
            ),
            {"campaign": campaign, "number": number},
        )
        session.execute(
            text(
                "UPDATE campaign_tallies SET quarter = quarter - make_interval(secs => :seconds) "
                "WHERE state = 'DRAFTED'"
            ),
            {"seconds": hours_ago * 3600},
        )
        session.execute(
            text("UPDATE campaigns SET created_at = created_at - interval '2 days'"),
        )


def test_the_pace_is_that_of_the_open_hours_and_gives_the_end():
    campaign = create(studies=of_uids(*(f"1.{n}" for n in range(40))))
    before = read(campaign)
    assert (before.per_hour, before.seconds_left, before.done_at) == (0.0, None, None)
    assert "is known once studies have come to an end" in progress.say_forecast(before)
    end_some(campaign, 10)
    now = read(campaign)
    assert (now.ended, now.counts.moving, now.share) == (10, 30, 0.25)
    assert now.per_hour == pytest.approx(10.0)
    assert now.seconds_left == pytest.approx(3 * 3600)
    with unit_of_work() as session:
        hours = (now.done_at - database_time(session)).total_seconds() / 3600
    assert hours == pytest.approx(3, abs=0.1)
    assert now.sentence == "It works, at all times."
    assert progress.say_forecast(now).startswith("At the present pace it will be done at ")


def test_where_nothing_ended_lately_the_pace_is_that_of_the_night_before():
    campaign = create(studies=of_uids(*(f"1.{n}" for n in range(40))))
    end_some(campaign, 24, hours_ago=5)
    assert read(campaign).per_hour == pytest.approx(1.0)


def test_a_closed_window_says_when_it_opens_and_one_that_never_does():
    window = closed_now()
    campaign = create(studies=of_uids("1.1"), window=window)
    closed = read(campaign)
    assert not closed.is_open
    with unit_of_work() as session:
        assert closed.opens_at == window.next_opening(database_time(session))
    assert closed.sentence.startswith("It waits for its window, which opens at ")
    over = Window(Hours(dt.time(19), dt.time(7)), ZoneInfo("UTC"), (), None, dt.date(2020, 1, 1))
    gone = read(create(name="over", window=over))
    assert (gone.opens_at, gone.sentence) == (None, "Its window does not open again.")


def test_what_does_not_end_in_time_is_said():
    with unit_of_work() as session:
        today = database_time(session).date()
    window = Window(None, ZoneInfo("UTC"), (), None, today)
    campaign = create(studies=of_uids(*(f"1.{n}" for n in range(400))), window=window)
    end_some(campaign, 2)
    late = read(campaign)
    assert (late.done_at, late.nights) == (None, None)
    assert "is not done before its last night" in progress.say_forecast(late)
    many = create(name="many", studies=of_uids(*(f"2.{n}" for n in range(20000))))
    end_some(many, 1)
    assert progress.say_forecast(read(many)) == "At the present pace it takes more than a year."


def test_a_fault_of_the_system_is_said_and_nothing_is_promised():
    campaign = create(studies=of_uids("1.1", "1.2"), pacs="archive")
    end_some(campaign, 1)
    with unit_of_work() as session:
        campaigns.stall(session, "archive", "The PACS archive does not answer.")
    stalled = read(campaign)
    assert stalled.sentence.endswith("The PACS archive does not answer.")
    assert stalled.sentence.startswith("Nothing goes on since ")
    assert stalled.done_at is None
    assert "not known while nothing goes on" in progress.say_forecast(stalled)


def test_each_state_of_a_campaign_has_its_sentence():
    campaign = create(studies=of_uids("1.1"), window=closed_now())
    for step, words in ((campaigns.pause, "It is paused"), (campaigns.cancel, "It was cancelled")):
        with unit_of_work() as session:
            step(session, campaign)
        assert read(campaign).sentence.startswith(words)
        assert progress.say_forecast(read(campaign)) == ""
    done = create(name="done", studies=of_uids("1.2"))
    tend_all()
    assert read(done).sentence == "It is done: each of its studies has its end."
    assert read(done).share == 1.0
    walking = create(name="walking", window=ALWAYS)
    assert (read(walking).share, progress.say_forecast(read(walking))) == (0.0, "")
    with unit_of_work() as session, pytest.raises(NotFound):
        progress.read_one(session, done.__class__(int=1))


def test_a_page_reads_all_its_campaigns_at_once():
    made = [create(name=f"c{number}", studies=of_uids("1.1", "1.2")) for number in range(5)]
    with unit_of_work() as session:
        first = progress.read_page(session, 3)
        rest = progress.read_page(session, 3, first.next)
    shown = [one.campaign.id for one in (*first.campaigns, *rest.campaigns)]
    assert shown == made[::-1]
    assert rest.next is None
    assert {one.counts.total for one in first.campaigns} == {2}


def test_which_groups_are_tried_again():
    counts = rows.Counts(
        dict.fromkeys(CampaignStudyState, 0),
        {
            (CampaignStudyState.FAILED, "UNREADABLE"): 1,
            (CampaignStudyState.MISSING, "OFFLINE"): 2,
            (CampaignStudyState.SKIPPED, "ALREADY_FINAL"): 3,
            (CampaignStudyState.HELD, "CHEST_UNKNOWN"): 4,
        },
    )
    assert rows.retried_groups(counts) == [("FAILED", "UNREADABLE"), ("MISSING", "OFFLINE")]
    assert rows.retried_groups(counts, reason="ALREADY_FINAL") == [("SKIPPED", "ALREADY_FINAL")]
    assert rows.retried_groups(counts, CampaignStudyState.MISSING) == [("MISSING", "OFFLINE")]
    assert rows.retried_groups(counts, CampaignStudyState.FAILED, "OFFLINE") == []
