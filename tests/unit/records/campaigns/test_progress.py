"""When a campaign will be done, and every sentence about it, with the time passed in."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from records.campaigns.counting import Counts
from records.campaigns.progress import describe_source, local_time, measure
from records.database.campaign_tables import Campaign
from records.states import CampaignKind, CampaignState, CampaignStudyState, Purpose, WalkState

BERLIN = ZoneInfo("Europe/Berlin")
HOUR, DAY = 3600.0, 86400.0


def at(text):
    """A moment by Berlin's clock."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def make(**changed):
    values = {
        "name": "winter",
        "kind": CampaignKind.LIST,
        "source": {},
        "pacs": "",
        "purpose": Purpose.PRIMARY,
        "state": CampaignState.RUNNING,
        "walk_state": WalkState.WALKED,
        "walk_note": "",
        "stalled_reason": "",
        "window_opens": dt.time(19),
        "window_closes": dt.time(7),
        "time_zone": "Europe/Berlin",
        "blackouts": [],
        "starts_on": None,
        "ends_on": None,
        "created_at": at("2026-01-01T12:00"),
    }
    return Campaign(**(values | changed))


def count(**numbers):
    by_state = dict.fromkeys(CampaignStudyState, 0)
    for state, number in numbers.items():
        by_state[CampaignStudyState[state]] = number
    return Counts(by_state, {})


def progress(waiting=0, ended=0, in_day=0, now="2026-01-15T22:00", drafted=0, **changed):
    """A campaign of which so many wait, and so many ended in the last hour or day."""
    return measure(
        make(**changed),
        count(WAITING=waiting, DRAFTED=drafted),
        {HOUR: ended, DAY: in_day},
        at(now),
    )


def test_the_pace_is_that_of_open_hours():
    assert progress(waiting=90, ended=100).per_hour == pytest.approx(100)
    # From 19:00 on it was open for half an hour of the last one.
    assert progress(waiting=90, ended=100, now="2026-01-15T19:30").per_hour == pytest.approx(200)
    # Of the last 24 hours it was open for 12.
    assert progress(waiting=90, in_day=120, now="2026-01-15T15:00").per_hour == pytest.approx(10)
    # A campaign of a minute ago: seconds of it are no pace.
    begun = progress(
        waiting=9, ended=1, now="2026-01-15T22:00", created_at=at("2026-01-15T21:59:59")
    )
    assert begun.per_hour == pytest.approx(60)
    assert progress(waiting=90).per_hour is None


@pytest.mark.parametrize(
    ("waiting", "done_at", "nights", "left"),
    [
        (900, "2026-01-16T07:00", 1, 0),
        (450, "2026-01-16T02:30", 1, 0),
        (901, "2026-01-16T19:00:36", 2, 1),
        (900 + 1200 + 600, "2026-01-18T01:00", 3, 1800),
    ],
)
def test_what_is_left_when_the_window_closes(waiting, done_at, nights, left):
    one = progress(waiting=waiting, ended=100)
    assert one.done_at == at(done_at)
    assert (one.nights_left, one.left_at_end) == (nights, left)
    assert one.night_ends_at == at("2026-01-16T07:00")


def test_a_blackout_is_no_end_of_the_night():
    one = progress(waiting=800, ended=100, blackouts=[["02:00", "03:00"]])
    assert one.closes_at == at("2026-01-16T02:00")
    assert (one.night_ends_at, one.left_at_end) == (at("2026-01-16T07:00"), 0)
    assert one.done_at == at("2026-01-16T07:00")
    assert progress(waiting=810, ended=100, blackouts=[["02:00", "03:00"]]).left_at_end == 10


def test_by_day_the_promise_is_for_the_night_that_comes():
    one = progress(waiting=130, in_day=120, now="2026-01-15T15:00")
    assert not one.is_open
    assert one.opens_at == at("2026-01-15T19:00")
    assert (one.night_ends_at, one.left_at_end) == (at("2026-01-16T07:00"), 10)
    assert one.done_at == at("2026-01-16T20:00")


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-03-28", 11), ("2026-10-24", 13)],
    ids=["clocks go forward", "clocks go back"],
)
def test_a_night_in_which_the_clocks_change_is_shorter_or_longer(day, hours):
    one = progress(waiting=5000, in_day=1200, now=f"{day}T15:00")
    assert one.left_at_end == 5000 - 100 * hours


def test_a_campaign_without_hours_has_no_end_of_a_night():
    one = progress(waiting=300, ended=100, window_opens=None, window_closes=None)
    assert (one.night_ends_at, one.left_at_end, one.nights_left) == (None, None, 2)
    assert one.forecast == "At the present pace it is done about Fri 2026-01-16 01:00 CET."


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (progress(state=CampaignState.PAUSED), ""),
        (progress(state=CampaignState.CANCELLED), ""),
        (progress(state=CampaignState.DONE), ""),
        (
            progress(waiting=5, ended=5, walk_state=WalkState.WALKING),
            "No time is promised while its source is being walked.",
        ),
        (progress(drafted=5, ended=5), "Nothing of it is left to do."),
        (
            progress(waiting=5, ended=5, stalled_reason="The disk is full."),
            "No time is promised while it waits.",
        ),
        (progress(waiting=5), "No study ended within a day, so no time is promised."),
        (
            progress(waiting=500, ended=1, ends_on=dt.date(2026, 1, 16)),
            "At the present pace it is not done within its dates, or not within 400 days.",
        ),
        (
            progress(waiting=500_000, ended=1),
            "At the present pace it is not done within its dates, or not within 400 days.",
        ),
        (
            progress(waiting=100, ended=100),
            "At the present pace it is done about Thu 2026-01-15 23:00 CET, before its window "
            "closes at Fri 2026-01-16 07:00 CET.",
        ),
        (
            progress(waiting=901, ended=100),
            "At the present pace 1 study is left when its window closes at Fri 2026-01-16 07:00 "
            "CET; it is done about Fri 2026-01-16 19:00 CET, in 2 nights.",
        ),
        (
            progress(waiting=2900, ended=100),
            "At the present pace 2,000 studies are left when its window closes at Fri 2026-01-16 "
            "07:00 CET; it is done about Sun 2026-01-18 03:00 CET, in 3 nights.",
        ),
    ],
)  # fmt: skip
def test_each_sentence_of_the_forecast(one, sentence):
    assert one.forecast == sentence


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (
            progress(state=CampaignState.PAUSED),
            "It is paused: nothing more is given to the pipeline.",
        ),
        (
            progress(state=CampaignState.CANCELLED),
            "It was cancelled: what still waits is not drafted.",
        ),
        (progress(state=CampaignState.DONE), "It is done."),
        (
            progress(walk_state=WalkState.FAILED, walk_note="The folder is away."),
            "Its source cannot be walked: The folder is away.",
        ),
        (progress(waiting=1, stalled_reason="The disk is full."), "It waits: The disk is full."),
        (progress(waiting=1, now="2026-01-15T12:00"), "Its window is closed."),
        (
            progress(waiting=1, ends_on=dt.date(2026, 1, 2)),
            "Its window does not open again, and studies are left: give it other dates.",
        ),
        (progress(walk_state=WalkState.WALKING), "Its source is being walked."),
        (progress(waiting=1), "Its window is open, and no study has come to an end yet."),
        (progress(waiting=1, ended=1), "Its window is open."),
    ],
)
def test_each_sentence_about_what_it_does(one, sentence):
    assert one.sentence == sentence


def test_what_does_not_run_is_promised_nothing():
    one = progress(waiting=9, ended=9, state=CampaignState.PAUSED)
    assert (one.per_hour, one.done_at, one.night_ends_at, one.left_at_end) == (None,) * 4
    assert (one.ended, progress(waiting=9, drafted=4).ended) == (0, 4)
    waiting = progress(waiting=9, ended=9, stalled_reason="The disk is full.")
    assert (waiting.done_at, waiting.left_at_end) == (None, None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"kind": CampaignKind.AGAIN, "source": {"from_bundle": "0123456789abcdef"}},
            "what bundle 0123456789ab drafted",
        ),
        ({"pacs": "archive"}, "a list of studies, at the PACS archive"),
        ({"kind": CampaignKind.FOLDER, "source": {"folder": "/films"}}, "the folder /films"),
        (
            {
                "kind": CampaignKind.QUERY,
                "pacs": "archive",
                "source": {
                    "first_date": "2025-12-01",
                    "last_date": "2026-02-28",
                    "modalities": ["CR", "DX"],
                },
            },
            "studies of CR, DX from 2025-12-01 to 2026-02-28, at the PACS archive",
        ),
        (
            {"kind": CampaignKind.QUERY, "source": {"first_date": "a", "last_date": "b"}},
            "studies of any modality from a to b",
        ),
    ],
)
def test_a_source_in_words(changed, words):
    assert describe_source(make(**changed)) == words


def test_a_time_is_told_by_the_clock_of_the_site():
    moment = dt.datetime(2026, 7, 1, 22, 30, tzinfo=dt.UTC)
    assert local_time(make(), moment) == "Thu 2026-07-02 00:30 CEST"
