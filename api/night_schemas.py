"""What REST gives of nights and of groups of failures, as pydantic models."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

from pydantic import BaseModel

from records.campaigns.progress import CampaignProgress
from records.operations import night_wording, tonight
from records.operations.night_summaries import NightRecord
from records.operations.tonight import Outlook
from records.settings import settings
from records.states import FailReason, Stage, WorkKind
from records.workflow import requests


class NightSummary(BaseModel):
    """What became of a night; it is written once.

    night: the date of its beginning. time_zone: "" was that of the machine. skipped, failed, held,
    missing: numbers by reason. held, waiting, in_campaigns: of the moment in which this was made.
    in_campaigns: what running campaigns had not yet given to the pipeline. workers: what each
    prepared or drafted, by stage@host. nights_left: what waits, at the pace of this night; null
    where nothing was drafted. To who sees some sites alone, the numbers are those of their studies;
    held, missing, waiting, in_campaigns and nights_left are null, for they are kept of all sites
    together.
    """

    night: dt.date
    begins_at: dt.datetime
    ends_at: dt.datetime
    time_zone: str
    made_at: dt.datetime
    prepared: int
    drafted: int
    skipped: dict[str, int]
    failed: dict[str, int]
    held: dict[str, int] | None
    missing: dict[str, int] | None
    waiting: int | None
    in_campaigns: int | None
    workers: dict[str, int]
    drafts_per_hour: float
    drafts_per_hour_before: float | None
    nights_left: float | None

    @classmethod
    def from_record(cls, record: NightRecord) -> NightSummary:
        """The summary of a night's row."""
        return cls.model_validate(night_wording.as_values(record))


class NightPage(BaseModel):
    """Nights, the newest first; `next` is the `before` of the following page."""

    nights: list[NightSummary]
    next: dt.date | None

    @classmethod
    def from_records(cls, records: Sequence[NightRecord], limit: int) -> NightPage:
        """The page of a list that was read with one night more than `limit`."""
        shown = records[:limit]
        return cls(
            nights=[NightSummary.from_record(record) for record in shown],
            next=shown[-1].row.night if len(records) > limit else None,
        )


class StagePace(BaseModel):
    """How far a stage of work is. done_at: when all went through it, at this pace."""

    stage: Stage
    to_do: int
    per_minute: float
    done_at: dt.datetime | None


class DevicePace(BaseModel):
    """What a draft worker reports of the last seconds.

    busy: the share of time in which its device computed. occupancy: the share of its slots that
    wrote meanwhile.
    """

    worker: str
    device: str
    per_minute: float
    busy: float
    occupancy: float
    slots: int


class CampaignPromise(BaseModel):
    """What is promised of a running campaign.

    to_do: studies that wait or move. per_hour: studies that end in an hour of open window; null
    where none ended lately. night_ends_at: when its window closes for this night or the next one;
    null without hours. left_at_end: studies that are left then. done_at, nights_left: when all are
    done, and in how many nights; null where it cannot be said. sentence: all of it in words.
    """

    campaign: uuid.UUID
    to_do: int
    per_hour: float | None
    night_ends_at: dt.datetime | None
    left_at_end: int | None
    done_at: dt.datetime | None
    nights_left: int | None
    sentence: str

    @classmethod
    def from_progress(cls, one: CampaignProgress) -> CampaignPromise:
        """Of a campaign's progress. Its name may say more than belongs into a support bundle."""
        return cls(
            campaign=one.campaign.id,
            to_do=one.counts.moving,
            per_hour=round(one.per_hour, 2) if one.per_hour is not None else None,
            night_ends_at=one.night_ends_at,
            left_at_end=one.left_at_end,
            done_at=_to_second(one.done_at),
            nights_left=one.nights_left,
            sentence=one.forecast,
        )


class Tonight(BaseModel):
    """The promise for the night that it is, or for the next one, and what was done.

    done_at: when all that is to do is drafted at the measured pace; null where it cannot be said.
    outlook and sentence: whether that is before the night ends. campaigns: running campaigns, the
    first 50 of campaigns_running; campaigns_sentence: what they leave when their windows close.
    in_campaigns: studies that running
    campaigns have not yet given to the pipeline; the promise leaves them out. since: from when on
    the work is counted, the night's beginning or, by day, the end of the night before. skipped,
    failed: numbers by reason. Numbers of studies and campaigns are those of the sites that the
    caller sees. Paces are of all sites, which share the workers, and done_at is when the studies
    of all of them are drafted.
    """

    night: dt.date
    begins_at: dt.datetime
    ends_at: dt.datetime
    time_zone: str
    has_begun: bool
    outlook: Outlook
    sentence: str
    to_do: int
    in_campaigns: int
    per_minute: float
    done_at: dt.datetime | None
    stages: list[StagePace]
    devices: list[DevicePace]
    campaigns: list[CampaignPromise]
    campaigns_running: int
    campaigns_sentence: str
    since: dt.datetime
    prepared: int
    drafted: int
    skipped: dict[str, int]
    failed: dict[str, int]

    @classmethod
    def from_tonight(cls, found: tonight.Tonight) -> Tonight:
        """The promise, with paces in hundredths and times in seconds."""
        night, work = found.night, found.work
        return cls(
            night=night.date,
            begins_at=night.begins_at,
            ends_at=night.ends_at,
            time_zone=settings().time_zone,
            has_begun=found.has_begun,
            outlook=found.outlook,
            sentence=found.sentence,
            to_do=found.workload.shown_to_do,
            in_campaigns=found.in_campaigns,
            per_minute=round(found.workload.pace.per_minute, 2),
            done_at=_to_second(found.done_at),
            stages=[
                StagePace(
                    stage=stage.stage,
                    to_do=stage.to_do,
                    per_minute=round(stage.per_minute, 2),
                    done_at=_to_second(stage.done_at),
                )
                for stage in found.stages
            ],
            devices=[
                DevicePace(
                    worker=device.worker,
                    device=device.device,
                    per_minute=round(device.per_minute, 2),
                    busy=device.busy,
                    occupancy=device.occupancy,
                    slots=device.slots,
                )
                for device in found.devices
            ],
            campaigns=[CampaignPromise.from_progress(one) for one in found.campaigns],
            campaigns_running=found.campaigns_running,
            campaigns_sentence=found.campaigns_sentence,
            since=found.since,
            prepared=work.total(WorkKind.PREPARED),
            drafted=work.total(WorkKind.DRAFTED),
            skipped=work.by_reason(WorkKind.SKIPPED),
            failed=work.by_reason(WorkKind.FAILED),
        )


class FailedGroup(BaseModel):
    """Studies that failed for one reason. is_more: not all of them were counted."""

    reason: FailReason
    number: int
    is_more: bool

    @classmethod
    def from_group(cls, group: requests.FailedGroup) -> FailedGroup:
        """The group of a list."""
        return cls(
            reason=FailReason(group.reason),
            number=group.number,
            is_more=group.number >= requests.FAILURES_COUNTED,
        )


class GroupRetry(BaseModel):
    """Draft again the studies that failed for a reason."""

    reason: FailReason


class Retried(BaseModel):
    """How many studies will be drafted again."""

    studies: int


def _to_second(at: dt.datetime | None) -> dt.datetime | None:
    return None if at is None else at.replace(microsecond=0)
