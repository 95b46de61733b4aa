"""The promise for tonight: when all that is to do will be drafted, and whether the night holds it.

Pace and time left are those of `records.operations.overview`; nothing here computes another one.
They are of the whole system, whose workers all sites share. The numbers of studies are of the sites
that are shown.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from records.campaigns import campaigns, counting, progress
from records.campaigns.progress import CampaignProgress
from records.database.operation_tables import Heartbeat
from records.database.session import database_time
from records.operations import nights, overview, work_counts
from records.operations.nights import Night, local_words
from records.operations.overview import Parts, Workload
from records.operations.work_counts import QUARTER, Work
from records.settings import Settings
from records.states import Stage, VisibleState, WalkState, WorkKind
from records.workflow import requests, site_scope

PROMISED = 50
"""So many running campaigns have a promise of their own; the others are counted."""

_TO_PREPARE = (VisibleState.RECEIVING, VisibleState.WAITING, VisibleState.PREPARING)


class Outlook(StrEnum):
    """Whether what is to do will be drafted by the end of the night."""

    NOTHING_TO_DO = "NOTHING_TO_DO"
    IN_TIME = "IN_TIME"
    LATE = "LATE"  # at the measured pace it takes longer than the night
    STALLED = "STALLED"  # nothing is drafted, so no time can be promised
    WAITS_FOR_ORDERS = "WAITS_FOR_ORDERS"  # all of it waits for orders, and goes on by itself


@dataclass(frozen=True, slots=True)
class StagePace:
    """How far a stage of work is.

    Attributes:
        stage: the stage.
        to_do: studies that are still to go through it, of the sites that are shown.
        per_minute: how many went through it a minute, lately, of all sites.
        done_at: when all of all sites have, at this pace; None where it cannot be said.
    """

    stage: Stage
    to_do: int
    per_minute: float
    done_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class DevicePace:
    """What a draft worker reports about its device, since its last heartbeat but one.

    Attributes:
        worker: host:pid.
        device: the device's name; "" where the worker has not said it.
        per_minute: drafts a minute.
        busy: the share of time in which the device computed.
        occupancy: the share of its slots that wrote, while it computed.
        slots: studies that it writes at the same time.
    """

    worker: str
    device: str
    per_minute: float
    busy: float
    occupancy: float
    slots: int


@dataclass(frozen=True, slots=True)
class Tonight:
    """What is promised for the night, and what was done so far.

    Attributes:
        night: the night that it is, or the next one.
        zone: the site's time zone; None is this machine's.
        now: when this was read, by the database's clock.
        workload: what is to do, the pace and the time left.
        outlook: whether the night is long enough.
        done_at: when all that is to do at all sites will be drafted; None where it cannot be said.
        stages: the pace of each stage.
        devices: the pace of each draft worker.
        campaigns: running campaigns, PROMISED at most, in the order in which they are fed.
        campaigns_running: how many there are.
        in_campaigns: studies that wait in running campaigns and are not yet in the pipeline; they
            are no part of what is to do.
        since: from when on `work` is counted: the night's beginning, or by day the end of the night
            before.
        work: what was done since then, of the sites that are shown.
    """

    night: Night
    zone: ZoneInfo | None
    now: dt.datetime
    workload: Workload
    outlook: Outlook
    done_at: dt.datetime | None
    stages: Sequence[StagePace]
    devices: Sequence[DevicePace]
    campaigns: Sequence[CampaignProgress]
    campaigns_running: int
    in_campaigns: int
    since: dt.datetime
    work: Work

    @property
    def has_begun(self) -> bool:
        """Whether it is night now."""
        return self.night.has(self.now)

    @property
    def until(self) -> dt.datetime:
        """The end of what `since` begins: of the night, or of the day before it."""
        return self.night.ends_at if self.has_begun else self.night.begins_at

    @property
    def is_promise_broken(self) -> bool:
        """Whether something will be left at the end of the night."""
        return self.outlook in (Outlook.LATE, Outlook.STALLED)

    @property
    def sentence(self) -> str:
        """The promise in a sentence or two."""
        return describe(self)

    @property
    def campaigns_sentence(self) -> str:
        """What the running campaigns will leave at the end of their windows; "" without any."""
        return describe_campaigns(self.campaigns, self.campaigns_running)


def read_tonight(
    session: Session,
    config: Settings,
    workload: Workload,
    parts: Parts,
    now: dt.datetime | None = None,
) -> Tonight:
    """The promise for the night, from the same pace as everywhere.

    Args:
        session: the caller's transaction.
        config: the hours of the night, and the time zone.
        workload: what is to do, and the pace.
        parts: the running parts.
        now: the time; left out, the database's.
    """
    now = now or database_time(session)
    hours = nights.hours_of(config)
    night = hours.at_or_after(now)
    since = night.begins_at if night.has(now) else hours.ended_before(now).ends_at
    done_at = _after(now, workload.pace.seconds_left)
    outlook = judge(night, workload, done_at)
    if outlook is Outlook.STALLED:
        waiting = requests.count_waiting_for_order(session)
        if waiting and waiting == workload.to_do:
            outlook = Outlook.WAITS_FOR_ORDERS
    running = campaigns.list_running(session)
    return Tonight(
        night=night,
        zone=hours.zone,
        now=now,
        workload=workload,
        outlook=outlook,
        done_at=done_at,
        stages=_read_stages(session, workload, now, done_at),
        devices=_read_devices(parts),
        campaigns=progress.read_progress(session, running[:PROMISED]),
        campaigns_running=len(running),
        in_campaigns=counting.count_waiting(session),
        since=since,
        work=work_counts.read_work(session, since, now),
    )


def read_tonight_now(session: Session, config: Settings) -> Tonight:
    """The promise for the night, with everything that it needs read anew."""
    parts = overview.read_parts(session)
    return read_tonight(session, config, overview.read_workload(session, parts), parts)


def _after(now: dt.datetime, seconds: float | None) -> dt.datetime | None:
    if seconds is None:
        return None
    try:
        return now + dt.timedelta(seconds=seconds)
    except OverflowError:
        return None  # in more years than a calendar has


def judge(night: Night, workload: Workload, done_at: dt.datetime | None) -> Outlook:
    """Whether a night is long enough.

    Args:
        night: the night.
        workload: what is to do, and the pace.
        done_at: when all of it is done; None where that cannot be said.
    """
    if not workload.shown_to_do:
        return Outlook.NOTHING_TO_DO
    if workload.pace.stalled:
        return Outlook.STALLED
    return Outlook.IN_TIME if done_at and done_at <= night.ends_at else Outlook.LATE


def _read_stages(
    session: Session, workload: Workload, now: dt.datetime, done_at: dt.datetime | None
) -> list[StagePace]:
    to_prepare, shown_to_prepare = (
        sum(counts.get(state, 0) for state in _TO_PREPARE)
        for counts in (workload.counts, workload.shown)
    )
    with site_scope.limited_to(None):
        prepared = _prepared_per_minute(session, now)
    seconds = 0.0 if not to_prepare else to_prepare / prepared * 60 if prepared else None
    return [
        StagePace(Stage.PREPARE, shown_to_prepare, prepared, _after(now, seconds)),
        # All that moves is still to be drafted, so the time left is that of this stage.
        StagePace(Stage.DRAFT, workload.shown_to_do, workload.pace.per_minute, done_at),
    ]


def _prepared_per_minute(session: Session, now: dt.datetime) -> float:
    """Studies prepared a minute: those of this quarter of an hour and of the one before."""
    this_quarter = dt.datetime.fromtimestamp(
        now.timestamp() // QUARTER.total_seconds() * QUARTER.total_seconds(), dt.UTC
    )
    begin = this_quarter - QUARTER
    number = work_counts.read_work(session, begin, now).total(WorkKind.PREPARED)
    return number / ((now - begin).total_seconds() / 60)


def _read_devices(parts: Parts) -> list[DevicePace]:
    return [_read_device(beat) for beat in parts.running if beat.part == Stage.DRAFT]


def _read_device(beat: Heartbeat) -> DevicePace:
    def number(name: str) -> float:
        value = beat.facts.get(name)
        return float(value) if isinstance(value, int | float) else 0.0

    return DevicePace(
        worker=beat.owner,
        device=str(beat.facts.get("device", "")),
        per_minute=60 * number("studies_per_second"),
        busy=number("busy"),
        occupancy=number("occupancy"),
        slots=int(number("slots")),
    )


def describe(tonight: Tonight) -> str:
    """The promise in words that name no patient: what is to do, how fast, and until when."""
    workload, zone, now = tonight.workload, tonight.zone, tonight.now
    ends = local_words(tonight.night.ends_at, zone, now)
    if tonight.outlook is Outlook.NOTHING_TO_DO:
        return "Nothing is left to draft."
    to_do, where = workload.shown_to_do, " at your sites" if workload.is_limited else ""
    number = f"{to_do} {'study is' if to_do == 1 else 'studies are'} to be drafted{where}"
    if tonight.outlook in (Outlook.STALLED, Outlook.WAITS_FOR_ORDERS):
        return f"{number}. {workload.pace.stalled} No time can be promised."
    done = local_words(tonight.done_at, zone, now) if tonight.done_at else "a time far away"
    whose = "all of all sites" if workload.is_limited else "all"
    pace = f"{number}. At {workload.pace.per_minute:.3g} a minute {whose} are drafted at {done}"
    if tonight.outlook is Outlook.IN_TIME:
        return f"{pace}, before the night ends at {ends}."
    return f"{pace}, and the night ends at {ends}."


def describe_campaigns(progresses: Sequence[CampaignProgress], running: int) -> str:
    """What running campaigns will leave when their windows close, in words without their names.

    Args:
        progresses: of some running campaigns.
        running: how many there are.
    """
    if not running:
        return ""
    in_time = late = left = nights = unknown = all_day = days = 0
    for one in progresses:
        if not one.counts.moving or one.done_at is None:
            unknown += one.counts.moving > 0 or one.campaign.walk_state == WalkState.WALKING
        elif one.night_ends_at is None:
            all_day, days = all_day + 1, max(days, one.nights_left or 1)
        elif one.left_at_end:
            late, left = late + 1, left + one.left_at_end
            nights = max(nights, (one.nights_left or 1) - 1)
        else:
            in_time += 1
    parts = ["1 campaign is running." if running == 1 else f"{running:,} campaigns are running."]
    if running > len(progresses):
        parts.append(f"Of the first {len(progresses)} of them:")
    if in_time:
        whose = "it is" if running == 1 else f"{in_time:,} will be"
        window = "the window closes" if in_time == 1 else "their windows close"
        parts.append(f"At the present pace {whose} done before {window}.")
    if late:
        who = "it leaves" if running == 1 else f"{late:,} leave{'s' if late == 1 else ''}"
        studies = "1 study" if left == 1 else f"{left:,} studies"
        more = "1 more night" if nights == 1 else f"{nights:,} more nights"
        parts.append(f"At the present pace {who} {studies} for {more}.")
    if all_day:
        who = "it is" if running == 1 else f"{all_day:,} without hours {_is(all_day)}"
        when = "today" if days == 1 else f"within {days:,} days"
        parts.append(f"At the present pace {who} done {when}.")
    if unknown:
        whose = "" if running == 1 else f" for {unknown:,} of them"
        parts.append(f"No time can be promised{whose}.")
    return " ".join(parts)


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
