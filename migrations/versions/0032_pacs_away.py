"""An alarm where a PACS that campaigns fetch from cannot be asked.

Revision ID: 0032
Revises: 0031
"""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

_KINDS = (
    "'DISK_FULL', 'WORKER_STOPPED', 'BUNDLE_UNUSABLE', 'PART_MISSING', 'PART_CRASHING', "
    "'STATION_WAITS', 'REDIS_DOWN', 'FILES_DAMAGED', 'FILES_UNREGISTERED', 'FILES_SET_ASIDE', "
    "'FILMS_UNLIKE', 'MESSAGES_FAIL', 'WORKLIST_AWAY', 'REPORT_SERVER_AWAY', 'MESSAGES_REFUSED'"
)


def upgrade() -> None:
    _replace_kinds(f"{_KINDS}, 'PACS_AWAY'")


def downgrade() -> None:
    op.execute("DELETE FROM alarms WHERE kind = 'PACS_AWAY'")
    _replace_kinds(_KINDS)


def _replace_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_alarms_kind_known"), "alarms")
    op.create_check_constraint(op.f("ck_alarms_kind_known"), "alarms", f"kind IN ({kinds})")
