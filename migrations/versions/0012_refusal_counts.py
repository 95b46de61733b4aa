"""Equal refusals of one caller and hour are one row with a count.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The rows that are there have no hour, so that the unique index leaves them as they are.
    op.add_column("refusals", sa.Column("address", sa.Text(), server_default="", nullable=False))
    op.add_column("refusals", sa.Column("hour", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "refusals", sa.Column("count", sa.BigInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.create_index(
        "uq_refusals_counted",
        "refusals",
        ["hour", "address", "calling_ae", "reason", "sop_class_uid"],
        unique=True,
    )


def downgrade() -> None:
    op.drop_index("uq_refusals_counted", table_name="refusals")
    for column in ("count", "hour", "address"):
        op.drop_column("refusals", column)
