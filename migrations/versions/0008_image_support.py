"""Drafts keep the image model's scores and what they say of each sentence; sites calibrate them.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KEPT = """
CREATE TRIGGER calibrations_written_once BEFORE UPDATE OR DELETE ON calibrations
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    # Nullable and without a default: no row is rewritten, and drafts that stand stay as written.
    op.add_column("drafts", sa.Column("finding_scores", postgresql.JSONB(), nullable=True))
    op.add_column("drafts", sa.Column("support", postgresql.JSONB(), nullable=True))
    op.create_table(
        "calibrations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("bundle_digest", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibrations")),
    )
    op.create_index("ix_calibrations_bundle_digest", "calibrations", ["bundle_digest", "id"])
    op.execute(KEPT)


def downgrade() -> None:
    op.drop_table("calibrations")
    op.drop_column("drafts", "support")
    op.drop_column("drafts", "finding_scores")
