"""What REST and `--json` give of campaigns."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas import ONE_LINE, Decider
from api.times import Day
from records.campaigns.adding import NewStudy
from records.campaigns.campaigns import NewCampaign
from records.campaigns.folders import find_allowed_folder
from records.campaigns.pacs_query import FILM_MODALITIES, PacsQuery
from records.campaigns.progress import CampaignPage, CampaignProgress
from records.campaigns.window import Window, read_hours, read_zone, site_zone
from records.database.campaign_tables import CampaignStudy
from records.errors import NotAllowed
from records.operations.campaign_outlook import DryRun
from records.pacs import find_pacs
from records.settings import Settings
from records.states import (
    CampaignKind,
    CampaignReason,
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
    site: str | None = Field(description="Code of the site whose studies it drafts; null: every.")
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
    night_ends_at: dt.datetime | None = Field(
        description="When its window closes for this night, or the next one; null: it has no hours."
    )
    left_at_end: int | None = Field(description="Studies that are left then, at this pace.")
    forecast: str = Field(description="When it is done, or why no time is promised.")
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
            site=progress.site_code,
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
            is_open=progress.is_open,
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
            night_ends_at=progress.night_ends_at,
            left_at_end=progress.left_at_end,
            forecast=progress.forecast,
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

    @classmethod
    def from_rows(cls, found: Sequence[CampaignStudy], limit: int) -> CampaignStudyPage:
        """At most `limit` of the rows, of which one more was read to see whether there are more."""
        return cls(
            studies=[CampaignStudyEntry.from_row(row) for row in found[:limit]],
            next=found[limit - 1].id if len(found) > limit else None,
        )


class CampaignList(BaseModel):
    """A part of all campaigns, newest first."""

    campaigns: list[CampaignSummary]
    next: str | None = Field(description="`after` of the next page; null: this is the last.")

    @classmethod
    def from_page(cls, page: CampaignPage) -> CampaignList:
        """Of a page."""
        return cls(
            campaigns=[CampaignSummary.from_progress(one) for one in page.campaigns],
            next=page.next,
        )


MAX_LISTED = 10_000
"""Studies of a list that one request names; `nightdraft campaign create` takes millions."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=ONE_LINE)]


class ListedStudy(BaseModel):
    """A study that a campaign is to draft, by its UID, its accession number, or both."""

    model_config = ConfigDict(extra="forbid")

    study_instance_uid: Annotated[
        str, StringConstraints(max_length=64, pattern=r"^([0-9]+(\.[0-9]+)*)?$")
    ] = ""
    accession_number: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=64, pattern=ONE_LINE)
    ] = ""


class CampaignRequest(BaseModel):
    """A campaign that is to be created. It has one source.

    The sources are: again (the digest of a bundle whose studies are drafted again), studies (a
    list; with pacs they are fetched), folder, or pacs with first_date and last_date.
    """

    model_config = ConfigDict(extra="forbid")

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=100, pattern=ONE_LINE),
    ]
    by: Decider = ""
    again: Digest | None = None
    studies: Annotated[list[ListedStudy], Field(max_length=MAX_LISTED)] = []
    folder: Annotated[str, StringConstraints(max_length=1000, pattern=ONE_LINE)] = ""
    pacs: Line = ""
    first_date: Day | None = None
    last_date: Day | None = None
    modalities: Annotated[list[Line], Field(max_length=20)] = list(FILM_MODALITIES)
    bundle: Digest | None = Field(default=None, description="The bundle that drafts; null: any.")
    purpose: Purpose = Purpose.PRIMARY
    priority: Literal["STAT", "URGENT", "ROUTINE", "BACKLOG"] = "BACKLOG"
    skip_reported: bool = True
    hours: Line = Field(default="", description="Of each night, as 19:00-07:00; empty: always.")
    time_zone: Line = Field(
        default="", description="As Europe/Berlin; empty: NIGHTDRAFT_TIME_ZONE, the site's."
    )
    blackouts: Annotated[list[Line], Field(max_length=24)] = []
    starts_on: Day | None = None
    ends_on: Day | None = None
    studies_per_minute: Annotated[float | None, Field(gt=0, le=100_000)] = None
    site: Line = Field(
        default="",
        description="Code of the site whose studies are drafted; empty: every site, or your own.",
    )

    def to_new(self, config: Settings) -> NewCampaign:
        """What `campaigns.create` takes.

        Raises:
            NotAllowed: it has no source or several, or hours, dates or the folder cannot be.
            NotFound: no PACS is called that.
            SettingsError: the file of PACSs is wrong.
        """
        kind, source = self._source(config)
        if self.pacs:
            find_pacs(config.pacs_file, self.pacs)
        return NewCampaign(
            name=self.name,
            kind=kind,
            window=Window(
                read_hours(self.hours) if self.hours else None,
                read_zone(self.time_zone) if self.time_zone else site_zone(config),
                tuple(map(read_hours, self.blackouts)),
                self.starts_on,
                self.ends_on,
            ),
            created_by=self.by,
            source=source,
            pacs=self.pacs,
            bundle=self.bundle,
            purpose=self.purpose,
            priority=Priority[self.priority],
            skip_reported=self.skip_reported,
            studies_per_minute=self.studies_per_minute,
            site_code=self.site,
        )

    def to_studies(self) -> list[NewStudy]:
        """The studies of its list.

        Raises:
            NotAllowed: one has neither a study UID nor an accession number.
        """
        for place, one in enumerate(self.studies, 1):
            if not one.study_instance_uid and not one.accession_number:
                raise NotAllowed(
                    f"study {place} of the list has neither a study_instance_uid nor an "
                    "accession_number"
                )
        return [NewStudy(one.study_instance_uid, one.accession_number) for one in self.studies]

    def _source(self, config: Settings) -> tuple[CampaignKind, dict[str, Any]]:
        is_query = self.first_date is not None or self.last_date is not None
        if sum([self.again is not None, bool(self.studies), bool(self.folder), is_query]) != 1:
            raise NotAllowed(
                "a campaign has one source: give one of again, studies, folder, or pacs with "
                "first_date and last_date"
            )
        if self.pacs and (self.again is not None or self.folder):
            raise NotAllowed("pacs goes with studies, or with first_date and last_date")
        if self.again is not None:
            return CampaignKind.AGAIN, {"from_bundle": self.again}
        if self.studies:
            return CampaignKind.LIST, {}
        if self.folder:
            folder = find_allowed_folder(self.folder, config.campaign_folders)
            return CampaignKind.FOLDER, {"folder": str(folder)}
        if not self.pacs or self.first_date is None or self.last_date is None:
            raise NotAllowed("a question to a PACS needs pacs, first_date and last_date")
        query = PacsQuery.of(str(self.first_date), str(self.last_date), self.modalities)
        return CampaignKind.QUERY, query.to_source()


class CampaignDryRun(BaseModel):
    """What a campaign would do, as far as the rows tell: nothing was created.

    studies: null where the source must be asked first, which `nightdraft campaign create` with
    --dry-run does. named_again: studies that the list names more than once. not_drafted: by reason.
    bytes: of the images of those that it would draft. bytes_needed: of these what is not here yet;
    null: not known. is_whole: whether all of its studies were looked at. notes: what could not be
    known, and what is wrong with it.
    """

    studies: int | None
    named_again: int
    to_draft: int | None
    not_drafted: dict[CampaignReason, int]
    bytes: int | None
    bytes_needed: int | None
    bytes_free: int
    drafts_per_minute: float
    fetched_per_minute: float | None
    opens_at: dt.datetime | None
    done_at: dt.datetime | None
    nights: int | None
    is_whole: bool
    notes: list[str]

    @classmethod
    def from_found(cls, found: DryRun) -> CampaignDryRun:
        """Of what was found; numbers of nothing that was looked at are not known."""
        is_known = found.is_whole or found.studies > 0
        return cls(
            studies=found.studies if is_known else None,
            named_again=found.named_again,
            to_draft=found.to_draft if is_known else None,
            not_drafted=dict(found.not_drafted.most_common()),
            bytes=found.bytes if is_known else None,
            bytes_needed=found.bytes_needed if is_known else None,
            bytes_free=found.bytes_free,
            drafts_per_minute=found.drafts_per_minute,
            fetched_per_minute=found.fetched_per_minute,
            opens_at=found.opens_at,
            done_at=found.done_at,
            nights=found.nights,
            is_whole=found.is_whole,
            notes=found.notes,
        )


class CampaignRetry(BaseModel):
    """Which studies of a campaign are tried again: those in a state for a reason."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["FAILED", "MISSING", "SKIPPED"]
    reason: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=ONE_LINE)]
