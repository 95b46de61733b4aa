"""How the state of the system is shown in a terminal and as JSON."""

from __future__ import annotations

import datetime as dt
import io
import json

from rich.console import Console

from nightdraft.cli.json_output import as_json
from nightdraft.cli.status import overview_json, render_overview
from records.alarm_kinds import AlarmKind
from records.database.tables import Alarm, Heartbeat
from records.operations.lights import Light, LightState
from records.operations.overview import Overview, Pace, Parts, Workload
from records.operations.scrub import ScrubState
from records.states import VisibleState

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


def test_the_overview_shows_what_a_person_must_know() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(render_overview(overview()))
    assert isinstance(console.file, io.StringIO)
    page = " ".join(console.file.getvalue().split())
    for text in (
        "DRAFTED 3", "FAILED 1", "4 of 4 ended", "nothing left to do", "host:7",
        "ALARM WORKER_STOPPED, draft,", "three studies failed in a row",
        "Mend it. (http://127.0.0.1:8080/runbook#worker_stopped)", "disagrees 2",
        "1 damaged", "redis does not answer never (http://127.0.0.1:8080/runbook#broker)",
        "disk has room",
    ):  # fmt: skip
        assert text in page
    assert "a" * 13 not in page
    assert "WAITING" not in page


def test_the_overview_as_json() -> None:
    content = json.loads(as_json(overview_json(overview())))
    assert content["counts"]["states"]["DRAFTED"] == 3
    assert content["parts"][0]["facts"]["bundle"] == "a" * 64
    assert content["lights"][0]["state"] == "DOWN"
    assert content["alarms"][0]["opened_at"] == "2026-11-24T12:00:00Z"
