"""Work is counted by quarters of an hour, and each night has a summary, which is sent.

Revision ID: 0033
Revises: 0032
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

_KINDS = (
    "'DISK_FULL', 'WORKER_STOPPED', 'BUNDLE_UNUSABLE', 'PART_MISSING', 'PART_CRASHING', "
    "'STATION_WAITS', 'REDIS_DOWN', 'FILES_DAMAGED', 'FILES_UNREGISTERED', 'FILES_SET_ASIDE', "
    "'FILMS_UNLIKE', 'MESSAGES_FAIL', 'WORKLIST_AWAY', 'REPORT_SERVER_AWAY', 'MESSAGES_REFUSED', "
    "'PACS_AWAY'"
)
_EVENTS = "'START', 'END'"
_WORK = "'PREPARED', 'DRAFTED', 'SKIPPED', 'FAILED'"

# A row for each event, so that no worker waits for another one; the sweep folds them. Events of
# other kinds do not fire the trigger.
_COUNT_WORK = """
CREATE FUNCTION count_work() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO work_count_parts (quarter, kind, reason, worker, number) VALUES (
        date_bin('15 minutes', NEW.at, '2000-01-01 00:00:00+00'),
        NEW.kind,
        CASE WHEN NEW.kind IN ('SKIPPED', 'FAILED') THEN coalesce(NEW.reason, '') ELSE '' END,
        coalesce(NEW.worker, ''),
        1
    );
    RETURN NULL;
END $$;

CREATE TRIGGER events_count_work AFTER INSERT ON events
    FOR EACH ROW WHEN (NEW.kind IN ('PREPARED', 'DRAFTED', 'SKIPPED', 'FAILED')) EXECUTE FUNCTION count_work();

ALTER TABLE work_count_parts SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false
);

CREATE TRIGGER night_summaries_written_once BEFORE UPDATE OR DELETE ON night_summaries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


def _constrain(table: str, column: str, values: str) -> None:
    name = op.f(f"ck_{table}_{column}_known")
    op.drop_constraint(name, table)
    op.create_check_constraint(name, table, f"{column} IN ({values})")


def _work_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("quarter", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "work_counts",
        *_work_columns(),
        sa.CheckConstraint(f"kind IN ({_WORK})", name=op.f("ck_work_counts_kind_known")),
        sa.PrimaryKeyConstraint("quarter", "kind", "reason", "worker", name=op.f("pk_work_counts")),
    )
    op.create_table(
        "work_count_parts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        *_work_columns(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_work_count_parts")),
    )
    op.create_table(
        "night_summaries",
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("begins_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column(
            "made_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("prepared", sa.BigInteger(), nullable=False),
        sa.Column("drafted", sa.BigInteger(), nullable=False),
        sa.Column("skipped", postgresql.JSONB(), nullable=False),
        sa.Column("failed", postgresql.JSONB(), nullable=False),
        sa.Column("held", postgresql.JSONB(), nullable=False),
        sa.Column("missing", postgresql.JSONB(), nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.Column("in_campaigns", sa.BigInteger(), nullable=False),
        sa.Column("workers", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("night", name=op.f("pk_night_summaries")),
    )
    op.execute(_COUNT_WORK)
    op.create_index(
        "ix_draft_requests_failed",
        "draft_requests",
        ["reason"],
        postgresql_where=sa.text("state = 'FAILED'"),
    )
    _constrain("alarms", "kind", f"{_KINDS}, 'NIGHT_LATE'")
    _constrain("alarm_messages", "event", f"{_EVENTS}, 'SUMMARY'")
    op.add_column("alarm_messages", sa.Column("night", sa.Date(), nullable=True))
    op.create_foreign_key(
        op.f("fk_alarm_messages_night_night_summaries"),
        "alarm_messages",
        "night_summaries",
        ["night"],
        ["night"],
    )
    op.alter_column("alarm_messages", "trouble_id", nullable=True)
    op.create_check_constraint(
        op.f("ck_alarm_messages_about_one"),
        "alarm_messages",
        "(trouble_id IS NULL) <> (night IS NULL)",
    )
    op.create_index(
        "uq_alarm_messages_night",
        "alarm_messages",
        ["night", "channel"],
        unique=True,
        postgresql_where=sa.text("night IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("DELETE FROM alarm_messages WHERE night IS NOT NULL")
    op.drop_index("uq_alarm_messages_night", table_name="alarm_messages")
    op.drop_constraint(op.f("ck_alarm_messages_about_one"), "alarm_messages")
    op.alter_column("alarm_messages", "trouble_id", nullable=False)
    op.drop_column("alarm_messages", "night")
    _constrain("alarm_messages", "event", _EVENTS)
    op.execute(
        "DELETE FROM alarm_messages USING alarms WHERE alarms.kind = 'NIGHT_LATE'"
        " AND alarm_messages.trouble_id = alarms.trouble_id"
        " AND NOT EXISTS (SELECT FROM alarms AS other WHERE other.trouble_id = alarms.trouble_id"
        " AND other.kind <> 'NIGHT_LATE')"
    )
    op.execute("DELETE FROM alarms WHERE kind = 'NIGHT_LATE'")
    _constrain("alarms", "kind", _KINDS)
    op.drop_index("ix_draft_requests_failed", table_name="draft_requests")
    op.execute("DROP TRIGGER events_count_work ON events")
    op.execute("DROP FUNCTION count_work()")
    for table in ("night_summaries", "work_count_parts", "work_counts"):
        op.drop_table(table)
