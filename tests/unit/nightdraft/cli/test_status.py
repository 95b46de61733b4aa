"""Pace and time left, and how a look is shown."""

from __future__ import annotations

import datetime as dt
import io
import json

import pytest
from rich.console import Console

from nightdraft.cli.status import Overview, Part, show_overview, time_left
from records.states import VisibleState

NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("counts", "per_minute", "seconds"),
    [
        ({VisibleState.WAITING: 30, VisibleState.PREPARED: 30}, 60.0, 60.0),
        ({VisibleState.WAITING: 30}, 0.0, None),
        ({VisibleState.DRAFTED: 30}, 0.0, 0.0),
        # What waits for a person takes no time of ours.
        ({VisibleState.HELD: 30, VisibleState.DRAFTING: 1}, 60.0, 1.0),
    ],
)
def test_time_left(
    counts: dict[VisibleState, int], per_minute: float, seconds: float | None
) -> None:
    assert time_left(counts, per_minute) == seconds


def seen() -> Overview:
    return Overview(
        counts=dict.fromkeys(VisibleState, 0) | {VisibleState.DRAFTED: 3, VisibleState.FAILED: 1},
        per_minute=2.0,
        seconds_left=0.0,
        parts=[Part("draft", "host:7", NOON, {"bundle": "a" * 64, "model": "null"})],
        alarms=[("draft", "three studies failed in a row", NOON)],
        refusals={"disagrees": 2},
    )


def test_a_look_shows_what_a_person_must_know() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(show_overview(seen()))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for words in (
        "DRAFTED 3", "FAILED 1", "4 of 4 ended", "nothing left to do", "host:7",
        "ALARM draft", "three studies failed in a row", "disagrees 2",
    ):  # fmt: skip
        assert words in shown
    assert "a" * 13 not in shown
    assert "WAITING" not in shown


def test_a_look_as_json() -> None:
    said = json.loads(json.dumps(seen().as_json()))
    assert said["studies"]["DRAFTED"] == 3
    assert said["parts"][0]["bundle"] == "a" * 64
    assert said["alarms"][0]["opened_at"] == "2026-11-24T12:00:00+00:00"
