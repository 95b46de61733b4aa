"""The tables of orders, of messages that brought them, and of questions to other systems.

An order is found by its keys: accession numbers, study UIDs and patient ids, each a row of its own
with one index. So a match costs the same among a thousand orders and among millions.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, vocabulary_check
from records.database.site_tables import DEFAULT_SITE_ID
from records.states import (
    ChangeOrigin,
    MatchState,
    MessageOutcome,
    OrderChangeKind,
    OrderStatus,
    Origin,
    QueryKind,
    QueryState,
)


class Order(Base):
    """An imaging order as it is now; `order_changes` has what it was before."""

    __tablename__ = "orders"
    __table_args__ = (
        vocabulary_check("origin", Origin),
        vocabulary_check("status", OrderStatus),
        # The list of orders, of all and by status.
        Index("ix_orders_changed_at", "changed_at", "id"),
        Index("ix_orders_status", "status", "changed_at", "id"),
        # The same of one site.
        Index("ix_orders_site_id", "site_id", "changed_at", "id"),
        Index("ix_orders_site_id_status", "site_id", "status", "changed_at", "id"),
    )

    id: Mapped[uuid.UUID] = id_column()
    # What makes two messages be about the same order; `records.orders.order.ReceivedOrder`.
    identity: Mapped[str] = mapped_column(unique=True)
    origin: Mapped[str]
    sender: Mapped[str]  # MSH-3 and MSH-4, a FHIR client, an AE title or a file's name
    status: Mapped[str] = mapped_column(server_default=OrderStatus.ACTIVE)
    placer_order_number: Mapped[str]  # ORC-2, with its namespace
    filler_order_number: Mapped[str]  # ORC-3, with its namespace
    accession_numbers: Mapped[list[str]]
    accession_number_issuer: Mapped[str]
    study_instance_uids: Mapped[list[str]]
    patient_id: Mapped[str]
    patient_id_issuer: Mapped[str]
    other_patient_ids: Mapped[list[Any]]  # [{"id", "issuer"}]
    patient_name: Mapped[str]
    patient_birth_date: Mapped[str]
    patient_sex: Mapped[str]
    visit_number: Mapped[str]  # PV1-19, with its issuer: what ADT^A45 moves
    texts: Mapped[list[Any]]  # [{"source", "text"}], sources of OrderTextSource
    procedure: Mapped[str]
    priority: Mapped[int | None] = mapped_column(SmallInteger)
    scheduled_at: Mapped[dt.datetime | None]
    due_at: Mapped[dt.datetime | None]
    site: Mapped[str]  # where it comes from, as sent
    # Whose people see it.
    site_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sites.id"), server_default=text(f"'{DEFAULT_SITE_ID}'::uuid")
    )
    sent_at: Mapped[dt.datetime | None]  # by the sender's clock; an older message changes nothing
    version: Mapped[int] = mapped_column(server_default=text("1"))
    received_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class OrderKey(Base):
    """One thing by which an order is found."""

    __tablename__ = "order_keys"
    __table_args__ = (Index("ix_order_keys_value", "kind", "value"),)

    order_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(primary_key=True)  # KeyKind
    value: Mapped[str] = mapped_column(primary_key=True)  # in capitals, without spaces around it


class OrderChange(Base):
    """One line of an order's history. Append-only: a trigger refuses changes."""

    __tablename__ = "order_changes"
    __table_args__ = (
        vocabulary_check("kind", OrderChangeKind),
        vocabulary_check("origin", ChangeOrigin),
        Index("ix_order_changes_order_id", "order_id", "id"),
        # What a message brought.
        Index("ix_order_changes_message_id", "message_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("orders.id"))
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    origin: Mapped[str]
    sender: Mapped[str]  # of a PERSON the name, of a STUDY its Study Instance UID
    message_id: Mapped[uuid.UUID | None]  # of received_messages
    old_values: Mapped[dict[str, Any]]  # columns of orders that changed, as they were
    new_values: Mapped[dict[str, Any]]


class StudyOrder(Base):
    """That an order counts for a study, or why it does not."""

    __tablename__ = "study_orders"
    __table_args__ = (
        vocabulary_check("state", MatchState),
        Index("ix_study_orders_order_id", "order_id"),
    )

    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    state: Mapped[str]
    matched_by: Mapped[str]  # ACCESSION, STUDY, PATIENT (and date) or PERSON
    matched_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    decided_by: Mapped[str] = mapped_column(server_default="")


class PatientAlias(Base):
    """A patient id that another system gave up for another one (ADT^A18, A40).

    What comes later under the retired id is of the surviving patient.
    """

    __tablename__ = "patient_aliases"
    __table_args__ = (
        vocabulary_check("origin", Origin),
        Index("ix_patient_aliases_surviving_id", "surviving_id"),
    )

    # As keys hold them: in capitals, without spaces around.
    retired_id: Mapped[str] = mapped_column(primary_key=True)
    retired_issuer: Mapped[str] = mapped_column(primary_key=True)
    surviving_id: Mapped[str]  # as sent; never an id that is itself retired
    surviving_issuer: Mapped[str]
    surviving_name: Mapped[str]
    surviving_birth_date: Mapped[str]
    surviving_sex: Mapped[str]
    origin: Mapped[str]
    sender: Mapped[str]
    message_id: Mapped[uuid.UUID | None]  # of received_messages
    merged_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    # {"orders", "reports", "studies": {our id: older values by column}}, to take the merge back
    moved: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class ReceivedMessage(Base):
    """A message of another system, and what it was answered.

    The content of a message that was refused is kept encrypted, so that a person can look at it.
    """

    __tablename__ = "received_messages"
    __table_args__ = (
        vocabulary_check("origin", Origin),
        vocabulary_check("outcome", MessageOutcome),
        # The same message again gets the same answer.
        UniqueConstraint("origin", "sender", "control_id", "digest"),
        # The list of messages, of all and by outcome.
        Index("ix_received_messages_received_at", "received_at", "id"),
        Index("ix_received_messages_outcome", "outcome", "received_at", "id"),
        # The same of one site.
        Index(
            "ix_received_messages_site_id",
            "site_id",
            "received_at",
            "id",
            postgresql_where=text("site_id IS NOT NULL"),
        ),
        Index(
            "ix_received_messages_site_id_outcome",
            "site_id",
            "outcome",
            "received_at",
            "id",
            postgresql_where=text("site_id IS NOT NULL"),
        ),
        # What a person has not looked at yet.
        Index(
            "ix_received_messages_open",
            "received_at",
            postgresql_where=text("outcome = 'REFUSED' AND settled_at IS NULL"),
        ),
        # Whether a sender has any of these.
        Index(
            "ix_received_messages_open_sender",
            "origin",
            "sender",
            postgresql_where=text("outcome = 'REFUSED' AND settled_at IS NULL"),
        ),
        # What the sweep removes when it is old.
        Index(
            "ix_received_messages_content",
            "received_at",
            postgresql_where=text("content IS NOT NULL"),
        ),
        Index(
            "ix_received_messages_without_effect",
            "received_at",
            postgresql_where=text("outcome IN ('IGNORED', 'TEST')"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    received_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    origin: Mapped[str]
    sender: Mapped[str]
    # Whose people see it; NULL where the sender's site is not known.
    site_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("sites.id"))
    control_id: Mapped[str]  # MSH-10, or what FHIR and REST have in its place
    message_type: Mapped[str]  # ORM^O01
    processing_id: Mapped[str]  # MSH-11
    digest: Mapped[str]  # SHA-256 of its bytes
    outcome: Mapped[str]
    answer_code: Mapped[str]  # AA, AE, AR, CA, CE, CR, or an HTTP status
    error_code: Mapped[str]  # HL7 table 0357; "" where there is no error
    sentence: Mapped[str]  # why it was refused, for a person, without a patient's data
    location: Mapped[str]  # the field at fault, as PID-3
    content: Mapped[bytes | None] = mapped_column(LargeBinary)  # encrypted
    repeats: Mapped[int] = mapped_column(server_default=text("0"))
    settled_at: Mapped[dt.datetime | None]
    settled_by: Mapped[str] = mapped_column(server_default="")


class StudyQuery(Base):
    """A question to another system about a study, which an `intake` process asks."""

    __tablename__ = "study_queries"
    __table_args__ = (
        vocabulary_check("kind", QueryKind),
        vocabulary_check("state", QueryState),
        UniqueConstraint("study_id", "kind"),
        Index(
            "ix_study_queries_waiting",
            "kind",
            "not_before",
            "id",
            postgresql_where=text("state = 'WAITING'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=QueryState.WAITING)
    not_before: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str] = mapped_column(server_default="")  # of the last attempt
    answers: Mapped[int | None]  # how many answers came
    asked_at: Mapped[dt.datetime | None]  # when it was claimed last
    wait_until: Mapped[dt.datetime | None]  # so long the study waits for the answer
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
