"""The tables of the trail: who did what, about which patients, and the key that names patients."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Identity, Index, SmallInteger, Uuid, func, text
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, vocabulary_check
from records.states import ActorKind, AuditAction, AuditOutcome

OF_EMERGENCY = "action = 'EMERGENCY' OR starts_with(detail, 'emergency ')"
"""Which entries are of emergencies: of what opened and ended them, and of what was seen in them. A
search uses these very words, so that its index is used."""


class AuditEntry(Base):
    """Something that somebody saw or did. Append-only: triggers refuse UPDATE, DELETE, TRUNCATE.

    What a person did to a study is an event of the study (`Event`), which names its actor; the
    trail shows both.
    """

    __tablename__ = "audit_entries"
    __table_args__ = (
        vocabulary_check("action", AuditAction),
        vocabulary_check("outcome", AuditOutcome),
        vocabulary_check("actor_kind", ActorKind),
        Index("ix_audit_entries_at", "at", "id"),
        Index("ix_audit_entries_actor", "actor_name", "at", "id"),
        Index("ix_audit_entries_patients", "patients", postgresql_using="gin"),
        Index("ix_audit_entries_emergency", "at", "id", postgresql_where=text(OF_EMERGENCY)),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    action: Mapped[str]
    outcome: Mapped[str] = mapped_column(server_default=AuditOutcome.SUCCESS)
    actor_kind: Mapped[str]
    actor_name: Mapped[str]
    actor_id: Mapped[str]  # of the account or token; "" where there is none
    actor_address: Mapped[str]  # the network address that the request came from; "" for none
    study_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"))
    patients: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"))
    detail: Mapped[str]  # our own words, without a patient


class AuditPatient(Base):
    """Whom a pseudonym of the trail stands for. Erasing a patient deletes this row."""

    __tablename__ = "audit_patients"
    __table_args__ = (Index("ix_audit_patients_patient_id", "patient_id"),)

    pseudonym: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[str]  # (0010,0020), without spaces around
    issuer: Mapped[str]  # (0010,0021), without spaces around
    first_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class AuditKey(Base):
    """Which key the trail is kept with; the key itself is in a file, outside the database."""

    __tablename__ = "audit_keys"

    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    key_id: Mapped[str]  # a digest: it tells keys apart, and gives none away
    first_used_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class AuditSettings(Base):
    """With which settings each part last started, as keyed digests, so that changes are seen."""

    __tablename__ = "audit_settings"

    part: Mapped[str] = mapped_column(primary_key=True)  # part@host
    digests: Mapped[dict[str, Any]]  # {name of the setting: digest of its value}
    noted_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class AuditSeal(Base):
    """A seal over some rows of the trail and of the timelines, and over the seal before it."""

    __tablename__ = "audit_seals"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    form: Mapped[int] = mapped_column(SmallInteger)  # how rows are written for their digest
    # The ids of audit_entries and events, as spans: "1-7,9-9".
    entry_ids: Mapped[str]
    event_ids: Mapped[str]
    # The highest id of each table that this seal or one before it covers.
    highest_entry_id: Mapped[int] = mapped_column(BigInteger)
    highest_event_id: Mapped[int] = mapped_column(BigInteger)
    row_count: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str]  # SHA-256 over the rows' digests
    key_id: Mapped[str]
    previous: Mapped[str]  # the `seal` of the one before; "" of the first
    seal: Mapped[str]  # HMAC-SHA-256 over all of this


class AuditGap(Base):
    """Ids below a sealed one that no row had yet: their transaction may still commit."""

    __tablename__ = "audit_gaps"

    source: Mapped[str] = mapped_column(primary_key=True)  # the table
    first_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    last_id: Mapped[int] = mapped_column(BigInteger)
    cluster: Mapped[str]  # the database system in which they were noticed
    transaction_id: Mapped[int] = mapped_column(BigInteger)  # whoever took them is older than it
    noticed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class AuditRemovedRow(Base):
    """A sealed row that was removed by rule, with the digest that its seal needs."""

    __tablename__ = "audit_removed_rows"

    source: Mapped[str] = mapped_column(primary_key=True)  # the table
    row_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    digest: Mapped[str]
    seal: Mapped[str]  # HMAC-SHA-256: only who has the key can say that a row was removed by rule
    removed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class AuditDelivery(Base):
    """How far the trail was sent to an audit server; what is behind that waits in the trail."""

    __tablename__ = "audit_deliveries"

    destination: Mapped[str] = mapped_column(primary_key=True)
    sent_seal: Mapped[int] = mapped_column(BigInteger)  # all rows of the seals up to this one
    attempts: Mapped[int] = mapped_column(server_default=text("0"))  # since one last went well
    next_at: Mapped[dt.datetime | None]
    away_since: Mapped[dt.datetime | None]
    error: Mapped[str] = mapped_column(server_default="")
