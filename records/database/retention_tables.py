"""The tables of what is removed: queued files, each rule's days and progress, and erasures."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, vocabulary_check
from records.states import RetentionWalkRule, SiteRule


class BlobRemoval(Base):
    """A file that no row needs any more and that is to be removed; the row goes when it is gone.

    It is written in the transaction that makes the file needless. So a process that dies between
    the two leaves no file behind, and a file that waits here is nobody's lost film.
    """

    __tablename__ = "blob_removals"
    __table_args__ = (Index("ix_blob_removals_queued_at", "queued_at", "key"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    queued_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class RetentionWalk(Base):
    """How far a rule has walked over what it may remove, and what it has removed so far."""

    __tablename__ = "retention_walks"
    __table_args__ = (vocabulary_check("rule", RetentionWalkRule),)

    rule: Mapped[str] = mapped_column(primary_key=True)
    # Where the walk goes on; NULL at the beginning of a round.
    position: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    began_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())  # of this round
    ended_at: Mapped[dt.datetime | None]  # NULL while a round goes on
    removed: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # files, or rows
    removed_bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class SiteRetention(Base):
    """How many days a site keeps something, where it differs from the setting."""

    __tablename__ = "site_retention"
    __table_args__ = (
        vocabulary_check("rule", SiteRule),
        CheckConstraint("days >= 0", name="days_known"),
    )

    site_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sites.id"), primary_key=True)
    rule: Mapped[str] = mapped_column(primary_key=True)
    days: Mapped[float] = mapped_column(Double)  # 0 keeps it for ever, as a setting of 0 does
    changed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class Erasure(Base):
    """That all of a patient was erased. Written once; no patient is in it.

    Triggers of tables whose rows are written once let those of these studies and orders be deleted,
    in the transaction that wrote this row.
    """

    __tablename__ = "erasures"
    __table_args__ = (
        CheckConstraint(r"requested_by ~ '\S'", name="has_name"),
        CheckConstraint(r"reason ~ '\S'", name="has_reason"),
    )

    id: Mapped[uuid.UUID] = id_column()
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    transaction: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # a trigger's
    requested_by: Mapped[str]
    reason: Mapped[str]
    study_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid))
    order_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid))
