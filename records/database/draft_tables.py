"""The tables of draft requests, of the leases on them, of drafts, and of calibrations."""

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
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, vocabulary_check
from records.states import WARNING, Purpose, RequestState, Stage


class DraftRequest(Base):
    """A draft that is to be made of one revision of a study."""

    __tablename__ = "draft_requests"
    __table_args__ = (
        vocabulary_check("state", RequestState),
        vocabulary_check("purpose", Purpose),
        CheckConstraint(
            "state NOT IN ('SKIPPED', 'FAILED', 'SUPERSEDED', 'CANCELLED') OR reason <> ''",
            name="end_has_reason",
        ),
        # One open primary request a study: the newest revision's.
        Index(
            "uq_draft_requests_open_primary",
            "study_id",
            unique=True,
            postgresql_where=text("purpose = 'PRIMARY' AND state IN ('WAITING', 'PREPARED')"),
        ),
        # The order of claims: priority, due time, arrival. All requests of one transaction have one
        # created_at; the id puts them in order too, so that no claim sorts them. The bundle comes
        # first: a worker walks the requests for its own and those for any, and no others.
        Index(
            "ix_draft_requests_claimable",
            "state",
            "bundle",
            "priority",
            "due_at",
            "created_at",
            "id",
            postgresql_where=text("claimable"),
        ),
        # What the sweep wakes when its time has come.
        Index(
            "ix_draft_requests_not_before",
            "not_before",
            postgresql_where=text("not_before IS NOT NULL AND state IN ('WAITING', 'PREPARED')"),
        ),
        # The few whose prepared input is still needed.
        Index(
            "ix_draft_requests_prepared",
            "inputs_digest",
            postgresql_where=text("state = 'PREPARED'"),
        ),
        # The few that wait for an order.
        Index(
            "ix_draft_requests_waits_for_order",
            "not_before",
            postgresql_where=text("waits_for_order"),
        ),
        # The few that failed or were skipped among millions that did not, by their reasons.
        Index(
            "ix_draft_requests_retriable",
            "state",
            "reason",
            postgresql_where=text("state IN ('FAILED', 'SKIPPED')"),
        ),
        # Every request begins without one: those would only be entries that die.
        Index(
            "ix_draft_requests_draft_id", "draft_id", postgresql_where=text("draft_id IS NOT NULL")
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"), index=True)
    revision: Mapped[int]
    bundle: Mapped[str | None]  # a bundle's digest; NULL is whichever is served
    purpose: Mapped[str] = mapped_column(server_default=Purpose.PRIMARY)
    priority: Mapped[int] = mapped_column(SmallInteger)
    due_at: Mapped[dt.datetime | None]
    not_before: Mapped[dt.datetime | None]  # the sweep makes it NULL when it has passed
    # Whether `not_before` is there because the study has no order yet.
    waits_for_order: Mapped[bool] = mapped_column(server_default=false())
    # Whether it can be claimed: open, its study complete at this revision, no open hold, not_before
    # passed. Triggers keep it, whatever is written here. A lease is not a part of it.
    claimable: Mapped[bool] = mapped_column(server_default=text("false"))
    state: Mapped[str] = mapped_column(server_default=RequestState.WAITING)
    reason: Mapped[str] = mapped_column(server_default="")
    detail: Mapped[str] = mapped_column(server_default="")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    suspect: Mapped[bool] = mapped_column(server_default=text("false"))
    # What preparing stored for drafting.
    prepared_blob: Mapped[str | None]
    inputs_digest: Mapped[str | None]
    preprocessing_digest: Mapped[str | None]
    provenance: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    draft_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("drafts.id", use_alter=True))
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class LiveLease(Base):
    """Who works on a request now. The row goes when the work ends or the lease is taken back.

    A table of its own: a claim and a renewal rewrite no request, and there are never more rows than
    studies being worked on. So expiry reads them all, and no index moves when a lease is renewed.
    A transaction that locks a lease has locked its request before, except a renewal, which skips
    the leases that somebody else has locked. A trigger ends the lease with the request's state.
    """

    __tablename__ = "leases"
    __table_args__ = (vocabulary_check("stage", Stage),)

    request_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("draft_requests.id", ondelete="CASCADE"), primary_key=True
    )
    study_id: Mapped[uuid.UUID]  # the request's
    stage: Mapped[str]
    owner: Mapped[str]  # host:pid
    # Never given twice. Every write of a worker checks owner and claim (fencing).
    claim: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    alone: Mapped[bool] = mapped_column(server_default=text("false"))
    claimed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    renewed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[dt.datetime]


class Draft(Base):
    """What the model wrote, with all it was made from. Written once; a trigger refuses changes."""

    __tablename__ = "drafts"
    __table_args__ = (
        vocabulary_check("purpose", Purpose),
        CheckConstraint(f"starts_with(text, '{WARNING}')", name="begins_with_warning"),
        CheckConstraint("status = 'UNREVIEWED'", name="never_final"),
        # An effect happens once: a second bell finds the draft done.
        UniqueConstraint(
            "study_id",
            "inputs_digest",
            "bundle_digest",
            "settings_digest",
            "purpose",
            name="uq_drafts_effect",
        ),
        Index(
            "uq_drafts_current_primary",
            "study_id",
            unique=True,
            postgresql_where=text("purpose = 'PRIMARY' AND superseded_at IS NULL"),
        ),
        # All drafts of a bundle, as they were made: what is recalled.
        Index("ix_drafts_recalled", "bundle_digest", "id"),
        # The current drafts of a bundle: what a campaign drafts again.
        Index(
            "ix_drafts_bundle_digest",
            "bundle_digest",
            "id",
            postgresql_where=text("purpose = 'PRIMARY' AND superseded_at IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("draft_requests.id"), index=True)
    revision: Mapped[int]
    purpose: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="UNREVIEWED")
    text: Mapped[str]  # begins with WARNING
    findings: Mapped[str]
    impression: Mapped[str]
    model_name: Mapped[str]
    model_version: Mapped[str]
    bundle_digest: Mapped[str]
    settings_digest: Mapped[str]
    inputs_digest: Mapped[str]
    notice: Mapped[str]  # the bundle's notice ("knows drawn phantoms only")
    prompt: Mapped[str]
    indication: Mapped[str]
    indication_source: Mapped[str]
    # Every text that could have been the indication, best first, with where and when it came from
    # and whether it was taken (records.orders.indications.Candidate); NULL in drafts of earlier
    # versions.
    indications: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    views: Mapped[list[Any]]  # [{"sop_instance_uid", "position", "why"}]
    left_out: Mapped[list[Any]]  # [{"sop_instance_uid", "reason", "sentence"}]
    notes: Mapped[list[Any]]  # what a reader should know ("view position unknown")
    timings: Mapped[dict[str, Any]]  # seconds by stage
    tokens: Mapped[list[str]]
    token_logprobs: Mapped[list[float]]
    # [{"section", "text", "confidence", "least"}] of model.prompting.confidence; NULL where unknown
    sentences: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    # The prior report that the prompt holds, word for word: {"report_id", "text", "performed_on",
    # "accession_number", "procedure"}; NULL where the prompt holds none.
    prior_report: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # {observation: probability} of the finding head, and model.support.statements.Support; NULL
    # where the bundle has no finding head
    finding_scores: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    support: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    cut: Mapped[bool]  # the text reached the limit on new tokens
    device: Mapped[str]
    dtype: Mapped[str]
    # The present pace is read every few seconds.
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), index=True)
    superseded_at: Mapped[dt.datetime | None]


class Calibration(Base):
    """Thresholds for a bundle's finding scores, made from this site's signed reports.

    The newest one of a bundle is in use. Written once; a trigger refuses changes.
    """

    __tablename__ = "calibrations"
    __table_args__ = (Index("ix_calibrations_bundle_digest", "bundle_digest", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    bundle_digest: Mapped[str]
    content: Mapped[dict[str, Any]]  # model.support.calibration.Calibration
    made_by: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
