"""Rejection notes, and films that they reject.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _change_check(table: str, constraint: str, condition: str) -> None:
    """Replace a CHECK; the rows are looked at under a lock that lets everybody work on."""
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK ({condition}) NOT VALID")
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}")


def upgrade() -> None:
    _change_check(
        "instances",
        "ck_instances_state_known",
        "state IN ('KEPT', 'SKIPPED', 'CONFLICT', 'MISMATCH', 'REJECTED')",
    )
    _change_check(
        "holds",
        "ck_holds_reason_known",
        "reason IN ('PATIENT_MISMATCH', 'CONFLICTING_BYTES', 'CHEST_UNKNOWN', 'VIEW_UNKNOWN',"
        " 'AGE_UNKNOWN', 'REJECTION_UNCLEAR', 'SIGNED_REJECTED')",
    )
    op.create_table(
        "rejections",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("note_sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("patient", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("calling_ae", sa.Text(), nullable=False),
        sa.Column(
            "noted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "reason IN ('113001', '113037', '113038', '113039')",
            name=op.f("ck_rejections_reason_known"),
        ),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (ended_by = '')", name=op.f("ck_rejections_ended_whole")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejections")),
        sa.UniqueConstraint(
            "study_instance_uid",
            "sop_instance_uid",
            "note_sop_instance_uid",
            name=op.f("uq_rejections_study_instance_uid"),
        ),
    )


def downgrade() -> None:
    # What is not known before this revision becomes what comes nearest to it and is not drafted.
    op.execute("UPDATE instances SET state = 'SKIPPED' WHERE state = 'REJECTED'")
    op.execute(
        "UPDATE holds SET reason = 'CONFLICTING_BYTES'"
        " WHERE reason IN ('REJECTION_UNCLEAR', 'SIGNED_REJECTED')"
    )
    op.drop_table("rejections")
    _change_check(
        "instances",
        "ck_instances_state_known",
        "state IN ('KEPT', 'SKIPPED', 'CONFLICT', 'MISMATCH')",
    )
    _change_check(
        "holds",
        "ck_holds_reason_known",
        "reason IN ('PATIENT_MISMATCH', 'CONFLICTING_BYTES', 'CHEST_UNKNOWN', 'VIEW_UNKNOWN',"
        " 'AGE_UNKNOWN')",
    )
