"""Tonight, the nights before, and groups of failures: by REST and on the pages."""

import datetime as dt
import json
import re
from html import unescape

import pytest
from sqlalchemy import text

from records.alarm_kinds import AlarmKind
from records.campaigns import campaigns
from records.database.campaign_tables import Campaign
from records.database.session import unit_of_work
from records.operations import alarms, heartbeats
from records.states import FailReason, Stage
from records.workflow import attempts, requests
from tests.support.campaigns import create, of_uids
from tests.support.nights import add_nights, let_it_be_night
from tests.support.registered_studies import claim, complete, draft_all, new_instance, prepare
from tests.support.seeded_studies import seed_heartbeats

FORM = {"content-type": "application/x-www-form-urlencoded"}


def fail(*reasons):
    """A study that failed, for each of these reasons."""
    complete(*(new_instance(f"9.{number}") for number in range(len(reasons))))
    for lease, reason in zip(claim(limit=len(reasons)), reasons, strict=True):
        with unit_of_work() as session:
            attempts.fail(session, lease, reason, "-", max_attempts=1, retry_seconds=0)


@pytest.fixture
def night(setting, client):
    ends_at = let_it_be_night(setting)
    seed_heartbeats("listener", "sweep", "prepare")
    with unit_of_work() as session:
        heartbeats.record_heartbeat(
            session,
            "draft",
            {
                "device": "NVIDIA <H100>",
                "busy": 0.93,
                "occupancy": 0.5,
                "slots": 64,
                "studies_per_second": 2.0,
            },
        )
    return ends_at


def page(client, address):
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return answer.text


def words(html):
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_the_promise_is_the_pace_of_the_counts(client, night):
    complete(*(new_instance(f"1.{number}") for number in range(3)))
    draft_all()
    complete(*(new_instance(f"2.{number}") for number in range(6)))
    promise = client.get("/api/tonight").json()
    counts = client.get("/api/counts").json()
    assert promise["has_begun"] is True
    assert dt.datetime.fromisoformat(promise["ends_at"]) == night
    assert (promise["to_do"], promise["per_minute"]) == (counts["to_do"], counts["per_minute"])
    assert (promise["to_do"], promise["per_minute"], promise["drafted"]) == (6, 3.0, 3)
    left = dt.datetime.fromisoformat(promise["done_at"]) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(seconds=60) < left <= dt.timedelta(seconds=120)
    assert promise["outlook"] == "IN_TIME"
    prepare, draft = promise["stages"]
    assert (prepare["stage"], prepare["to_do"], prepare["per_minute"] > 0) == ("prepare", 6, True)
    assert (draft["stage"], draft["to_do"], draft["per_minute"]) == ("draft", 6, 3.0)
    (device,) = promise["devices"]
    assert (device["device"], device["busy"], device["per_minute"]) == ("NVIDIA <H100>", 0.93, 120)


def test_the_page_shows_the_queue_the_parts_and_the_alarms(client, night):
    with unit_of_work() as session:
        heartbeats.end_heartbeat(session, "prepare")
        alarms.raise_alarm(session, AlarmKind.DISK_FULL, "listener", "No `room`.")
    complete(new_instance("1.1"), new_instance("1.2"))
    for lease in claim(limit=1):
        prepare(lease)
    text = words(page(client, "/tonight"))
    assert "0 receiving , 1 waiting , 0 preparing , 1 prepared , 0 drafting ." in text
    assert "Running beside them: listener, sweep." in text
    assert "Not running: prepare." in text
    assert "Alarm, listener: No room ." in text


def test_a_night_that_is_too_short_is_told(client, night):
    complete(new_instance("1.1"))
    draft_all()
    complete(*(new_instance(f"2.{number}") for number in range(300)))
    promise = client.get("/api/tonight").json()
    assert promise["outlook"] == "LATE"
    assert promise["sentence"].startswith("300 studies are to be drafted. At 1 a minute all are")
    assert promise["sentence"].endswith(f"and the night ends at {night:%H:%M}.") or (
        f"and the night ends at {night:%d %b %H:%M}." in promise["sentence"]
    )
    assert 'class="promise late"' in page(client, "/tonight")


def test_work_that_stands_still_has_no_promise(client, setting):
    let_it_be_night(setting)
    complete(new_instance("1.1"))
    promise = client.get("/api/tonight").json()
    assert (promise["outlook"], promise["done_at"]) == ("STALLED", None)
    assert "No draft worker is running." in promise["sentence"]


def test_by_day_the_promise_is_for_the_next_night(client, setting):
    now = dt.datetime.now(dt.UTC)
    begin, end = now + dt.timedelta(hours=2), now + dt.timedelta(hours=6)
    setting(time_zone="UTC", night_hours=f"{begin:%H}:00-{end:%H}:00")
    draft_all() if complete(new_instance("1.1")) else None
    promise = client.get("/api/tonight").json()
    assert promise["has_begun"] is False
    assert dt.datetime.fromisoformat(promise["begins_at"]) > now
    assert (promise["outlook"], promise["drafted"]) == ("NOTHING_TO_DO", 1)
    assert "Since the last night ended" in page(client, "/tonight")


def test_the_page_shows_promise_pace_devices_and_plots(client, night):
    add_nights(20)
    complete(*(new_instance(f"1.{number}") for number in range(3)))
    draft_all()
    shown = page(client, "/tonight")
    text = words(shown)
    assert "Nothing is left to draft." in text
    assert "NVIDIA <H100> 120 a minute 93 % 50 % 64".replace(" %", "%") in text
    assert re.search(r'aria-label="Studies by quarter of an hour: 3 drafted, 0 skipped', shown)
    assert shown.count('href="/nights/2026-') == 20
    assert 'aria-label="Studies of each of 20 nights."' in shown
    assert "<style" not in shown
    assert 'style="' not in shown  # the policy would refuse it
    live = page(client, "/tonight/live")
    assert "<main" not in live
    assert words(live).split("Queue and stages")[0] in text  # the pace below is of its own moment


def test_nothing_at_all_is_shown_without_a_fault(client):
    assert "No study has failed." in page(client, "/tonight")
    assert "No night has a summary yet" in page(client, "/nights")
    assert client.get("/nights/2026-11-24").status_code == 404
    assert client.get("/nights/no-date").status_code == 422
    assert client.get("/api/nights").json() == {"nights": [], "next": None}
    assert client.get("/api/failures").json() == []


def test_nights_are_listed_page_by_page(client):
    add_nights(70)
    first = client.get("/api/nights", params={"limit": 40}).json()
    second = client.get("/api/nights", params={"limit": 40, "before": first["next"]}).json()
    dates = [night["night"] for night in first["nights"] + second["nights"]]
    assert len(set(dates)) == 70
    assert dates == sorted(dates, reverse=True)
    assert second["next"] is None
    assert first["nights"][-1]["drafts_per_hour_before"] == 23.33  # of 280 in 12 h
    older = re.search(r'id="older" href="([^"]+)"', page(client, "/nights")).group(1)
    assert page(client, older).count('<a id="night-') == 10


def test_one_night_by_rest_and_on_its_page(client):
    add_nights(2)
    shown = client.get("/api/nights/2026-11-24").json()
    assert shown == client.get("/api/nights").json()["nights"][0]
    assert (shown["drafted"], shown["skipped"]) == (400, {"not_chest": 31, "age": 7})
    assert (shown["nights_left"], shown["drafts_per_hour"]) == (2.0, 33.33)
    text = words(page(client, "/nights/2026-11-24"))
    assert "Skipped not chest 31" in text
    assert "33.3 drafts an hour, 1% faster than 33.1 in the night of 2026-11-23." in text
    assert "draft@gpu-1 400" in text
    assert "2026-11-24 19:00 CET to 2026-11-25 07:00 CET" in text


@pytest.mark.parametrize("path", ["/api/nights/1764201600", "/nights/1764201600", "/nights/1e9"])
def test_a_number_is_no_night(client, path):
    assert client.get(path).status_code == 422


def test_failures_are_retried_as_a_group_and_the_question_says_how_many(client):
    fail(*[FailReason.UNREADABLE] * 3, FailReason.MODEL_ERROR)
    assert client.get("/api/failures").json() == [
        {"reason": "UNREADABLE", "number": 3, "is_more": False},
        {"reason": "MODEL_ERROR", "number": 1, "is_more": False},
    ]
    address = re.search(r'href="(/tonight/retry\?reason=U[^"]+)"', page(client, "/tonight")).group(
        1
    )
    question = page(client, address)
    assert "Draft 3 studies again?" in question
    assert "Draft all 3 again" in question
    assert client.get("/api/failures").json()[0]["number"] == 3  # asking changes nothing
    answer = client.post(
        "/tonight/retry", content="reason=UNREADABLE", headers=FORM, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/tonight?retried=3")
    assert "3 studies will be drafted again." in page(client, "/tonight?retried=3")
    assert client.get("/api/counts").json()["states"]["WAITING"] == 3
    assert "Nothing is left to draft again" in page(client, address)
    assert client.post("/api/failures/retry", json={"reason": "MODEL_ERROR"}).json() == {
        "studies": 1
    }
    assert client.get("/api/failures").json() == []


def test_a_group_that_is_not_known_changes_nothing(client):
    fail(FailReason.UNREADABLE)
    assert client.post("/tonight/retry", content="reason=X", headers=FORM).status_code == 422
    assert client.post("/api/failures/retry", json={"reason": ""}).status_code == 422
    assert client.get("/tonight/retry?reason=X").status_code == 422
    assert client.get("/api/failures").json()[0]["number"] == 1


def test_a_large_group_is_retried_in_several_transactions(client, monkeypatch):
    monkeypatch.setattr("api.nights.RETRY_AT_ONCE", 2)
    fail(*[FailReason.UNREADABLE] * 5)
    answer = client.post("/api/failures/retry", json={"reason": "UNREADABLE"})
    assert answer.json() == {"studies": 5}


def test_of_very_many_only_so_many_are_counted(client, monkeypatch):
    monkeypatch.setattr(requests, "FAILURES_COUNTED", 2)
    fail(*[FailReason.UNREADABLE] * 3)
    assert client.get("/api/failures").json() == [
        {"reason": "UNREADABLE", "number": 2, "is_more": True}
    ]
    assert "Draft 2 or more studies again?" in page(client, "/tonight/retry?reason=UNREADABLE")


def test_no_patient_is_in_what_is_told_of_a_night(client, night):
    complete(new_instance("1.1"), new_instance("1.2"))
    claim(Stage.PREPARE, limit=1)
    told = "".join(
        page(client, address) for address in ("/tonight", "/api/tonight", "/nights", "/metrics")
    )
    assert "PHANTOM" not in told
    assert "P-1" not in told
    assert json.loads(page(client, "/api/tonight"))["to_do"] == 2


def test_running_campaigns_are_promised_on_the_page_by_rest_and_in_metrics(client, night):
    late = create(name="Winter, <north>", studies=of_uids(*(f"7.{n}" for n in range(9))))
    with unit_of_work() as session:
        campaign = session.get(Campaign, late)
        opens = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        campaign.window_opens = opens.time().replace(second=0, microsecond=0)
        campaign.window_closes = (
            (opens + dt.timedelta(minutes=150)).time().replace(second=0, microsecond=0)
        )
        campaign.created_at = opens
        # One ended within the hour: so does one of the other eight, and half of one, in the window.
        session.execute(
            text("UPDATE campaign_studies SET state = 'MISSING' WHERE study_instance_uid = '7.0'")
        )
    create(name="paused", studies=of_uids("8.1"))
    with unit_of_work() as session:
        campaigns.pause(session, campaigns.find(session, "paused").id)
    promise = client.get("/api/tonight").json()
    (one,) = promise["campaigns"]
    assert (one["campaign"], one["to_do"], one["left_at_end"]) == (str(late), 8, 7)
    assert promise["campaigns_running"] == 1
    sentence = promise["campaigns_sentence"]
    assert sentence.startswith("1 campaign is running. At the present pace it leaves 7 studies for")
    assert "7 studies are left when its window closes at" in one["sentence"]
    shown = client.get("/tonight").text
    assert sentence in words(shown)
    assert "Winter, &lt;north&gt;" in shown
    assert one["sentence"] in words(client.get(f"/campaigns/{late}").text)
    numbers = client.get("/metrics").text
    assert f'nightdraft_campaign_left_at_end{{campaign="{late}"}} 7.0' in numbers
    nights = one["nights_left"]
    assert f'nightdraft_campaign_nights_left{{campaign="{late}"}} {nights}.0' in numbers
    assert f'nightdraft_campaign_done_timestamp_seconds{{campaign="{late}"}}' in numbers
    assert "Winter" not in json.dumps(promise) + numbers


def test_without_a_running_campaign_the_page_says_nothing_of_them(client, night):
    assert 'id="campaigns"' not in client.get("/tonight").text
    assert client.get("/api/tonight").json()["campaigns_sentence"] == ""
