"""The tables of bundles: which are known, which are stopped, and what sites agreed on."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, vocabulary_check
from records.states import ProposalState, SiteMode


class Bundle(Base):
    """A bundle that drafted here, or with which a worker started."""

    __tablename__ = "bundles"

    digest: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[str]
    # What its manifest says of it, without its files; NULL where only its drafts are known.
    manifest: Mapped[dict[str, Any] | None]
    card: Mapped[str] = mapped_column(server_default="")  # its model card, as Markdown
    first_seen_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    last_started_at: Mapped[dt.datetime | None]  # when a worker last started with it


class BundleStop(Base):
    """A person stopped a bundle: none of its drafts is shown until a person lifts the stop."""

    __tablename__ = "bundle_stops"
    __table_args__ = (
        CheckConstraint(r"stopped_by ~ '\S' AND reason ~ '\S'", name="has_person_and_reason"),
        CheckConstraint(
            r"(lifted_at IS NULL) = (lifted_by = '') AND (lifted_by = '' OR lift_reason ~ '\S')",
            name="lifted_with_reason",
        ),
        Index(
            "uq_bundle_stops_open",
            "bundle_digest",
            unique=True,
            postgresql_where=text("lifted_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    bundle_digest: Mapped[str] = mapped_column(ForeignKey("bundles.digest"), index=True)
    stopped_by: Mapped[str]
    stopped_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    reason: Mapped[str]
    lifted_by: Mapped[str] = mapped_column(server_default="")
    lifted_at: Mapped[dt.datetime | None]
    lift_reason: Mapped[str] = mapped_column(server_default="")


class ModeProposal(Base):
    """One person proposes a mode and a bundle for a site; another one consents or refuses."""

    __tablename__ = "mode_proposals"
    __table_args__ = (
        vocabulary_check("mode", SiteMode),
        vocabulary_check("state", ProposalState),
        CheckConstraint(r"proposed_by ~ '\S' AND reason ~ '\S'", name="has_person_and_reason"),
        CheckConstraint(
            "(state = 'OPEN') = (decided_at IS NULL) AND (state = 'OPEN') = (decided_by = '')",
            name="decided_by_somebody",
        ),
        CheckConstraint(
            "decider_id IS NULL OR decider_id <> proposer_id", name="decided_by_another"
        ),
        Index(
            "uq_mode_proposals_open",
            "site_id",
            unique=True,
            postgresql_where=text("state = 'OPEN'"),
        ),
        Index(
            "ix_mode_proposals_in_force",
            "site_id",
            "bundle_digest",
            postgresql_where=text("state = 'IN_FORCE' AND mode = 'CLINICAL'"),
        ),
        Index("ix_mode_proposals_site_id", "site_id", "proposed_at"),
    )

    id: Mapped[uuid.UUID] = id_column()
    site_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sites.id"))
    mode: Mapped[str]
    bundle_digest: Mapped[str] = mapped_column(ForeignKey("bundles.digest"))
    reason: Mapped[str]
    # records.bundles.acceptance.Acceptance, as it was when it was proposed
    acceptance: Mapped[dict[str, Any]]
    proposer_id: Mapped[str]  # our id of the account
    proposed_by: Mapped[str]
    proposed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    state: Mapped[str] = mapped_column(server_default=ProposalState.OPEN)
    decider_id: Mapped[str | None]
    decided_by: Mapped[str] = mapped_column(server_default="")
    decided_at: Mapped[dt.datetime | None]
    note: Mapped[str] = mapped_column(server_default="")
