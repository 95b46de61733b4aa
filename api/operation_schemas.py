"""What REST gives of the running system: counts, refusals, parts, alarms, lights and readiness."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pydantic import BaseModel, computed_field

from api.schemas import FromRow
from model.dicom.names import uid_name
from records.alarm_kinds import AlarmKind, Channel, MessageEvent
from records.database import operation_tables
from records.operations import overview
from records.operations.alarms import runbook_path
from records.operations.lights import LightState
from records.operations.overview import Workload, count_moving
from records.operations.troubles import AlarmHistory
from records.states import VisibleState


class Counts(BaseModel):
    """How many studies are in each state, and how long the rest will take.

    The studies are those of the sites that the caller sees. to_do: studies that are neither ended
    nor held. per_minute: drafts at the present pace, of all sites. seconds_left: until all that is
    to do at all sites is drafted at that pace; null where nothing is drafted, and `stalled` says
    why in a sentence. waiting_since: arrival of the oldest study to do.
    """

    states: dict[VisibleState, int]
    total: int
    to_do: int
    per_minute: float
    seconds_left: float | None
    stalled: str
    waiting_since: dt.datetime | None

    @classmethod
    def from_workload(cls, workload: Workload) -> Counts:
        """The counts of an overview, with the pace in tenths and the time left in seconds."""
        pace = workload.pace
        return cls(
            states=dict(workload.shown),
            total=sum(workload.shown.values()),
            to_do=count_moving(workload.shown),
            per_minute=round(pace.per_minute, 1),
            seconds_left=None if pace.seconds_left is None else round(pace.seconds_left),
            stalled=pace.stalled,
            waiting_since=workload.oldest_waiting,
        )


class Refusal(FromRow):
    """An object or association that was refused. sop_class: the name of the class."""

    at: dt.datetime
    calling_ae: str
    sop_class_uid: str
    sop_instance_uid: str
    reason: str
    sentence: str
    address: str
    count: int

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def sop_class(self) -> str:
        """The name of the class; its UID where it has none."""
        return uid_name(self.sop_class_uid)


class Part(FromRow):
    """A running process of the system. owner: host and process."""

    part: str
    owner: str
    started_at: dt.datetime
    seen_at: dt.datetime
    facts: dict[str, Any]

    @classmethod
    def from_row(cls, heartbeat: operation_tables.Heartbeat) -> Part:
        """The part that wrote a heartbeat."""
        return cls.model_validate(heartbeat)


class Alarm(FromRow):
    """Something that a person on call must see: what happened, and what to do.

    kind: a heading of the runbook, to which `runbook` leads. remedy is empty in alarms that were
    opened by a version that had none.
    """

    kind: AlarmKind
    part: str
    cause: str
    remedy: str
    opened_at: dt.datetime

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def runbook(self) -> str:
        """The path of the page and heading that says more."""
        return runbook_path(self.kind)


class AlarmMessage(FromRow):
    """A message about the start or the end of an alarm's trouble.

    error: of the last attempt that failed. due_at: the next attempt, where it was not sent.
    """

    event: MessageEvent
    channel: Channel
    attempts: int
    error: str
    due_at: dt.datetime
    sent_at: dt.datetime | None
    given_up_at: dt.datetime | None


class PastAlarm(Alarm):
    """An alarm, open or closed, and the messages about it. trouble_id: what it is grouped by."""

    closed_at: dt.datetime | None
    trouble_id: int | None
    messages: list[AlarmMessage] = []

    @classmethod
    def from_history(cls, entry: AlarmHistory) -> PastAlarm:
        """The alarm of a history."""
        alarm = cls.model_validate(entry.alarm)
        alarm.messages = [AlarmMessage.model_validate(message) for message in entry.messages]
        return alarm


class Light(FromRow):
    """One part of the system, Redis, database, disk or bundle, and how it does.

    word: the state, as it follows the name. seen_at: when it was last well; null where it never was
    seen. runbook: the path of the page and heading that says what to do.
    """

    name: str
    state: LightState
    word: str
    sentence: str
    seen_at: dt.datetime | None
    runbook: str


class Parts(BaseModel):
    """The parts that were seen lately, those that should have been, open alarms, and all lights."""

    parts: list[Part]
    missing: list[str]
    alarms: list[Alarm]
    lights: list[Light]

    @classmethod
    def from_overview(cls, parts: overview.Parts) -> Parts:
        """The parts of an overview."""
        return cls(
            parts=[Part.from_row(heartbeat) for heartbeat in parts.running],
            missing=list(parts.missing),
            alarms=[Alarm.model_validate(alarm) for alarm in parts.alarms],
            lights=[Light.model_validate(light) for light in parts.lights],
        )


class ReadinessCheck(BaseModel):
    """One thing that must work. warning: it works, but not for long."""

    name: str
    ok: bool
    warning: bool = False
    sentence: str


class Readiness(BaseModel):
    """Whether studies can be received, drafted and read. missing: the checks that failed."""

    ready: bool
    missing: list[str]
    checks: list[ReadinessCheck]
