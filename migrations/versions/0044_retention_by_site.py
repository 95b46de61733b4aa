"""How long a site keeps things, where it differs from the settings; alarms about certificates.

Revision ID: 0044
Revises: 0043
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

_KINDS = (
    "'DISK_FULL', 'WORKER_STOPPED', 'BUNDLE_UNUSABLE', 'PART_MISSING', 'PART_CRASHING', "
    "'STATION_WAITS', 'REDIS_DOWN', 'FILES_DAMAGED', 'FILES_UNREGISTERED', 'FILES_SET_ASIDE', "
    "'FILMS_UNLIKE', 'MESSAGES_FAIL', 'WORKLIST_AWAY', 'REPORT_SERVER_AWAY', 'MESSAGES_REFUSED', "
    "'PACS_AWAY', 'NIGHT_LATE', 'AUDIT_AWAY', 'TRAIL_UNSEALED'"
)


def upgrade() -> None:
    op.create_table(
        "site_retention",
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("days", sa.Double(), nullable=False),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("days >= 0", name=op.f("ck_site_retention_days_known")),
        sa.CheckConstraint(
            "rule IN ('SIGNED', 'DRAFTED', 'UNDRAFTED', 'PREPARED')",
            name=op.f("ck_site_retention_rule_known"),
        ),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_site_retention_site_id_sites")
        ),
        sa.PrimaryKeyConstraint("site_id", "rule", name=op.f("pk_site_retention")),
    )
    _replace_kinds(f"{_KINDS}, 'CERTIFICATE_ENDS'")


def downgrade() -> None:
    op.execute(
        "DELETE FROM alarm_messages USING alarms"
        " WHERE alarms.kind = 'CERTIFICATE_ENDS' AND alarm_messages.trouble_id = alarms.trouble_id"
        " AND NOT EXISTS (SELECT FROM alarms AS other WHERE other.trouble_id = alarms.trouble_id"
        " AND other.kind <> 'CERTIFICATE_ENDS')"
    )
    op.execute("DELETE FROM alarms WHERE kind = 'CERTIFICATE_ENDS'")
    _replace_kinds(_KINDS)
    op.drop_table("site_retention")


def _replace_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_alarms_kind_known"), "alarms")
    op.create_check_constraint(op.f("ck_alarms_kind_known"), "alarms", f"kind IN ({kinds})")
