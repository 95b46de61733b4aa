"""The tables of the trail: who did what, about which patients, and the key that names patients."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import ARRAY, BigInteger, Identity, Index, SmallInteger, Uuid, func, text
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, vocabulary_check
from records.states import ActorKind, AuditAction, AuditOutcome


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
