"""Drafts keep how sure the model was of each sentence's words.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable and without a default: no row is rewritten, and drafts that stand stay as written.
    # The lock timeout is that of every migration (env.py); the trigger of 0001 covers all columns.
    op.add_column("drafts", sa.Column("sentences", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("drafts", "sentences")
