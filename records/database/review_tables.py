"""The tables of what readers write and see before they sign: working texts and readings."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, vocabulary_check
from records.states import ReadingArm, TextState


class WorkingText(Base):
    """The text that readers write from a draft, before one of them signs it.

    A version is never given twice to another text, so a save that names an older one changes
    nothing. The row goes when its report is signed.
    """

    __tablename__ = "working_texts"
    __table_args__ = (
        vocabulary_check("state", TextState),
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
