"""How the state of the system is shown in a terminal and as JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
from zoneinfo import ZoneInfo

from rich.console import Console

from nightdraft.cli.json_output import as_json
from nightdraft.cli.nights import render_tonight
from nightdraft.cli.status import overview_json, render_overview
from records.alarm_kinds import AlarmKind
from records.campaigns.counting import Counts
from records.campaigns.progress import CampaignProgress
from records.database.campaign_tables import Campaign
from records.database.operation_tables import Alarm, Heartbeat
from records.operations.lights import Light, LightState
from records.operations.nights import NightHours
from records.operations.overview import Overview, Pace, Parts, Workload
from records.operations.scrub import ScrubState
from records.operations.tonight import DevicePace, Outlook, StagePace, Tonight
from records.operations.work_counts import Count, Work
from records.states import (
    CampaignState,
    CampaignStudyState,
    Stage,
    VisibleState,
    WalkState,
    WorkKind,
)

NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


def overview() -> Overview:
    facts = {"bundle": "a" * 64, "model": "null"}
    return Overview(
        workload=Workload(
            counts=dict.fromkeys(VisibleState, 0)
            | {VisibleState.DRAFTED: 3, VisibleState.FAILED: 1},
            pace=Pace(per_minute=2.0, seconds_left=0.0),
            oldest_waiting=None,
        ),
        parts=Parts(
            running=[
                Heartbeat(part="draft", owner="host:7", started_at=NOON, seen_at=NOON, facts=facts)
            ],
            missing=[],
            alarms=[
                Alarm(
                    kind=AlarmKind.WORKER_STOPPED,
                    part="draft",
                    cause="three studies failed in a row.",
                    remedy="Mend it.",
                    opened_at=NOON,
                )
            ],
            lights=[
                Light("redis", LightState.DOWN, "does not answer", "", None, "/runbook#broker"),
                Light("disk", LightState.UP, "has room", "9 MB are free.", NOON, "/runbook#disk"),
            ],
        ),
        refusals={"disagrees": 2},
        open_messages=1,
        scrub=ScrubState(damaged=1, round_read=40, round_ended_at=NOON, read_at=NOON),
    )


def tonight() -> Tonight:
    """A promise at noon for the night that begins at seven."""
    night = NightHours.parse("19:00-07:00", ZoneInfo("UTC")).of_date(NOON.date())
    workload = Workload(
        counts={VisibleState.WAITING: 600}, pace=Pace(2.0, 18000.0), oldest_waiting=None
    )
    done_at = NOON + dt.timedelta(hours=5)
    return Tonight(
        night=night,
        zone=ZoneInfo("UTC"),
        now=NOON,
        workload=workload,
        outlook=Outlook.IN_TIME,
        done_at=done_at,
        stages=[StagePace(Stage.DRAFT, 600, 2.0, done_at)],
        devices=[DevicePace("host:7", "NVIDIA H100", 2.0, 0.91, 0.5, 8)],
        campaigns=[],
        campaigns_running=0,
        in_campaigns=5,
        since=NOON - dt.timedelta(hours=5),
        work=Work([Count(NOON, WorkKind.SKIPPED, "not_chest", "", 4)]),
    )


def test_the_overview_shows_what_a_person_must_know() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(render_overview(overview(), tonight()))
    assert isinstance(console.file, io.StringIO)
    page = " ".join(console.file.getvalue().split())
    for text in (
        "DRAFTED 3", "FAILED 1", "4 of 4 ended", "nothing left to do", "host:7",
        "ALARM WORKER_STOPPED, draft,", "three studies failed in a row",
        "Mend it. (http://127.0.0.1:8080/runbook#worker_stopped)", "disagrees 2",
        "1 damaged", "redis does not answer never (http://127.0.0.1:8080/runbook#broker)",
        "disk has room",
        "tonight (19:00 to 25 Nov 07:00): 600 studies are to be drafted. At 2 a minute all are "
        "drafted at 17:00, before the night ends at 25 Nov 07:00.",
    ):  # fmt: skip
        assert text in page
    assert "a" * 13 not in page
    assert "WAITING" not in page


def test_the_overview_as_json() -> None:
    content = json.loads(as_json(overview_json(overview(), tonight())))
    assert content["counts"]["states"]["DRAFTED"] == 3
    assert content["parts"][0]["facts"]["bundle"] == "a" * 64
    assert content["lights"][0]["state"] == "DOWN"
    assert content["alarms"][0]["opened_at"] == "2026-11-24T12:00:00Z"
    promise = content["tonight"]
    assert (promise["night"], promise["outlook"]) == ("2026-11-24", "IN_TIME")
    assert promise["done_at"] == "2026-11-24T17:00:00Z"
    assert promise["skipped"] == {"not_chest": 4}
    assert promise["devices"][0]["busy"] == 0.91


def test_tonight_shows_stages_and_devices() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(render_tonight(tonight()))
    assert isinstance(console.file, io.StringIO)
    page = " ".join(console.file.getvalue().split())
    assert "draft 600 2 17:00" in page
    assert "host:7 NVIDIA H100 2 91% 50% 8" in page


def test_running_campaigns_have_a_line_of_their_own() -> None:
    campaign = Campaign(
        name="winter\x1b[2J", state=CampaignState.RUNNING, walk_state=WalkState.WALKING
    )
    counts = Counts(dict.fromkeys(CampaignStudyState, 0), {})
    one = CampaignProgress(campaign, counts, None, True, None, None, None, None)
    found = dataclasses.replace(tonight(), campaigns=[one], campaigns_running=1)
    console = Console(file=io.StringIO(), width=200)
    console.print(render_overview(overview(), found))
    console.print(render_tonight(found))
    assert isinstance(console.file, io.StringIO)
    page = console.file.getvalue()
    assert page.count("campaigns: 1 campaign is running. No time can be promised.") == 2
    assert "campaign winter[2J: No time is promised while its source is being walked." in page
