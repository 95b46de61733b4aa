"""The state of the whole system: counts, pace, time left, running parts, alarms, refusals.

The pages, REST, `nightdraft status` and the demo all read it here, so that they promise the same
time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from records.database.tables import Alarm, Heartbeat
from records.operations import alarms, heartbeats, refusals
from records.operations.scrub import ScrubState, read_scrub_state
from records.states import ENDED, VisibleState
from records.workflow import worklist

MOVING = tuple(
    state for state in VisibleState if state not in ENDED and state is not VisibleState.HELD
)
"""States that lead on by themselves. HELD waits for a person."""

EXPECTED_PARTS = ("listener", "sweep", "prepare", "draft")
"""The parts without which no study comes in or gets drafted."""

PACE_SECONDS = 60.0
"""The pace is that of the last minute, where it saw a draft."""

SLOW_PACE_SECONDS = 600.0
"""The pace is that of the last ten minutes, where the last minute saw no draft."""


@dataclass(frozen=True, slots=True)
class Workload:
    """How much there is to draft, and how long it will take.

    Attributes:
        counts: studies in each visible state; every state is a key.
        per_minute: drafts a minute, at the present pace.
        seconds_left: time until everything that moves is drafted; None where nothing is drafted.
        oldest_waiting: arrival of the oldest study that is neither ended nor held.
    """

    counts: Mapping[VisibleState, int]
    per_minute: float
    seconds_left: float | None
    oldest_waiting: dt.datetime | None

    @property
    def total(self) -> int:
        """All studies."""
        return sum(self.counts.values())

    @property
    def to_do(self) -> int:
        """Studies that are neither ended nor held."""
        return count_moving(self.counts)


@dataclass(frozen=True, slots=True)
class Parts:
    """The processes that were seen lately, the parts that were not, and the open alarms."""

    running: Sequence[Heartbeat]
    missing: Sequence[str]
    alarms: Sequence[Alarm]


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that a person on call looks at first. refusals: how many, by reason."""

    workload: Workload
    parts: Parts
    refusals: Mapping[str, int]
    scrub: ScrubState


def read_overview(session: Session) -> Overview:
    """The state of the whole system, now."""
    return Overview(
        read_workload(session),
        read_parts(session),
        refusals.count_by_reason(session),
        read_scrub_state(session),
    )


def read_workload(session: Session) -> Workload:
    """Studies by state, the pace and the time left. Counting millions of studies takes a second."""
    counts = worklist.count_by_state(session)
    per_minute = drafts_per_minute(session)
    return Workload(
        counts=counts,
        per_minute=per_minute,
        seconds_left=seconds_left(counts, per_minute),
        oldest_waiting=worklist.oldest_waiting(session),
    )


def read_parts(session: Session) -> Parts:
    """The running parts, the missing ones and the open alarms."""
    running = heartbeats.running_parts(session)
    names = {heartbeat.part for heartbeat in running}
    return Parts(
        running=running,
        missing=[part for part in EXPECTED_PARTS if part not in names],
        alarms=alarms.open_alarms(session),
    )


def drafts_per_minute(session: Session) -> float:
    """The present pace: drafts of the last minute, or of the last ten where that saw none.

    The window of a minute follows every change within a minute. The window of ten minutes serves a
    slow station, where more than a minute passes between two drafts. The pages used another rule
    before: the larger pace of one minute and of five. That rule gives a pace that is too high, so
    the time left was too short: after a slowdown it kept the old pace for minutes, and at a steady
    pace it took the window that happened to hold more drafts.
    """
    lately = worklist.count_drafts(session, PACE_SECONDS)
    if lately:
        return lately / (PACE_SECONDS / 60)
    return worklist.count_drafts(session, SLOW_PACE_SECONDS) / (SLOW_PACE_SECONDS / 60)


def count_moving(counts: Mapping[VisibleState, int]) -> int:
    """Studies that are still to be drafted: neither ended nor held."""
    return sum(counts.get(state, 0) for state in MOVING)


def seconds_left(counts: Mapping[VisibleState, int], per_minute: float) -> float | None:
    """Seconds until everything that moves is drafted at this pace.

    Returns:
        0 where nothing is to do, None where something is and nothing is drafted.
    """
    to_do = count_moving(counts)
    if not to_do:
        return 0.0
    return to_do / per_minute * 60 if per_minute else None
