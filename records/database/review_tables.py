"""The table of reviews of drafts."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, vocabulary_check
from records.states import ReviewDecision


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
            r"decision <> 'REJECTED' OR (note ~ '\S' AND findings = '' AND impression = ''"
            " AND NOT training_consent)",
            name="rejected_has_reason_alone",
        ),
        # A draft is signed once; who rejects it does not keep another from signing.
        Index(
            "uq_reviews_signed",
            "draft_id",
            unique=True,
            postgresql_where=text("decision = 'SIGNED'"),
        ),
        Index("ix_reviews_study_id", "study_id", "decided_at"),
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
