"""The first tables.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# What the model wrote and what happened stay as they were written. Only one thing of a draft ever
# changes: that a newer one stands in its place.
WRITTEN_ONCE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are written once', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE FUNCTION refuse_draft_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(NEW) - 'superseded_at') IS DISTINCT FROM (to_jsonb(OLD) - 'superseded_at') THEN
        RAISE EXCEPTION 'a draft is written once'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER drafts_written_once BEFORE UPDATE ON drafts
    FOR EACH ROW EXECUTE FUNCTION refuse_draft_change();
CREATE TRIGGER drafts_kept BEFORE DELETE ON drafts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_written_once BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column(
            "opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
    )
    op.create_index(
        "uq_alarms_open",
        "alarms",
        ["part"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "heartbeats",
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "facts",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("part", "owner", name=op.f("pk_heartbeats")),
    )
    op.create_index(op.f("ix_heartbeats_seen_at"), "heartbeats", ["seen_at"], unique=False)
    op.create_table(
        "refusals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("calling_ae", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusals")),
    )
    op.create_index(op.f("ix_refusals_at"), "refusals", ["at"], unique=False)
    op.create_table(
        "studies",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_id_issuer", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("patient_birth_date", sa.Text(), nullable=False),
        sa.Column("patient_sex", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("study_date", sa.Text(), nullable=False),
        sa.Column("study_description", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="RECEIVING", nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("calling_ae", sa.Text(), nullable=False),
        sa.Column("expected_instances", sa.Integer(), nullable=True),
        sa.Column(
            "first_received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "last_received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("released", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "state IN ('RECEIVING', 'COMPLETE')", name=op.f("ck_studies_state_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("study_instance_uid", name=op.f("uq_studies_study_instance_uid")),
    )
    op.create_index(
        op.f("ix_studies_accession_number"), "studies", ["accession_number"], unique=False
    )
    op.create_index(
        "ix_studies_first_received_at", "studies", ["first_received_at", "id"], unique=False
    )
    op.create_index(
        "ix_studies_receiving",
        "studies",
        ["last_received_at"],
        unique=False,
        postgresql_where=sa.text("state = 'RECEIVING'"),
    )
    op.create_index(op.f("ix_studies_request_id"), "studies", ["request_id"], unique=False)
    op.create_table(
        "draft_requests",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("bundle", sa.Text(), nullable=True),
        sa.Column("purpose", sa.Text(), server_default="PRIMARY", nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), server_default="WAITING", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("suspect", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("claims", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_alone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("prepared_blob", sa.Text(), nullable=True),
        sa.Column("inputs_digest", sa.Text(), nullable=True),
        sa.Column("preprocessing_digest", sa.Text(), nullable=True),
        sa.Column(
            "provenance",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("draft_id", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "lease_owner IS NULL OR state IN ('WAITING', 'PREPARED')",
            name=op.f("ck_draft_requests_ended_has_no_lease"),
        ),
        sa.CheckConstraint(
            "purpose IN ('PRIMARY', 'COMPARISON')", name=op.f("ck_draft_requests_purpose_known")
        ),
        sa.CheckConstraint(
            "state IN ('WAITING', 'PREPARED', 'DRAFTED', 'SKIPPED', 'FAILED', 'SUPERSEDED', 'CANCELLED')",
            name=op.f("ck_draft_requests_state_known"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('SKIPPED', 'FAILED', 'SUPERSEDED', 'CANCELLED') OR reason <> ''",
            name=op.f("ck_draft_requests_end_has_reason"),
        ),
        sa.CheckConstraint(
            "(lease_owner IS NULL) = (lease_expires_at IS NULL)",
            name=op.f("ck_draft_requests_lease_is_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_draft_requests_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draft_requests")),
    )
    op.create_index(
        "ix_draft_requests_claimable",
        "draft_requests",
        ["state", "priority", "due_at", "created_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('WAITING', 'PREPARED') AND lease_owner IS NULL"),
    )
    op.create_index(
        "ix_draft_requests_leased",
        "draft_requests",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("lease_owner IS NOT NULL"),
    )
    op.create_index("ix_draft_requests_state", "draft_requests", ["state"], unique=False)
    op.create_index(
        op.f("ix_draft_requests_study_id"), "draft_requests", ["study_id"], unique=False
    )
    op.create_index(
        "uq_draft_requests_open_primary",
        "draft_requests",
        ["study_id"],
        unique=True,
        postgresql_where=sa.text("purpose = 'PRIMARY' AND state IN ('WAITING', 'PREPARED')"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_events_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_study_id"), "events", ["study_id"], unique=False)
    op.create_table(
        "holds",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column(
            "opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "decision IS NULL OR decision IN ('PROCEED', 'CANCEL')",
            name=op.f("ck_holds_decision_known"),
        ),
        sa.CheckConstraint(
            "reason IN ('PATIENT_MISMATCH', 'CONFLICTING_BYTES', 'CHEST_UNKNOWN', 'VIEW_UNKNOWN', 'AGE_UNKNOWN')",
            name=op.f("ck_holds_reason_known"),
        ),
        sa.CheckConstraint(
            "(decision IS NULL) = (decided_at IS NULL)", name=op.f("ck_holds_decided_whole")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_holds_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index(op.f("ix_holds_study_id"), "holds", ["study_id"], unique=False)
    op.create_index(
        "uq_holds_open",
        "holds",
        ["study_id", "reason"],
        unique=True,
        postgresql_where=sa.text("decision IS NULL"),
    )
    op.create_table(
        "series",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_series_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("study_id", "series_instance_uid", name=op.f("uq_series_study_id")),
    )
    op.create_table(
        "drafts",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="UNREVIEWED", nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("impression", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("bundle_digest", sa.Text(), nullable=False),
        sa.Column("settings_digest", sa.Text(), nullable=False),
        sa.Column("inputs_digest", sa.Text(), nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("indication", sa.Text(), nullable=False),
        sa.Column("indication_source", sa.Text(), nullable=False),
        sa.Column("views", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("left_out", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("notes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("timings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("tokens", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("token_logprobs", sa.ARRAY(sa.REAL()), nullable=False),
        sa.Column("cut", sa.Boolean(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("dtype", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "purpose IN ('PRIMARY', 'COMPARISON')", name=op.f("ck_drafts_purpose_known")
        ),
        sa.CheckConstraint(
            "starts_with(text, 'AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED')",
            name=op.f("ck_drafts_begins_with_warning"),
        ),
        sa.CheckConstraint("status = 'UNREVIEWED'", name=op.f("ck_drafts_never_final")),
        sa.ForeignKeyConstraint(
            ["request_id"], ["draft_requests.id"], name=op.f("fk_drafts_request_id_draft_requests")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_drafts_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drafts")),
        sa.UniqueConstraint(
            "study_id",
            "inputs_digest",
            "bundle_digest",
            "settings_digest",
            "purpose",
            name="uq_drafts_effect",
        ),
    )
    op.create_index(op.f("ix_drafts_created_at"), "drafts", ["created_at"], unique=False)
    op.create_index(
        "uq_drafts_current_primary",
        "drafts",
        ["study_id"],
        unique=True,
        postgresql_where=sa.text("purpose = 'PRIMARY' AND superseded_at IS NULL"),
    )
    op.create_table(
        "instances",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("series_id", sa.Uuid(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("calling_ae", sa.Text(), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('KEPT', 'SKIPPED', 'CONFLICT', 'MISMATCH')",
            name=op.f("ck_instances_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_instances_series_id_series")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_instances_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        sa.UniqueConstraint("blob", name=op.f("uq_instances_blob")),
        sa.UniqueConstraint(
            "sop_instance_uid",
            "sha256",
            "study_id",
            "state",
            name=op.f("uq_instances_sop_instance_uid"),
        ),
    )
    op.create_index(op.f("ix_instances_study_id"), "instances", ["study_id"], unique=False)
    op.create_index(
        "uq_instances_standing",
        "instances",
        ["sop_instance_uid"],
        unique=True,
        postgresql_where=sa.text("state IN ('KEPT', 'SKIPPED')"),
    )
    # Studies, requests and drafts point at each other, so these two come last.
    op.create_foreign_key(
        op.f("fk_studies_request_id_draft_requests"),
        "studies",
        "draft_requests",
        ["request_id"],
        ["id"],
    )
    op.create_foreign_key(
        op.f("fk_draft_requests_draft_id_drafts"),
        "draft_requests",
        "drafts",
        ["draft_id"],
        ["id"],
    )
    op.execute(WRITTEN_ONCE)


def downgrade() -> None:
    op.drop_constraint(op.f("fk_studies_request_id_draft_requests"), "studies")
    op.drop_constraint(op.f("fk_draft_requests_draft_id_drafts"), "draft_requests")
    for table in (
        "events",
        "drafts",
        "draft_requests",
        "holds",
        "instances",
        "series",
        "studies",
        "refusals",
        "heartbeats",
        "alarms",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_draft_change(); DROP FUNCTION refuse_change();")
