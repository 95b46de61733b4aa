"""The tables of what draft and final report do not both say, and of two drafts of one study."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    FetchedValue,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, vocabulary_check
from records.states import SECOND_LOOK_FINDINGS, DiscrepancySide, DiscrepancyState, ErrorCount

_ASKED = ", ".join(f"'{finding}'" for finding in SECOND_LOOK_FINDINGS)

IS_ASKED = text(f"observation IN ({_ASKED})")
"""Discrepancies that a reader may be asked about."""

OF_REPORT = text(f"side = '{DiscrepancySide.MISS_OF_REPORT}'")
OF_MODEL = text(f"side = '{DiscrepancySide.MISS_OF_MODEL}'")


class Discrepancy(Base):
    """An observation that a draft says is present and the final report does not, or vice versa.

    Nobody's name is in it: neither who wrote the report nor who looked at the films again.
    """

    __tablename__ = "discrepancies"
    __table_args__ = (
        vocabulary_check("side", DiscrepancySide),
        vocabulary_check("state", DiscrepancyState),
        # Several drafts of a study that say one thing ask one question, which is read once.
        Index(
            "uq_discrepancies_question",
            "study_id",
            "observation",
            unique=True,
            postgresql_where=OF_REPORT,
        ),
        Index(
            "uq_discrepancies_error",
            "draft_id",
            "observation",
            unique=True,
            postgresql_where=OF_MODEL,
        ),
        Index("ix_discrepancies_study_id", "study_id"),
        Index("ix_discrepancies_draft_id", "draft_id"),
        Index("ix_discrepancies_report_id", "report_id"),
        # The ranked lists.
        Index("ix_discrepancies_ranked", "side", "state", "certainty", "id"),
        Index("ix_discrepancies_observation", "side", "state", "observation", "certainty", "id"),
        # Those of a campaign.
        Index(
            "ix_discrepancies_campaign",
            "campaign_id",
            "side",
            "state",
            "certainty",
            "id",
            postgresql_where=text("campaign_id IS NOT NULL"),
        ),
        Index(
            "ix_discrepancies_campaign_observation",
            "campaign_id",
            "side",
            "state",
            "observation",
            "certainty",
            "id",
            postgresql_where=text("campaign_id IS NOT NULL"),
        ),
        # The next question.
        Index(
            "ix_discrepancies_asked", "side", "state", "certainty", "id", postgresql_where=IS_ASKED
        ),
        # What a worker is to check.
        Index(
            "ix_discrepancies_unchecked",
            "id",
            postgresql_where=text("state = 'UNCHECKED'"),
        ),
        # The reads of a week.
        Index(
            "ix_discrepancies_read_at",
            "read_at",
            postgresql_where=text("read_at IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    side: Mapped[str]
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    # Of its study: triggers set it, and let it follow.
    site_id: Mapped[uuid.UUID] = mapped_column(server_default=FetchedValue())
    draft_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("drafts.id"))
    report_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("received_reports.id"))
    campaign_id: Mapped[uuid.UUID | None]  # the campaign that asked for the draft
    observation: Mapped[str]  # one of the 14 (model.labels)
    certainty: Mapped[float] = mapped_column(REAL)  # from 0 to 1; lists are ordered by it
    said: Mapped[str]  # what the silent side says of it: "blank" or "absent"
    state: Mapped[str] = mapped_column(server_default=DiscrepancyState.UNCHECKED)
    # The report from elsewhere that mentions it after all; NULL where it was signed here.
    mentioned_by: Mapped[uuid.UUID | None]
    offered_until: Mapped[dt.datetime | None]  # a reader looks at it, and nobody else is asked
    found_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    read_at: Mapped[dt.datetime | None]


class DiscrepancyRecheck(Base):
    """A study whose discrepancies a worker is to check again: a report of its patient came."""

    __tablename__ = "discrepancy_rechecks"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    study_id: Mapped[uuid.UUID]


class DiscrepancyTally(Base):
    """A part of the number of discrepancies by side, state, campaign and site; as `Tally`."""

    __tablename__ = "discrepancy_tallies"
    __table_args__ = (Index("ix_discrepancy_tallies_campaign_id", "campaign_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    campaign_id: Mapped[uuid.UUID | None]
    side: Mapped[str]
    state: Mapped[str]
    site_id: Mapped[uuid.UUID]
    number: Mapped[int] = mapped_column(BigInteger)


class ModelErrorTally(Base):
    """A part of a number of the table of the model's errors; as `Tally`."""

    __tablename__ = "model_error_tallies"
    __table_args__ = (
        vocabulary_check("counted", ErrorCount),
        Index("ix_model_error_tallies_campaign_id", "campaign_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    campaign_id: Mapped[uuid.UUID | None]
    observation: Mapped[str]  # "" counts the drafts that were compared
    counted: Mapped[str]
    site_id: Mapped[uuid.UUID]  # of the study when it was compared, or UNKNOWN_SITE_ID
    number: Mapped[int] = mapped_column(BigInteger)


class DraftComparison(Base):
    """How two drafts of one study by two bundles differ; a worker computes it."""

    __tablename__ = "draft_comparisons"
    __table_args__ = (
        Index("uq_draft_comparisons", "first_draft_id", "second_draft_id", unique=True),
        Index("ix_draft_comparisons_second_draft_id", "second_draft_id"),
        # Those of two bundles: the ones that differ most come first.
        Index(
            "ix_draft_comparisons_ranked",
            "first_bundle",
            "second_bundle",
            "differing",
            "changed",
            "id",
            postgresql_where=text("observations IS NOT NULL"),
        ),
        # Those of a campaign.
        Index(
            "ix_draft_comparisons_campaign",
            "campaign_id",
            "differing",
            "changed",
            "id",
            postgresql_where=text("observations IS NOT NULL AND campaign_id IS NOT NULL"),
        ),
        # What a worker is to compare.
        Index(
            "ix_draft_comparisons_waiting",
            "id",
            postgresql_where=text("observations IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"), index=True)
    first_draft_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("drafts.id"))
    second_draft_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("drafts.id"))
    first_bundle: Mapped[str]  # digest
    second_bundle: Mapped[str]  # digest
    campaign_id: Mapped[uuid.UUID | None]  # the campaign that asked for the second draft
    # {observation: [first, second]}: what each draft says of the 14 observations; {} where it could
    # not be found out. NULL until a worker has compared them.
    observations: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # {"findings", "impression"}: [characters to change, characters of the longer text]
    distances: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # How many observations one of the two says are present and the other does not.
    differing: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    # Characters to change, as a share of those of the longer texts.
    changed: Mapped[float] = mapped_column(REAL, server_default=text("0"))
    compared_at: Mapped[dt.datetime | None]


class DraftComparisonTally(Base):
    """A part of a number of the table of comparisons; as `Tally`."""

    __tablename__ = "draft_comparison_tallies"
    __table_args__ = (
        Index("ix_draft_comparison_tallies_pair", "first_bundle", "second_bundle", "campaign_id"),
        Index("ix_draft_comparison_tallies_campaign_id", "campaign_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    campaign_id: Mapped[uuid.UUID | None]
    first_bundle: Mapped[str]
    second_bundle: Mapped[str]
    observation: Mapped[str]  # "" counts the comparisons
    outcome: Mapped[str]  # BOTH, FIRST, SECOND, NEITHER
    site_id: Mapped[uuid.UUID]  # of the study when it was compared, or UNKNOWN_SITE_ID
    number: Mapped[int] = mapped_column(BigInteger)
