"""An alarm has a kind, a cause and a remedy; it was a part and a sentence.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

KINDS = (
    "'DISK_FULL', 'WORKER_STOPPED', 'BUNDLE_UNUSABLE', 'PART_MISSING', 'PART_CRASHING', "
    "'STATION_WAITS', 'REDIS_DOWN', 'FILES_DAMAGED', 'FILES_UNREGISTERED', 'FILES_SET_ASIDE', "
    "'FILMS_UNLIKE'"
)

# What opened an alarm is known by its part. Only workers had others, under two forms of names.
FILL_KINDS = """
    UPDATE alarms SET kind =
    CASE WHEN part = 'listener' THEN 'DISK_FULL'
         WHEN part = 'films' THEN 'FILES_DAMAGED'
         WHEN part = 'orphans' THEN 'FILES_UNREGISTERED'
         WHEN part = 'lost+found' THEN 'FILES_SET_ASIDE'
         WHEN starts_with(part, 'images of ') THEN 'FILMS_UNLIKE'
         WHEN starts_with(part, 'station waits for ') THEN 'STATION_WAITS'
         WHEN starts_with(part, 'station ') THEN 'PART_CRASHING'
         ELSE 'WORKER_STOPPED' END
"""


def _rename(old: str, new: str) -> None:
    """Rename a column; PostgreSQL 18 also names the NOT NULL of a column after it."""
    op.alter_column("alarms", old, nullable=True)
    op.alter_column("alarms", old, new_column_name=new)
    op.alter_column("alarms", new, nullable=False)


def upgrade() -> None:
    _rename("sentence", "cause")
    op.add_column("alarms", sa.Column("kind", sa.Text(), nullable=True))
    op.execute(FILL_KINDS)
    op.alter_column("alarms", "kind", nullable=False)
    op.create_check_constraint(op.f("ck_alarms_kind_known"), "alarms", f"kind IN ({KINDS})")
    # The old sentences say what to do as well, so the remedy of an old alarm is empty.
    op.add_column("alarms", sa.Column("remedy", sa.Text(), server_default="", nullable=False))
    op.alter_column("alarms", "remedy", server_default=None)


def downgrade() -> None:
    op.execute("UPDATE alarms SET cause = btrim(cause || ' ' || remedy)")
    op.drop_column("alarms", "remedy")
    op.drop_constraint(op.f("ck_alarms_kind_known"), "alarms")
    op.drop_column("alarms", "kind")
    _rename("cause", "sentence")
