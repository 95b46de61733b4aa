"""Reports from elsewhere, the prior report of a draft, and how far a final is from a draft.

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import migrations

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_HOLD_REASONS = (
    "'PATIENT_MISMATCH', 'CONFLICTING_BYTES', 'MOVED_HERE', 'MOVED_AWAY', "
    "'CHEST_UNKNOWN', 'VIEW_UNKNOWN', 'AGE_UNKNOWN', 'SPECIES_UNKNOWN', "
    "'REJECTION_UNCLEAR', 'SIGNED_REJECTED', 'IMAGE_EMPTY', 'ORDER_MISMATCH'"
)


def upgrade() -> None:
    new_id = migrations.new_id(op.get_bind())
    op.create_table(
        "received_reports",
        sa.Column("id", sa.Uuid(), server_default=sa.text(new_id), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("placer_order_number", sa.Text(), nullable=False),
        sa.Column("filler_order_number", sa.Text(), nullable=False),
        sa.Column("accession_numbers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("accession_number_issuer", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_id_issuer", sa.Text(), nullable=False),
        sa.Column("other_patient_ids", postgresql.JSONB(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("patient_birth_date", sa.Text(), nullable=False),
        sa.Column("patient_sex", sa.Text(), nullable=False),
        sa.Column("procedure", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("body_region", sa.Text(), nullable=False),
        sa.Column("performed_on", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("impression", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("consent", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "origin IN ('HL7', 'FHIR', 'WORKLIST', 'DICOM', 'REST', 'FILE')",
            name=op.f("ck_received_reports_origin_known"),
        ),
        sa.CheckConstraint(
            "status IN ('PRELIMINARY', 'FINAL', 'CORRECTED', 'CANCELLED')",
            name=op.f("ck_received_reports_status_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_received_reports")),
    )
    op.create_index("ix_received_reports_received_at", "received_reports", ["received_at", "id"])
    op.create_index(
        "uq_received_reports_identity",
        "received_reports",
        ["identity"],
        unique=True,
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_table(
        "report_keys",
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id"],
            ["received_reports.id"],
            name=op.f("fk_report_keys_report_id_received_reports"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("report_id", "kind", "value", name=op.f("pk_report_keys")),
    )
    op.create_index("ix_report_keys_value", "report_keys", ["kind", "value"])
    op.create_table(
        "final_comparisons",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("draft_id", sa.Uuid(), nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("distances", postgresql.JSONB(), nullable=True),
        sa.Column("observations", postgresql.JSONB(), nullable=True),
        sa.ForeignKeyConstraint(
            ["draft_id"], ["drafts.id"], name=op.f("fk_final_comparisons_draft_id_drafts")
        ),
        sa.ForeignKeyConstraint(
            ["report_id"],
            ["received_reports.id"],
            name=op.f("fk_final_comparisons_report_id_received_reports"),
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_final_comparisons_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_final_comparisons")),
    )
    op.create_index(op.f("ix_final_comparisons_study_id"), "final_comparisons", ["study_id"])
    op.create_index(
        "uq_final_comparisons", "final_comparisons", ["draft_id", "report_id"], unique=True
    )
    op.create_index("ix_final_comparisons_report_id", "final_comparisons", ["report_id"])
    op.create_index(
        "ix_final_comparisons_waiting",
        "final_comparisons",
        ["id"],
        postgresql_where=sa.text("distances IS NULL"),
    )
    op.add_column("drafts", sa.Column("prior_report", postgresql.JSONB(), nullable=True))
    _replace_hold_reasons(f"{_HOLD_REASONS}, 'FINALS_DIFFER'")


def downgrade() -> None:
    # As in 0023: an open question stays one.
    op.execute(
        "UPDATE holds SET reason = 'SIGNED_REJECTED' WHERE reason = 'FINALS_DIFFER' AND NOT EXISTS"
        " (SELECT FROM holds other WHERE other.study_id = holds.study_id"
        " AND other.reason = 'SIGNED_REJECTED')"
    )
    op.execute("DELETE FROM holds WHERE reason = 'FINALS_DIFFER'")
    _replace_hold_reasons(_HOLD_REASONS)
    op.drop_table("final_comparisons")
    op.drop_table("report_keys")
    op.drop_table("received_reports")
    op.drop_column("drafts", "prior_report")


def _replace_hold_reasons(reasons: str) -> None:
    # NOT VALID: no reader or writer waits while all rows are checked; the next statement checks them.
    op.execute("ALTER TABLE holds DROP CONSTRAINT ck_holds_reason_known")
    op.execute(
        "ALTER TABLE holds ADD CONSTRAINT ck_holds_reason_known"
        f" CHECK (reason IN ({reasons})) NOT VALID"
    )
    op.execute("ALTER TABLE holds VALIDATE CONSTRAINT ck_holds_reason_known")
