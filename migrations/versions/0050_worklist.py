"""Who reads which study, the saved views of readers, and a priority that a person chose.

Revision ID: 0050
Revises: 0049
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import migrations

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

# Rows are rewritten each minute while somebody reads: vacuum cleans them by their number.
STORAGE = """
ALTER TABLE study_locks SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000
);
"""


def _time(name: str, *, now: bool = False) -> sa.Column:
    default = sa.text("clock_timestamp()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=False)


def _key(table: str, column: str, other: str, **options: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, **options)


def upgrade() -> None:
    op.add_column("studies", sa.Column("chosen_priority", sa.SmallInteger(), nullable=True))
    op.create_table(
        "study_locks",
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _time("since", now=True),
        _time("expires_at"),
        _key("study_locks", "study_id", "studies", ondelete="CASCADE"),
        _key("study_locks", "account_id", "accounts"),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_study_locks")),
    )
    op.create_index("ix_study_locks_expires_at", "study_locks", ["expires_at"])
    op.execute(STORAGE)
    op.create_table(
        "worklist_views",
        sa.Column(
            "id",
            sa.Uuid(),
            server_default=sa.text(migrations.new_id(op.get_bind())),
            nullable=False,
        ),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _time("saved_at", now=True),
        sa.CheckConstraint(r"name ~ '\S'", name=op.f("ck_worklist_views_has_name")),
        _key("worklist_views", "account_id", "accounts"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worklist_views")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_worklist_views_account_id")),
    )
    op.create_index(
        "uq_worklist_views_default",
        "worklist_views",
        ["account_id"],
        unique=True,
        postgresql_where=sa.text("is_default"),
    )


def downgrade() -> None:
    op.drop_table("worklist_views")
    op.drop_table("study_locks")
    op.drop_column("studies", "chosen_priority")
