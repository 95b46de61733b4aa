"""The tables of reports that other systems made, and of their distance from our drafts.

One report has two uses: it is the final report of its own study, and a prior report of later
studies of the patient.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, false, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, vocabulary_check
from records.database.site_tables import DEFAULT_SITE_ID
from records.states import Origin, ReportStatus


class ReceivedReport(Base):
    """A report from elsewhere as it is now; an older version is a row that is superseded."""

    __tablename__ = "received_reports"
    __table_args__ = (
        vocabulary_check("origin", Origin),
        vocabulary_check("status", ReportStatus),
        # The newest version of each.
        Index(
            "uq_received_reports_identity",
            "identity",
            unique=True,
            postgresql_where=text("superseded_at IS NULL"),
        ),
        # All versions of each.
        Index("ix_received_reports_versions", "identity"),
        # The list of reports, of all, by status and by interface.
        Index("ix_received_reports_received_at", "received_at", "id"),
        Index(
            "ix_received_reports_status",
            "status",
            "received_at",
            "id",
            postgresql_where=text("superseded_at IS NULL"),
        ),
        Index(
            "ix_received_reports_origin",
            "origin",
            "received_at",
            "id",
            postgresql_where=text("superseded_at IS NULL"),
        ),
        # The same of one site.
        Index(
            "ix_received_reports_site_id",
            "site_id",
            "received_at",
            "id",
            postgresql_where=text("superseded_at IS NULL"),
        ),
        Index(
            "ix_received_reports_site_id_status",
            "site_id",
            "status",
            "received_at",
            "id",
            postgresql_where=text("superseded_at IS NULL"),
        ),
        Index(
            "ix_received_reports_site_id_origin",
            "site_id",
            "origin",
            "received_at",
            "id",
            postgresql_where=text("superseded_at IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    # What makes two messages be about the same report; `records.reports.report.OutsideReport`.
    identity: Mapped[str]
    origin: Mapped[str]
    sender: Mapped[str]
    # Whose people see it.
    site_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sites.id"), server_default=text(f"'{DEFAULT_SITE_ID}'::uuid")
    )
    status: Mapped[str]
    placer_order_number: Mapped[str]
    filler_order_number: Mapped[str]
    accession_numbers: Mapped[list[str]]
    accession_number_issuer: Mapped[str]
    study_instance_uid: Mapped[str]
    patient_id: Mapped[str]
    patient_id_issuer: Mapped[str]
    other_patient_ids: Mapped[list[Any]]  # [{"id", "issuer"}]
    patient_name: Mapped[str]
    patient_birth_date: Mapped[str]
    patient_sex: Mapped[str]
    procedure: Mapped[str]
    modality: Mapped[str]  # (0008,0060), "" where it is not known
    body_region: Mapped[str]  # CHEST, or another region; "" where it is not known
    # When the examination was performed: YYYYMMDD or YYYYMMDDHHMMSS, perhaps with a time zone as
    # +HHMM; "" where it is not known.
    performed_on: Mapped[str]
    findings: Mapped[str]
    impression: Mapped[str]
    # [{"identity", "text", "author", "sent_at"}]: what was added to it by other documents
    addenda: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))
    # The identity of the report that it is an addendum to, while that one is not known; else "".
    addendum_to: Mapped[str] = mapped_column(server_default="")
    text: Mapped[str]  # the whole report as it was sent, and its addenda
    author: Mapped[str]  # who answers for it, as sent; "" where it is not known
    consent: Mapped[bool] = mapped_column(server_default=false())  # to train on it
    sent_at: Mapped[dt.datetime | None]  # by the sender's clock
    received_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    superseded_at: Mapped[dt.datetime | None]
    message_id: Mapped[uuid.UUID | None]  # of received_messages

    @property
    def is_addendum(self) -> bool:
        """Whether it is an addendum to a report that is not known, and so stands alone."""
        return bool(self.addendum_to)


class ReportKey(Base):
    """One thing by which a report is found; as `OrderKey`."""

    __tablename__ = "report_keys"
    __table_args__ = (Index("ix_report_keys_value", "kind", "value"),)

    report_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("received_reports.id", ondelete="CASCADE"), primary_key=True
    )
    # ACCESSION, STUDY, PATIENT, ORDER; ADDENDUM (an identity that it holds), PARENT
    kind: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)


class FinalComparison(Base):
    """How far a final report from elsewhere is from the draft that we made of its study."""

    __tablename__ = "final_comparisons"
    __table_args__ = (
        Index("uq_final_comparisons", "draft_id", "report_id", unique=True),
        Index("ix_final_comparisons_report_id", "report_id"),
        # What a worker is to compare.
        Index(
            "ix_final_comparisons_waiting",
            "id",
            postgresql_where=text("distances IS NULL"),
        ),
        # Of several finals one counts for a draft.
        Index(
            "uq_final_comparisons_counted",
            "draft_id",
            unique=True,
            postgresql_where=text("counted IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"), index=True)
    draft_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("drafts.id"))
    report_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("received_reports.id"))
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    # {"findings", "impression"}: [characters to change, characters of the longer text], or
    # {"error"}; NULL until a worker has compared them.
    distances: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # What of it stands in the table of the model's errors: {"campaign", "site", "said", "missed"}.
    counted: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # {observation: [draft, report]}: what each text says of the 14 observations
    observations: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
