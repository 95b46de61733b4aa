"""The tables of the running system: refusals, alarms, callers, heartbeats, observations, scrub."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from records.alarm_kinds import AlarmKind, Channel, MessageEvent
from records.database.base import Base, vocabulary_check
from records.database.site_tables import DEFAULT_SITE_ID


class BlobScrub(Base):
    """How far the scrub has come, which reads every stored instance again; a single row."""

    __tablename__ = "blob_scrub"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(
        SmallInteger, primary_key=True, autoincrement=False, server_default=text("1")
    )
    # The last instance that this round has read; NULL at the beginning of a round.
    position: Mapped[uuid.UUID | None]
    round_read: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    round_ended_at: Mapped[dt.datetime | None]  # the end of the round before
    night: Mapped[dt.date | None]  # the night of the last reading, by the date of its beginning
    night_read: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    read_at: Mapped[dt.datetime | None]  # when something was last read


class Refusal(Base):
    """What the listener refused: it belongs to no study of ours, and a page shows it.

    One row counts equal refusals of one caller and hour, so that nobody can fill the table.
    """

    __tablename__ = "refusals"
    __table_args__ = (
        Index(
            "uq_refusals_counted",
            "hour",
            "address",
            "calling_ae",
            "reason",
            "sop_class_uid",
            unique=True,
        ),
        # The list of the people of one site.
        Index("ix_refusals_site_id", "site_id", "at", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    # When it happened last.
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp(), index=True)
    calling_ae: Mapped[str]
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str]  # of the last one
    reason: Mapped[str]
    sentence: Mapped[str]
    address: Mapped[str] = mapped_column(server_default="")  # the sender's network address
    hour: Mapped[dt.datetime | None]  # NULL where the row is one refusal, from before they counted
    count: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    # That of the calling AE title, as of a study; the first site's where it is nobody's.
    site_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sites.id"), server_default=text(f"'{DEFAULT_SITE_ID}'::uuid")
    )


class Alarm(Base):
    """What a person on call must see. While a worker's is open, it claims nothing but trials."""

    __tablename__ = "alarms"
    __table_args__ = (
        vocabulary_check("kind", AlarmKind),
        Index(
            "uq_alarms_open",
            "part",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index(
            "ix_alarms_trouble_id", "trouble_id", postgresql_where=text("trouble_id IS NOT NULL")
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]  # an AlarmKind
    part: Mapped[str]  # whose alarm it is, or stage@host of a worker that stopped itself
    cause: Mapped[str]  # what happened, in a sentence
    remedy: Mapped[str]  # what to do; empty in alarms from before there was a remedy
    opened_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    tried_at: Mapped[dt.datetime | None]  # when a stopped worker last tried a study
    closed_at: Mapped[dt.datetime | None]
    trouble_id: Mapped[int | None] = mapped_column(ForeignKey("troubles.id"))


class Trouble(Base):
    """Alarms that opened within a short time. A message says when it began, another one its end."""

    __tablename__ = "troubles"
    __table_args__ = (
        Index("ix_troubles_not_ended", "id", postgresql_where=text("ended_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    began_at: Mapped[dt.datetime]  # when its first alarm opened
    ended_at: Mapped[dt.datetime | None]  # when its last alarm closed


class AlarmMessage(Base):
    """A message about a trouble or a night, by one channel; each is there once, and sent once."""

    __tablename__ = "alarm_messages"
    __table_args__ = (
        vocabulary_check("event", MessageEvent),
        vocabulary_check("channel", Channel),
        CheckConstraint("(trouble_id IS NULL) <> (night IS NULL)", name="about_one"),
        Index("uq_alarm_messages_once", "trouble_id", "channel", "event", unique=True),
        Index(
            "uq_alarm_messages_night",
            "night",
            "channel",
            unique=True,
            postgresql_where=text("night IS NOT NULL"),
        ),
        Index(
            "ix_alarm_messages_due",
            "due_at",
            postgresql_where=text("sent_at IS NULL AND given_up_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    trouble_id: Mapped[int | None] = mapped_column(ForeignKey("troubles.id"))
    # The night of which it is the summary; NULL in a message about a trouble.
    night: Mapped[dt.date | None] = mapped_column(ForeignKey("night_summaries.night"))
    event: Mapped[str]  # a MessageEvent
    channel: Mapped[str]  # a Channel
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    due_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())  # the next attempt
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str] = mapped_column(server_default="")  # of the last attempt
    sent_at: Mapped[dt.datetime | None]
    given_up_at: Mapped[dt.datetime | None]


class Caller(Base):
    """A calling AE title that sent films, and when it sent the last one."""

    __tablename__ = "callers"

    calling_ae: Mapped[str] = mapped_column(primary_key=True)
    last_film_at: Mapped[dt.datetime]


class Heartbeat(Base):
    """A process of the system: when it was last seen, and what it reports about itself."""

    __tablename__ = "heartbeats"

    part: Mapped[str] = mapped_column(
        primary_key=True
    )  # "listener", "sweep", "prepare", "draft", "query", "retrieve", "api"
    owner: Mapped[str] = mapped_column(primary_key=True)  # host:pid
    started_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), index=True)
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    ended_at: Mapped[dt.datetime | None]  # when it ended, or was taken for dead
    died: Mapped[bool] = mapped_column(server_default=text("false"))  # it ended without a word

    @property
    def host(self) -> str:
        """The machine on which the process runs."""
        return self.owner.rpartition(":")[0] or self.owner


class Observation(Base):
    """What one process saw when it last looked at Redis, the disk or the bundle."""

    __tablename__ = "observations"

    name: Mapped[str] = mapped_column(primary_key=True)  # "redis", "disk", "bundle"
    observer: Mapped[str] = mapped_column(primary_key=True)  # host:pid
    looked_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[dt.datetime | None]  # when it was last well
    is_well: Mapped[bool]
    is_warning: Mapped[bool] = mapped_column(server_default=text("false"))  # not for long
    sentence: Mapped[str] = mapped_column(server_default="")
