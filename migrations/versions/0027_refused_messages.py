"""An alarm where many messages of one sender are refused, and the index by which it closes.

Revision ID: 0027
Revises: 0026
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_KINDS = (
    "'DISK_FULL', 'WORKER_STOPPED', 'BUNDLE_UNUSABLE', 'PART_MISSING', 'PART_CRASHING', "
    "'STATION_WAITS', 'REDIS_DOWN', 'FILES_DAMAGED', 'FILES_UNREGISTERED', 'FILES_SET_ASIDE', "
    "'FILMS_UNLIKE', 'MESSAGES_FAIL', 'WORKLIST_AWAY', 'REPORT_SERVER_AWAY'"
)


def upgrade() -> None:
    _replace_kinds(f"{_KINDS}, 'MESSAGES_REFUSED'")
    op.create_index(
        "ix_received_messages_open_sender",
        "received_messages",
        ["origin", "sender"],
        postgresql_where=sa.text("outcome = 'REFUSED' AND settled_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_received_messages_open_sender", table_name="received_messages")
    op.execute("DELETE FROM alarms WHERE kind = 'MESSAGES_REFUSED'")
    _replace_kinds(_KINDS)


def _replace_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_alarms_kind_known"), "alarms")
    op.create_check_constraint(op.f("ck_alarms_kind_known"), "alarms", f"kind IN ({kinds})")
