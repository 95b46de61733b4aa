"""What REST and `--json` give of campaigns."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from pydantic import BaseModel, Field

from records.campaigns.progress import CampaignProgress
from records.database.campaign_tables import CampaignStudy
from records.states import (
    CampaignKind,
    CampaignState,
    CampaignStudyState,
    Priority,
    Purpose,
    WalkState,
)


class ReasonCount(BaseModel):
    """How many studies of a campaign are in a state for a reason."""

    state: CampaignStudyState
    reason: str
    studies: int


class CampaignSummary(BaseModel):
    """A campaign, and how far it is."""

    id: uuid.UUID
    name: str
    kind: CampaignKind
    state: CampaignState
    sentence: str = Field(description="What it does now.")
    source: dict[str, Any]
    pacs: str
    bundle: str | None = Field(description="Digest of the bundle that drafts; null: any.")
    purpose: Purpose
    priority: str
    skip_reported: bool
    hours: str = Field(description="Of each night, as 19:00-07:00; empty: always.")
    time_zone: str
    blackouts: list[str]
    starts_on: dt.date | None
    ends_on: dt.date | None
    studies_per_minute: float | None
    is_open: bool
    opens_at: dt.datetime | None
    closes_at: dt.datetime | None
    walk_state: WalkState
    walk_note: str
    stalled_reason: str
    studies: dict[CampaignStudyState, int]
    reasons: list[ReasonCount]
    total: int
    ended: int
    per_hour: float | None = Field(description="Studies that end in an hour of open window.")
    done_at: dt.datetime | None
    nights_left: int | None
    created_by: str
    created_at: dt.datetime
    ended_at: dt.datetime | None

    @classmethod
    def from_progress(cls, progress: CampaignProgress) -> CampaignSummary:
        """Of a campaign's row and its progress."""
        row = progress.campaign
        hours = ""
        if row.window_opens is not None and row.window_closes is not None:
            hours = f"{row.window_opens:%H:%M}-{row.window_closes:%H:%M}"
        return cls(
            id=row.id,
            name=row.name,
            kind=CampaignKind(row.kind),
            state=CampaignState(row.state),
            sentence=progress.sentence,
            source=row.source,
            pacs=row.pacs,
            bundle=row.bundle,
            purpose=Purpose(row.purpose),
            priority=Priority(row.priority).name,
            skip_reported=row.skip_reported,
            hours=hours,
            time_zone=row.time_zone,
            blackouts=["-".join(blackout) for blackout in row.blackouts],
            starts_on=row.starts_on,
            ends_on=row.ends_on,
            studies_per_minute=row.studies_per_minute,
            is_open=row.is_open,
            opens_at=progress.opens_at,
            closes_at=progress.closes_at,
            walk_state=WalkState(row.walk_state),
            walk_note=row.walk_note,
            stalled_reason=row.stalled_reason,
            studies=dict(progress.counts.by_state),
            reasons=[
                ReasonCount(state=state, reason=reason, studies=number)
                for (state, reason), number in sorted(progress.counts.by_reason.items())
            ],
            total=progress.counts.total,
            ended=progress.ended,
            per_hour=progress.per_hour,
            done_at=progress.done_at,
            nights_left=progress.nights_left,
            created_by=row.created_by,
            created_at=row.created_at,
            ended_at=row.ended_at,
        )


class CampaignStudyEntry(BaseModel):
    """One study of a campaign, and what became of it."""

    number: int = Field(description="In the order in which the source named them.")
    state: CampaignStudyState
    reason: str
    detail: str
    study_instance_uid: str
    accession_number: str
    study_id: uuid.UUID | None
    attempts: int
    listed: int | None = Field(description="Images that the source lists.")
    missing: list[str] = Field(description="SOP Instance UIDs of images that did not come.")
    bytes: int | None
    changed_at: dt.datetime

    @classmethod
    def from_row(cls, row: CampaignStudy) -> CampaignStudyEntry:
        """Of a row."""
        return cls(
            number=row.id,
            state=CampaignStudyState(row.state),
            reason=row.reason,
            detail=row.detail,
            study_instance_uid=row.study_instance_uid,
            accession_number=row.accession_number,
            study_id=row.study_id,
            attempts=row.attempts,
            listed=row.listed,
            missing=list(row.missing),
            bytes=row.size,
            changed_at=row.changed_at,
        )


class CampaignStudyPage(BaseModel):
    """A part of a campaign's studies."""

    studies: list[CampaignStudyEntry]
    next: int | None = Field(description="`after` of the next page; null: this is the last.")
