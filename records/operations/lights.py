"""The lights of a person on call: each process, and what all of them need, with "last seen".

Processes write heartbeats. Redis, the disk and the bundle write nothing, so processes look at them
and record what they saw (`record_observations`). PostgreSQL answers where a light can be read.

A light of what runs stays. What died, or ended while nobody else does its work, stays dark for
NIGHTDRAFT_DEAD_PART_HOURS and then goes, unless NIGHTDRAFT_EXPECTED_PARTS names it.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.operation_tables import Heartbeat, Observation
from records.database.session import database_time, interval
from records.operations import heartbeats
from records.operations.heartbeats import SILENT_SECONDS

PARTS = ("listener", "hl7", "sweep", "prepare", "draft", "query", "retrieve", "api")
"""The parts that are processes, in the order in which they are shown."""

OBSERVED = ("redis", "disk", "bundle")
"""What processes look at, in the order in which it is shown."""

ASKED = ("worklist", "report server")
"""Systems of others that are asked about studies; shown where one was asked lately."""

SOURCES = ("PACS", "folders")
"""What campaigns fetch from, as `PACS archive`; shown where one was asked lately."""


class LightState(StrEnum):
    """How a light burns. UNKNOWN: nobody has looked lately."""

    UP = "UP"
    WARNING = "WARNING"
    DOWN = "DOWN"
    ENDED = "ENDED"
    UNKNOWN = "UNKNOWN"


_PART_WORDS = {
    LightState.UP: "runs",
    LightState.DOWN: "is not running",
    LightState.ENDED: "was ended",
}

_WORDS: Mapping[str, Mapping[LightState, str]] = {
    **dict.fromkeys(PARTS, _PART_WORDS),
    "redis": {LightState.UP: "answers", LightState.DOWN: "does not answer"},
    "database": {LightState.UP: "answers"},
    "disk": {
        LightState.UP: "has room",
        LightState.WARNING: "has little room",
        LightState.DOWN: "cannot be written",
    },
    "bundle": {LightState.UP: "can be read", LightState.DOWN: "cannot be used"},
    **{name: {LightState.UP: "answers", LightState.DOWN: "does not answer"} for name in ASKED},
    "PACS": {LightState.UP: "answers", LightState.DOWN: "does not answer"},
    "folders": {LightState.UP: "can be read", LightState.DOWN: "cannot be read"},
}

_RUNBOOK_LINES = {
    "redis": "broker",
    "worklist": "worklist_away",
    "report server": "report_server_away",
    **dict.fromkeys(SOURCES, "pacs_away"),
}
"""Headings of the runbook that have another name than the light. Most are lines of `doctor`."""


@dataclass(frozen=True, slots=True)
class Light:
    """One part of the system, and how it does.

    Attributes:
        name: as `redis`, `draft`, or `draft on gpu-2` where a part runs on several hosts.
        state: how it does.
        word: the state in words that follow the name: "runs", "does not answer".
        sentence: more about it; "" where there is nothing more.
        seen_at: when it was last well; None where it was never seen.
        runbook: the path of the heading that says what to do.
    """

    name: str
    state: LightState
    word: str
    sentence: str
    seen_at: dt.datetime | None
    runbook: str

    @property
    def is_well(self) -> bool:
        """Whether nobody needs to look at it."""
        return self.state is LightState.UP


@dataclass(frozen=True, slots=True)
class Seen:
    """What a process saw when it looked at something.

    Attributes:
        name: one of OBSERVED or ASKED, or one of SOURCES, as `PACS archive`.
        is_well: whether it can be used.
        is_warning: it can be used, but not for long.
        sentence: what was seen; it names no patient.
    """

    name: str
    is_well: bool
    sentence: str
    is_warning: bool = False


def record_observations(session: Session, seen: Iterable[Seen]) -> None:
    """Record what this process saw; `seen_at` stays where something is not well."""
    for one in seen:
        values = {
            "is_well": one.is_well,
            "is_warning": one.is_warning,
            "sentence": one.sentence,
            "looked_at": func.clock_timestamp(),
            **({"seen_at": func.clock_timestamp()} if one.is_well else {}),
        }
        session.execute(
            insert(Observation)
            .values(name=one.name, observer=heartbeats.this_process(), **values)
            .on_conflict_do_update(index_elements=["name", "observer"], set_=values)
        )


def forget_old(session: Session, hours: float) -> None:
    """Delete heartbeats and observations that no light shows any more."""
    heartbeats.forget_ended(session, hours)
    session.execute(
        delete(Observation).where(
            Observation.looked_at < func.clock_timestamp() - interval(3600 * hours)
        )
    )


def missing_parts(running: Iterable[Heartbeat], expected: Iterable[str]) -> list[str]:
    """Those of the expected parts, as `draft` or `draft@gpu-2`, of which no process runs."""
    names = set()
    for heartbeat in running:
        names |= {heartbeat.part, f"{heartbeat.part}@{heartbeat.host}"}
    return [name for name in expected if name not in names]


def read_lights(session: Session, expected: Sequence[str], dead_hours: float) -> list[Light]:
    """All lights, in the order in which they are shown.

    Args:
        session: the caller's transaction.
        expected: parts that stay, as `draft` or `draft@gpu-2`.
        dead_hours: for how long the light of a process that died or ended stays.
    """
    now = database_time(session)
    beats: dict[str, dict[str, list[Heartbeat]]] = {part: defaultdict(list) for part in PARTS}
    for heartbeat in session.scalars(select(Heartbeat).order_by(Heartbeat.owner)):
        if heartbeat.part in beats:
            beats[heartbeat.part][heartbeat.host].append(heartbeat)
    lights: list[Light] = []
    for part, by_host in beats.items():
        hosts = [name.partition("@")[2] for name in expected if name.partition("@")[0] == part]
        lights += _part_lights(part, by_host, hosts, now, dt.timedelta(hours=dead_hours))
    rows = session.scalars(select(Observation)).all()
    sources = sorted({row.name for row in rows if row.name.partition(" ")[0] in SOURCES})
    by_name = {
        name: [row for row in rows if row.name == name] for name in (*OBSERVED, *ASKED, *sources)
    }
    observed = [
        _observed_light(name, by_name[name], now)
        for name in by_name
        if name in OBSERVED or by_name[name]
    ]
    database = _light("database", "database", LightState.UP, "", now)
    return [*lights, observed[0], database, *observed[1:]]


def _part_lights(
    part: str,
    by_host: Mapping[str, list[Heartbeat]],
    expected_hosts: Sequence[str],
    now: dt.datetime,
    kept: dt.timedelta,
) -> list[Light]:
    """The lights of one part. expected_hosts: hosts that stay; "" is any host."""
    states = {host: _part_state(rows, now) for host, rows in by_host.items()}
    runs = LightState.UP in states.values()
    shown: dict[str, tuple[LightState, str, dt.datetime | None]] = {}
    for host, state in states.items():
        newest = max(by_host[host], key=lambda row: row.seen_at)
        # A process that was ended in order is missed only while nobody else does its work.
        is_replaced = state is LightState.ENDED and runs
        is_old = state is not LightState.UP and now - newest.seen_at > kept
        if host in expected_hosts or not (is_replaced or is_old):
            shown[host] = (state, _part_sentence(by_host[host], state, now), newest.seen_at)
    for host in expected_hosts:
        if host and host not in shown:
            shown[host] = (LightState.DOWN, "", None)
    if "" in expected_hosts and not shown:
        return [_light(part, part, LightState.DOWN, "", None)]
    return [
        _light(part, f"{part} on {host}" if len(shown) > 1 else part, *light)
        for host, light in sorted(shown.items())
    ]


def _is_running(row: Heartbeat, now: dt.datetime) -> bool:
    return row.ended_at is None and (now - row.seen_at).total_seconds() < SILENT_SECONDS


def _part_state(rows: Sequence[Heartbeat], now: dt.datetime) -> LightState:
    """The state of a part on one host."""
    if any(_is_running(row, now) for row in rows):
        return LightState.UP
    newest = max(rows, key=lambda row: row.seen_at)
    is_in_order = newest.ended_at is not None and not newest.died
    return LightState.ENDED if is_in_order else LightState.DOWN


def _part_sentence(rows: Sequence[Heartbeat], state: LightState, now: dt.datetime) -> str:
    running = sum(_is_running(row, now) for row in rows)
    if running > 1:
        return f"{running} processes run."
    return "It died, or it hangs." if state is LightState.DOWN else ""


def _observed_light(name: str, rows: Sequence[Observation], now: dt.datetime) -> Light:
    """The light of what processes look at. If one of them sees a fault, that is what it shows."""
    seen_at = max((row.seen_at for row in rows if row.seen_at), default=None)
    fresh = [row for row in rows if (now - row.looked_at).total_seconds() < SILENT_SECONDS]
    if not fresh:
        sentence = "No process that looks at it runs."
        return _light(name, name, LightState.UNKNOWN, sentence, seen_at)
    worst = min(fresh, key=lambda row: (row.is_well, not row.is_warning, now - row.looked_at))
    state = (
        LightState.DOWN
        if not worst.is_well
        else LightState.WARNING
        if worst.is_warning
        else LightState.UP
    )
    return _light(name, name, state, worst.sentence, seen_at)


def _light(
    part: str, name: str, state: LightState, sentence: str, seen_at: dt.datetime | None
) -> Light:
    source = part.partition(" ")[0]
    kind = source if source in SOURCES else part
    word = _WORDS[kind].get(state, "was not looked at")
    return Light(name, state, word, sentence, seen_at, f"/runbook#{_RUNBOOK_LINES.get(kind, kind)}")
