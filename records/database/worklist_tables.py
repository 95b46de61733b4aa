"""The tables of the worklist's readers: who reads which study, and the views that they saved."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column


class StudyLock(Base):
    """Who reads a study now. It says so to others and stops nobody; it ends by itself."""

    __tablename__ = "study_locks"
    __table_args__ = (Index("ix_study_locks_expires_at", "expires_at"),)

    study_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True
    )
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str]  # the reader's, as pages show it
    since: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[dt.datetime]


class WorklistView(Base):
    """A part of the worklist that a reader gave a name: filters, search and order."""

    __tablename__ = "worklist_views"
    __table_args__ = (
        CheckConstraint(r"name ~ '\S'", name="has_name"),
        UniqueConstraint("account_id", "name"),
        Index(
            "uq_worklist_views_default",
            "account_id",
            unique=True,
            postgresql_where=text("is_default"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str]
    query: Mapped[str]  # of the worklist's address, without the mark of a page
    is_default: Mapped[bool] = mapped_column(server_default=text("false"))
    saved_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
