"""The tables of campaigns: what is to be drafted, when, and what became of each study.

A study waits in its campaign as a row. Only a few studies at a time are in the pipeline, so that a
campaign is paused, or its window closed, by a change of one row.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    SmallInteger,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, vocabulary_check
from records.states import (
    CampaignKind,
    CampaignState,
    CampaignStudyState,
    Priority,
    Purpose,
    WalkState,
)


class Campaign(Base):
    """Many studies that are drafted within a window, and where they are from."""

    __tablename__ = "campaigns"
    __table_args__ = (
        vocabulary_check("kind", CampaignKind),
        vocabulary_check("state", CampaignState),
        vocabulary_check("walk_state", WalkState),
        vocabulary_check("purpose", Purpose),
        CheckConstraint(r"name ~ '\S'", name="has_name"),
        CheckConstraint("(window_opens IS NULL) = (window_closes IS NULL)", name="window_whole"),
        # The list of campaigns, newest first.
        Index("ix_campaigns_created_at", "created_at", "id"),
        # The same of one site.
        Index(
            "ix_campaigns_site_id",
            "site_id",
            "created_at",
            "id",
            postgresql_where=text("site_id IS NOT NULL"),
        ),
        # The sweep looks at those that have not ended.
        Index(
            "ix_campaigns_running",
            "priority",
            "created_at",
            "id",
            postgresql_where=text("state = 'RUNNING'"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    # What the walk needs: bundle digest, folder, dates. No patient is named in it.
    source: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    pacs: Mapped[str] = mapped_column(server_default="")  # its name in the settings; "" is none
    bundle: Mapped[str | None]  # the digest of the bundle that drafts; NULL is whichever is served
    # Whose studies it drafts, and whose people see it; NULL is those of every site.
    site_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("sites.id"))
    purpose: Mapped[str] = mapped_column(server_default=Purpose.PRIMARY)
    priority: Mapped[int] = mapped_column(
        SmallInteger, server_default=text(f"{Priority.BACKLOG:d}")
    )
    skip_reported: Mapped[bool]  # studies with a final report are not drafted
    # Hours of each night by the wall clock of `time_zone`; NULL is always.
    window_opens: Mapped[dt.time | None]
    window_closes: Mapped[dt.time | None]
    time_zone: Mapped[str]  # an IANA name
    blackouts: Mapped[list[Any]] = mapped_column(
        server_default=text("'[]'")
    )  # [["02:00", "03:00"]]
    starts_on: Mapped[dt.date | None]  # the first night, by the date on which it begins
    ends_on: Mapped[dt.date | None]  # the last one
    studies_per_minute: Mapped[float | None]  # at most; NULL is what the PACS allows
    state: Mapped[str] = mapped_column(server_default=CampaignState.RUNNING)
    is_open: Mapped[bool] = mapped_column(server_default=false())  # the sweep keeps it
    walk_state: Mapped[str] = mapped_column(server_default=WalkState.WALKING)
    # Where the walk goes on after a restart; what it means is the walker's affair.
    walk_position: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    walk_claimed_at: Mapped[dt.datetime | None]
    walk_note: Mapped[str] = mapped_column(server_default="")  # why it failed, or what it left out
    # Why nothing goes on although the window is open: a fault of the system.
    stalled_reason: Mapped[str] = mapped_column(server_default="")
    stalled_since: Mapped[dt.datetime | None]
    # Whoever created it sees some sites alone, so it fetches only from a PACS that names its site.
    is_site_bound: Mapped[bool] = mapped_column(server_default=false())
    # That PACS does not name its site any more; `stalled_reason` says so.
    is_denied: Mapped[bool] = mapped_column(server_default=false())
    created_by: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    ended_at: Mapped[dt.datetime | None]


class CampaignStudy(Base):
    """One study of a campaign, and what became of it."""

    __tablename__ = "campaign_studies"
    __table_args__ = (
        vocabulary_check("state", CampaignStudyState),
        CheckConstraint("study_instance_uid <> '' OR accession_number <> ''", name="names_a_study"),
        # A source that names a study twice makes one row.
        Index(
            "uq_campaign_studies_uid",
            "campaign_id",
            "study_instance_uid",
            unique=True,
            postgresql_where=text("study_instance_uid <> ''"),
        ),
        Index(
            "uq_campaign_studies_accession_number",
            "campaign_id",
            "accession_number",
            unique=True,
            postgresql_where=text("study_instance_uid = ''"),
        ),
        # What may be given to the pipeline next.
        Index(
            "ix_campaign_studies_waiting",
            "campaign_id",
            "id",
            postgresql_where=text("state = 'WAITING' AND not_before IS NULL"),
        ),
        Index(
            "ix_campaign_studies_not_before",
            "not_before",
            postgresql_where=text("state = 'WAITING' AND not_before IS NOT NULL"),
        ),
        # The few that are under way, and who fetches which study.
        Index(
            "ix_campaign_studies_under_way",
            "campaign_id",
            "state",
            "claimed_at",
            postgresql_where=text("state IN ('PULLING', 'IN_WORK')"),
        ),
        # Campaigns that overlap fetch a study once.
        Index(
            "uq_campaign_studies_pulling",
            "study_instance_uid",
            unique=True,
            postgresql_where=text("state = 'PULLING' AND study_instance_uid <> ''"),
        ),
        # Rows that follow a study, and what a study's deletion looks for.
        Index(
            "ix_campaign_studies_study_id",
            "study_id",
            postgresql_where=text("study_id IS NOT NULL"),
        ),
        # The lists of a campaign: by state, and by the reason of an end. The few under way have
        # their own index above: here each would come and go twice.
        Index(
            "ix_campaign_studies_state",
            "campaign_id",
            "state",
            "id",
            postgresql_where=text("state NOT IN ('PULLING', 'IN_WORK')"),
        ),
        Index(
            "ix_campaign_studies_reason",
            "campaign_id",
            "state",
            "reason",
            "id",
            postgresql_where=text("reason <> ''"),
        ),
    )

    campaign_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    state: Mapped[str] = mapped_column(server_default=CampaignStudyState.WAITING)
    reason: Mapped[str] = mapped_column(server_default="")
    detail: Mapped[str] = mapped_column(server_default="")
    study_instance_uid: Mapped[str] = mapped_column(server_default="")
    accession_number: Mapped[str] = mapped_column(server_default="")
    study_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("studies.id", ondelete="SET NULL")
    )
    request_id: Mapped[uuid.UUID | None]  # of a comparison draft; a primary one is the study's own
    # Whether the row follows the requests and holds of its study.
    follows: Mapped[bool] = mapped_column(server_default=false())
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    not_before: Mapped[dt.datetime | None]
    claimed_at: Mapped[dt.datetime | None]  # by whoever fetches the images
    size: Mapped[int | None] = mapped_column(BigInteger)  # bytes of its images, where known
    listed: Mapped[int | None]  # how many wanted images the source lists
    missing: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))  # SOP Instance UIDs
    changed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class CampaignFile(Base):
    """A file of a study of a folder campaign."""

    __tablename__ = "campaign_files"
    __table_args__ = (
        ForeignKeyConstraint(
            ["campaign_id", "campaign_study_id"],
            ["campaign_studies.campaign_id", "campaign_studies.id"],
        ),
        Index("ix_campaign_files_campaign_study_id", "campaign_id", "campaign_study_id"),
    )

    campaign_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)  # below the campaign's folder
    campaign_study_id: Mapped[int] = mapped_column(BigInteger)


class CampaignTally(Base):
    """A part of a kept number: studies of a campaign that entered or left a state.

    A trigger adds them, and the sweep folds them. The quarter of an hour gives the pace.
    """

    __tablename__ = "campaign_tallies"
    __table_args__ = (Index("ix_campaign_tallies_campaign_id", "campaign_id", "quarter"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    campaign_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("campaigns.id"))
    quarter: Mapped[dt.datetime]
    state: Mapped[str]
    reason: Mapped[str]
    number: Mapped[int] = mapped_column(BigInteger)


class CampaignMark(Base):
    """A study whose state changed and that a campaign's row follows.

    Triggers write it, and the sweep brings the rows up to date. So no transaction about a study
    waits for a lock of a campaign.
    """

    __tablename__ = "campaign_marks"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    study_id: Mapped[uuid.UUID]
