"""The tables of quality: what became of each draft, its kept numbers, scores of second readers."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    FetchedValue,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, listed, vocabulary_check
from records.states import PeerScore, ReadingArm


class DraftOutcome(Base):
    """What a review made of a draft: one row for each report that was signed and each rejection.

    It is written with the review. A worker completes it and sets `cells`. A trigger then adds it
    to the kept numbers, and takes it out of them where it changes or goes.
    """

    __tablename__ = "draft_outcomes"
    __table_args__ = (
        CheckConstraint("decision IN ('SIGNED', 'REJECTED')", name="decision_known"),
        CheckConstraint(f"arm = '' OR arm IN ({listed(ReadingArm)})", name="arm_known"),
        CheckConstraint("cells IS NULL OR day IS NOT NULL", name="counted_has_day"),
        Index("ix_draft_outcomes_study_id", "study_id"),
        Index("ix_draft_outcomes_draft_id", "draft_id"),
        # What a reader may see: his or her own.
        Index(
            "ix_draft_outcomes_account_id",
            "account_id",
            "day",
            postgresql_where=text("account_id IS NOT NULL AND cells IS NOT NULL"),
        ),
        # What a worker is to complete.
        Index("ix_draft_outcomes_waiting", "review_id", postgresql_where=text("cells IS NULL")),
    )

    review_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("reviews.id"), primary_key=True)
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    draft_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("drafts.id"))
    account_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("accounts.id"))
    # Of its study: triggers set it, and let it follow.
    site_id: Mapped[uuid.UUID] = mapped_column(server_default=FetchedValue())
    decision: Mapped[str]
    bundle_digest: Mapped[str]
    # What follows is "", or NULL, until a worker has completed the row.
    day: Mapped[dt.date | None]  # on which it was decided, in the site's time zone
    view: Mapped[str] = mapped_column(server_default="")  # "PA", "AP+lateral": what the model read
    device: Mapped[str] = mapped_column(server_default="")
    age_group: Mapped[str] = mapped_column(server_default="")
    sex: Mapped[str] = mapped_column(server_default="")
    arm: Mapped[str] = mapped_column(server_default="")  # "" where no reading was under way
    reject_reason: Mapped[str | None]
    # By section, the characters that were changed and those of the longer text, as of a review.
    distances: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    unedited: Mapped[bool | None]
    small_edit: Mapped[bool | None]
    seconds: Mapped[int | None]  # from opening the study to the signature or the rejection
    seconds_to_draft: Mapped[int | None]  # from opening it to the draft, of who reads first
    # {observation: [draft, signed text]} of the 14 observations; {} where there is no signed text.
    observations: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # What it counts in, as places of `records.quality.cells.CELLS`.
    cells: Mapped[list[int] | None] = mapped_column(ARRAY(SmallInteger))


class QualityCount(Base):
    """The kept numbers of one month, site, model and group of patients.

    No account is in it, so no sum that is read here is about a person by name. The number is the
    sum of this row and of the rows of `quality_parts`.
    """

    __tablename__ = "quality_counts"
    __table_args__ = (Index("ix_quality_counts_month", "month"),)

    site_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    month: Mapped[dt.date] = mapped_column(primary_key=True)  # its first day
    bundle_digest: Mapped[str] = mapped_column(primary_key=True)
    view: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(primary_key=True)
    age_group: Mapped[str] = mapped_column(primary_key=True)
    sex: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    # By place of `records.quality.cells.CELLS`, which begins with 1.
    numbers: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))


class QualityDay(Base):
    """The drafts that were decided on one day, of one model at one site: the line of the drift."""

    __tablename__ = "quality_days"
    __table_args__ = (Index("ix_quality_days_day", "day"),)

    site_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    bundle_digest: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[dt.date] = mapped_column(primary_key=True)
    watched: Mapped[int] = mapped_column(BigInteger)
    differing: Mapped[int] = mapped_column(BigInteger)


class QualityPart(Base):
    """A part of the numbers of `quality_counts` and `quality_days`; a trigger adds it.

    So no reader who signs waits for another one. The sweep adds the parts to the numbers.
    """

    __tablename__ = "quality_parts"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    site_id: Mapped[uuid.UUID]
    day: Mapped[dt.date]
    bundle_digest: Mapped[str]
    view: Mapped[str]
    device: Mapped[str]
    age_group: Mapped[str]
    sex: Mapped[str]
    arm: Mapped[str]
    cells: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    number: Mapped[int] = mapped_column(SmallInteger)  # 1, or -1 where it is taken out again


class ReportScore(Base):
    """What a second reader thinks of a signed report. Written once; a trigger refuses changes."""

    __tablename__ = "report_scores"
    __table_args__ = (
        vocabulary_check("score", PeerScore),
        UniqueConstraint("review_id", "account_id"),
        Index("ix_report_scores_study_id", "study_id"),
    )

    id: Mapped[uuid.UUID] = id_column()
    review_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("reviews.id"))
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    score: Mapped[str]
    scored_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
