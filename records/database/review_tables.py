"""The tables of reviews: what readers signed, and what they write and see before they sign."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, listed, vocabulary_check
from records.states import DraftUse, ReadingArm, RejectReason, ReviewDecision, TextState


class Review(Base):
    """A reader's review of a draft: the report that was signed, or why there is none.

    Written once; a trigger refuses every change but that of `training_consent`.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        vocabulary_check("decision", ReviewDecision),
        CheckConstraint(r"reader ~ '\S'", name="has_reader"),
        CheckConstraint(
            r"decision <> 'SIGNED' OR (findings || impression) ~ '\S'", name="signed_has_text"
        ),
        CheckConstraint(
            r"decision <> 'REJECTED' OR"
            r" ((note ~ '\S' OR coalesce(reject_reason, 'OTHER') <> 'OTHER')"
            " AND findings = '' AND impression = '' AND NOT training_consent)",
            name="rejected_has_reason_alone",
        ),
        CheckConstraint(
            f"reject_reason IS NULL OR (decision = 'REJECTED'"
            f" AND reject_reason IN ({listed(RejectReason)}))",
            name="reject_reason_known",
        ),
        CheckConstraint(r"(decision = 'ADDENDUM') = (addendum ~ '\S')", name="addendum_has_text"),
        CheckConstraint(
            "(decision IN ('ADDENDUM', 'COUNTERSIGNED')) = (follows_id IS NOT NULL)",
            name="follows_a_report",
        ),
        CheckConstraint(
            "(decision = 'SIGNED_ELSEWHERE') = (report_id IS NOT NULL)", name="elsewhere_has_report"
        ),
        CheckConstraint(
            "decision IN ('SIGNED', 'REJECTED')"
            " OR (findings = '' AND impression = '' AND NOT training_consent)",
            name="text_of_report_alone",
        ),
        vocabulary_check("draft_use", DraftUse),
        # What was not made of the draft has no distance from it.
        CheckConstraint(
            "draft_use = 'FROM_DRAFT' OR (decision = 'SIGNED' AND distances IS NULL)",
            name="own_text_is_a_report",
        ),
        # A draft is signed once; who rejects it does not keep another from signing.
        Index(
            "uq_reviews_signed",
            "draft_id",
            unique=True,
            postgresql_where=text("decision = 'SIGNED'"),
        ),
        Index("ix_reviews_study_id", "study_id", "decided_at"),
        # Addenda and countersignatures, which few reports have.
        Index(
            "ix_reviews_follows_id", "follows_id", postgresql_where=text("follows_id IS NOT NULL")
        ),
        # A final from elsewhere ends a draft once.
        Index(
            "uq_reviews_elsewhere",
            "draft_id",
            "report_id",
            unique=True,
            postgresql_where=text("report_id IS NOT NULL"),
        ),
        # A person countersigns a report once.
        Index(
            "uq_reviews_countersigned",
            "follows_id",
            "account_id",
            unique=True,
            postgresql_where=text("decision = 'COUNTERSIGNED'"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    draft_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("drafts.id"), index=True)
    decision: Mapped[str]
    reader: Mapped[str]
    findings: Mapped[str] = mapped_column(server_default="")  # as signed
    impression: Mapped[str] = mapped_column(server_default="")  # as signed
    note: Mapped[str] = mapped_column(server_default="")  # why it was rejected
    training_consent: Mapped[bool] = mapped_column(server_default=text("false"))
    decided_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    # Whose account it was; NULL before there were accounts, and of SIGNED_ELSEWHERE.
    account_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("accounts.id"))
    # The signed report that an addendum or a countersignature belongs to.
    follows_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("reviews.id"))
    # Our id of the final report from elsewhere; no key, for a report can be erased alone.
    report_id: Mapped[uuid.UUID | None]
    reject_reason: Mapped[str | None]
    addendum: Mapped[str] = mapped_column(server_default="")
    prepared_by: Mapped[str] = mapped_column(server_default="")  # the trainee who submitted it
    # What the page showed when it was signed: the version of the working text and its digest
    # (records.reviews.digests); NULL where no page asked.
    text_version: Mapped[int | None]
    text_sha256: Mapped[str | None]
    # What the signed text has of the draft; FROM_DRAFT says nothing of other decisions.
    draft_use: Mapped[str] = mapped_column(server_default=DraftUse.FROM_DRAFT)
    # By section, the characters that the reader changed and those of the longer text.
    # With a style, of the text in its words: they are no change of the reader.
    # NULL where the text was not made of the draft.
    distances: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # The version of the house style in which it was signed; NULL where there was none.
    style_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("report_styles.id"))


class WorkingText(Base):
    """The text that readers write from a draft, before one of them signs it.

    A version is never given twice to another text, so a save that names an older one changes
    nothing. The row goes when its report is signed.
    """

    __tablename__ = "working_texts"
    __table_args__ = (
        vocabulary_check("state", TextState),
        vocabulary_check("draft_use", DraftUse),
        CheckConstraint("version > 0", name="version_counts"),
        CheckConstraint("(state = 'OPEN') = (sent_at IS NULL)", name="sent_is_whole"),
        Index("ix_working_texts_study_id", "study_id"),
        # What waits for somebody else.
        Index("ix_working_texts_sent", "sent_at", postgresql_where=text("state <> 'OPEN'")),
    )

    draft_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("drafts.id"), primary_key=True)
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    version: Mapped[int]
    findings: Mapped[str]
    impression: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=TextState.OPEN)
    saved_by: Mapped[str]
    saved_by_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("accounts.id"))
    saved_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    sent_by: Mapped[str] = mapped_column(server_default="")
    sent_by_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("accounts.id"))
    sent_at: Mapped[dt.datetime | None]
    note: Mapped[str] = mapped_column(server_default="")  # to whoever goes on
    # Whether it began as the draft, and, if not, whether the draft was shown to who wrote on.
    draft_use: Mapped[str] = mapped_column(server_default=DraftUse.FROM_DRAFT)
    # The version of the house style from which the text began; NULL where there was none.
    style_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("report_styles.id"))


class Reading(Base):
    """A reader opened a study with a draft: what was shown when, and how it ended."""

    __tablename__ = "readings"
    __table_args__ = (
        vocabulary_check("arm", ReadingArm),
        CheckConstraint("\"end\" IN ('SIGNED', 'REJECTED', 'SENT', 'LEFT')", name="end_known"),
        CheckConstraint('("end" IS NULL) = (ended_at IS NULL)', name="end_is_whole"),
        Index("ix_readings_study_id", "study_id"),
        Index("ix_readings_draft_id", "draft_id"),
        # A person reads a draft once at a time, in however many windows.
        Index(
            "uq_readings_under_way",
            "draft_id",
            "account_id",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
        # The times of a site's readings, by the day on which they began.
        Index("ix_readings_opened_at", "opened_at"),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    draft_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("drafts.id"))
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    arm: Mapped[str]
    opened_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    films_opened_at: Mapped[dt.datetime | None]
    draft_shown_at: Mapped[dt.datetime | None]
    ended_at: Mapped[dt.datetime | None]
    end: Mapped[str | None]
