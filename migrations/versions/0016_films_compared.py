"""Films are compared by their values; a person decides which of two films counts.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

STATES = "'KEPT', 'SKIPPED', 'CONFLICT', 'MISMATCH', "
REASONS = "'CHEST_UNKNOWN', 'VIEW_UNKNOWN', 'AGE_UNKNOWN', 'SPECIES_UNKNOWN', 'REJECTION_UNCLEAR', 'SIGNED_REJECTED', 'IMAGE_EMPTY'"


def _change_check(table: str, constraint: str, condition: str) -> None:
    """Replace a CHECK; the rows are looked at under a lock that lets everybody work on."""
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK ({condition}) NOT VALID")
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}")


def _standing_index(*columns: str) -> None:
    op.drop_index("uq_instances_standing", table_name="instances")
    op.create_index(
        "uq_instances_standing",
        "instances",
        list(columns),
        unique=True,
        postgresql_where=sa.text("state IN ('KEPT', 'SKIPPED')"),
    )


def upgrade() -> None:
    op.add_column(
        "instances", sa.Column("sent", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    )
    op.add_column(
        "instances",
        sa.Column("comparisons", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column("studies", sa.Column("split_from", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_studies_split_from_studies"), "studies", "studies", ["split_from"], ["id"]
    )
    op.create_index(
        "ix_studies_split",
        "studies",
        ["split_from"],
        postgresql_where=sa.text("split_from IS NOT NULL"),
    )
    # A person has decided about these; only those of open holds are still a question.
    op.execute(
        "UPDATE instances SET reason = 'A person decided to leave it aside.'"
        " WHERE state IN ('CONFLICT', 'MISMATCH') AND reason = '' AND NOT EXISTS"
        " (SELECT 1 FROM holds WHERE holds.study_id = instances.study_id AND decision IS NULL)"
    )
    _change_check(
        "instances",
        "ck_instances_state_known",
        f"state IN ({STATES}'UNCOMPARED', 'REPLACED', 'MOVED', 'REJECTED')",
    )
    _change_check(
        "holds",
        "ck_holds_reason_known",
        "reason IN ('PATIENT_MISMATCH', 'CONFLICTING_BYTES', 'MOVED_HERE', 'MOVED_AWAY', "
        f"{REASONS})",
    )
    _change_check(
        "holds",
        "ck_holds_decision_known",
        "decision IS NULL OR decision IN ('PROCEED', 'CANCEL', 'TAKE_NEW', 'KEEP_BOTH', 'SPLIT')",
    )
    op.create_index(
        "ix_holds_open",
        "holds",
        ["opened_at", "id"],
        postgresql_where=sa.text("decision IS NULL"),
    )
    op.create_index(
        "ix_instances_uncompared",
        "instances",
        ["received_at"],
        postgresql_where=sa.text("state = 'UNCOMPARED'"),
    )
    _standing_index("sop_instance_uid", "study_id")
    op.create_table(
        "study_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("calling_ae", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("old_value", sa.Text(), nullable=False),
        sa.Column("new_value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_changes_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_changes")),
    )
    op.create_index(op.f("ix_study_changes_study_id"), "study_changes", ["study_id"])


def downgrade() -> None:
    op.drop_table("study_changes")
    op.drop_index("ix_instances_uncompared", table_name="instances")
    op.drop_index("ix_holds_open", table_name="holds")
    # What is not known before this revision becomes what comes nearest to it and is not drafted.
    op.execute(
        "UPDATE holds SET decision = 'PROCEED' WHERE decision IN ('TAKE_NEW', 'KEEP_BOTH', 'SPLIT')"
    )
    op.execute(
        "UPDATE holds SET decision = 'PROCEED', decided_at = now(), decided_by = 'downgrade'"
        " WHERE reason IN ('MOVED_HERE', 'MOVED_AWAY') AND decision IS NULL"
    )
    op.execute(
        "UPDATE holds SET reason = 'CONFLICTING_BYTES' WHERE reason IN ('MOVED_HERE', 'MOVED_AWAY')"
    )
    op.execute(
        "UPDATE instances SET state = 'CONFLICT' WHERE id IN (SELECT id FROM (SELECT id,"
        " row_number() OVER (PARTITION BY sop_instance_uid ORDER BY received_at DESC) AS place"
        " FROM instances WHERE state IN ('KEPT', 'SKIPPED')) ranked WHERE place > 1)"
    )
    op.execute(
        "UPDATE instances SET state = 'REJECTED' WHERE state IN ('UNCOMPARED', 'REPLACED', 'MOVED')"
        " AND NOT EXISTS (SELECT 1 FROM instances other WHERE other.state = 'REJECTED'"
        " AND other.sop_instance_uid = instances.sop_instance_uid"
        " AND other.sha256 = instances.sha256 AND other.study_id = instances.study_id)"
    )
    _standing_index("sop_instance_uid")
    _change_check("instances", "ck_instances_state_known", f"state IN ({STATES}'REJECTED')")
    _change_check(
        "holds",
        "ck_holds_reason_known",
        f"reason IN ('PATIENT_MISMATCH', 'CONFLICTING_BYTES', {REASONS})",
    )
    _change_check(
        "holds", "ck_holds_decision_known", "decision IS NULL OR decision IN ('PROCEED', 'CANCEL')"
    )
    op.drop_index("ix_studies_split", table_name="studies")
    op.drop_constraint(op.f("fk_studies_split_from_studies"), "studies")
    op.drop_column("studies", "split_from")
    op.drop_column("instances", "comparisons")
    op.drop_column("instances", "sent")
