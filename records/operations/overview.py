"""The state of the whole system: counts, pace, time left, running parts, alarms, refusals.

The pages, REST, `nightdraft status` and the demo all read it here, so that they promise the same
time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from records import received_messages
from records.alarm_kinds import AlarmKind
from records.database.operation_tables import Alarm, Heartbeat
from records.operations import alarms, heartbeats, refusals
from records.operations.lights import Light, LightState, missing_parts, read_lights
from records.operations.scrub import ScrubState, read_scrub_state
from records.settings import settings
from records.states import ENDED, Stage, VisibleState
from records.workflow import requests, site_scope, worklist
from records.workflow.leases import worker_name

MOVING = tuple(
    state for state in VisibleState if state not in ENDED and state is not VisibleState.HELD
)
"""States that lead on by themselves. HELD waits for a person."""

PACE_SECONDS = 60.0
"""The pace is that of the last minute, where it saw a draft."""

SLOW_PACE_SECONDS = 600.0
"""The pace is that of the last ten minutes, where the last minute saw no draft."""


OPEN_MESSAGES_COUNTED = 1000
"""Counting what nobody has settled ends here, so that it costs the same however many there are."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the work goes.

    Attributes:
        per_minute: drafts a minute, lately.
        seconds_left: time until everything that moves is drafted; None where nothing is drafted.
        stalled: why no time left is promised, as a sentence; "" where one is.
    """

    per_minute: float
    seconds_left: float | None
    stalled: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """How much there is to draft, and how long it will take.

    Attributes:
        counts: studies in each visible state, of all sites; every state is a key.
        pace: how fast they are drafted.
        oldest_waiting: arrival of the oldest study that is neither ended nor held, of the sites
            that are shown.
        shown_counts: those of `counts` that are of the sites that are shown; None is all.
    """

    counts: Mapping[VisibleState, int]
    pace: Pace
    oldest_waiting: dt.datetime | None
    shown_counts: Mapping[VisibleState, int] | None = None

    @property
    def shown(self) -> Mapping[VisibleState, int]:
        """Studies in each visible state, of the sites that are shown."""
        return self.counts if self.shown_counts is None else self.shown_counts

    @property
    def is_limited(self) -> bool:
        """Whether only some sites are shown."""
        return self.shown_counts is not None

    @property
    def shown_to_do(self) -> int:
        """Studies that are neither ended nor held, of the sites that are shown."""
        return count_moving(self.shown)

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
    """The running processes, the expected parts that do not run, the open alarms, all lights."""

    running: Sequence[Heartbeat]
    missing: Sequence[str]
    alarms: Sequence[Alarm]
    lights: Sequence[Light] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that a person on call looks at first.

    Attributes:
        refusals: how many objects the listener refused, by reason.
        open_messages: refused messages of other systems that no person has settled; not more than
            OPEN_MESSAGES_COUNTED are counted.
    """

    workload: Workload
    parts: Parts
    refusals: Mapping[str, int]
    open_messages: int
    scrub: ScrubState


def read_overview(session: Session) -> Overview:
    """The state of the whole system, now."""
    parts = read_parts(session)
    return Overview(
        read_workload(session, parts),
        parts,
        refusals.count_by_reason(session),
        count_open_messages(session),
        read_scrub_state(session),
    )


def count_open_messages(session: Session) -> int:
    """How many refused messages of other systems no person has settled; so many at most."""
    return received_messages.count_open(session, OPEN_MESSAGES_COUNTED)[0]


def read_workload(session: Session, parts: Parts) -> Workload:
    """Studies by state, the pace and the time left, or why there is none.

    Pace and time left are of the whole system, whatever is shown: all sites share its workers.
    """
    with site_scope.limited_to(None):
        counts = worklist.count_by_state(session)
    return Workload(
        counts,
        read_pace(session, counts, parts),
        worklist.oldest_waiting(session),
        None if site_scope.visible_sites() is None else worklist.count_by_state(session),
    )


def read_pace(session: Session, counts: Mapping[VisibleState, int], parts: Parts) -> Pace:
    """The present pace, and how long these studies will take at it."""
    per_minute = drafts_per_minute(session)
    stalled = why_stalled(counts, per_minute, parts, requests.count_waiting_for_order(session))
    return Pace(per_minute, None if stalled else seconds_left(counts, per_minute), stalled)


def read_parts(session: Session) -> Parts:
    """The running parts, the missing ones, the open alarms and the lights."""
    running = heartbeats.running_parts(session)
    expected = settings().parts_that_must_run()
    return Parts(
        running=running,
        missing=missing_parts(running, expected),
        alarms=alarms.open_alarms(session),
        lights=read_lights(session, expected, settings().dead_part_hours),
    )


def why_stalled(
    counts: Mapping[VisibleState, int],
    per_minute: float,
    parts: Parts,
    waiting_for_order: int = 0,
) -> str:
    """Why nothing is drafted though something is to do, as a sentence; "" where drafts come.

    The pace looks back: a worker that has just died drafted a minute ago. So the parts come first.
    """
    if not count_moving(counts):
        return ""
    running = {stage: _workers(parts.running, stage) for stage in Stage}
    stopped = {alarm.part for alarm in parts.alarms if alarm.kind == AlarmKind.WORKER_STOPPED}
    bundle_alarms = [
        alarm
        for alarm in parts.alarms
        if alarm.kind == AlarmKind.BUNDLE_UNUSABLE and f"{Stage.DRAFT}@" in alarm.part
    ]
    redis_is_down = any(
        light.name == "redis" and light.state is LightState.DOWN for light in parts.lights
    )
    is_prepared = counts.get(VisibleState.PREPARED, 0) or counts.get(VisibleState.DRAFTING, 0)
    if not running[Stage.DRAFT]:
        if bundle_alarms:
            return "No draft worker is running: the bundle cannot be used."
        return "No draft worker is running."
    if running[Stage.DRAFT] <= stopped:
        return "Every draft worker has stopped itself; its alarm says why."
    if redis_is_down:
        return "Redis does not answer, so no worker is woken."
    if not is_prepared and not running[Stage.PREPARE]:
        return "Nothing is prepared, and no prepare worker is running."
    if not is_prepared and running[Stage.PREPARE] <= stopped:
        return "Nothing is prepared: every prepare worker has stopped itself."
    if waiting_for_order and waiting_for_order == count_moving(counts):
        if site_scope.visible_sites() is not None:
            return "All that is to do waits for its order."
        number = f"{waiting_for_order} {'study' if waiting_for_order == 1 else 'studies'}"
        return f"All that is to do waits for its order ({number})."
    if not per_minute:
        return f"None was drafted in the last {SLOW_PACE_SECONDS / 60:.0f} minutes."
    return ""


def _workers(running: Sequence[Heartbeat], stage: Stage) -> set[str]:
    return {worker_name(stage, beat.owner) for beat in running if beat.part == stage}


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
