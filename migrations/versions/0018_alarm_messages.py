"""Alarms belong to troubles, and messages say when a trouble began and ended.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

KINDS = (
    "'DISK_FULL', 'WORKER_STOPPED', 'BUNDLE_UNUSABLE', 'PART_MISSING', 'PART_CRASHING', "
    "'STATION_WAITS', 'REDIS_DOWN', 'FILES_DAMAGED', 'FILES_UNREGISTERED', 'FILES_SET_ASIDE', "
    "'FILMS_UNLIKE'"
)


def _kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_alarms_kind_known"), "alarms")
    op.create_check_constraint(op.f("ck_alarms_kind_known"), "alarms", f"kind IN ({kinds})")


def _time(name: str, *, default: bool = False, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text("now()") if default else None,
        nullable=nullable,
    )


def upgrade() -> None:
    op.create_table(
        "troubles",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _time("began_at"),
        _time("ended_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_troubles")),
    )
    op.create_index(
        "ix_troubles_not_ended", "troubles", ["id"], postgresql_where=sa.text("ended_at IS NULL")
    )
    op.create_table(
        "alarm_messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("trouble_id", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        _time("created_at", default=True),
        _time("due_at", default=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        _time("sent_at", nullable=True),
        _time("given_up_at", nullable=True),
        sa.CheckConstraint("event IN ('START', 'END')", name=op.f("ck_alarm_messages_event_known")),
        sa.CheckConstraint(
            "channel IN ('WEBHOOK', 'EMAIL')", name=op.f("ck_alarm_messages_channel_known")
        ),
        sa.ForeignKeyConstraint(
            ["trouble_id"], ["troubles.id"], name=op.f("fk_alarm_messages_trouble_id_troubles")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_messages")),
    )
    op.create_index(
        "uq_alarm_messages_once",
        "alarm_messages",
        ["trouble_id", "channel", "event"],
        unique=True,
    )
    op.create_index(
        "ix_alarm_messages_due",
        "alarm_messages",
        ["due_at"],
        postgresql_where=sa.text("sent_at IS NULL AND given_up_at IS NULL"),
    )
    op.add_column("alarms", sa.Column("trouble_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_alarms_trouble_id_troubles"), "alarms", "troubles", ["trouble_id"], ["id"]
    )
    op.create_index(
        "ix_alarms_trouble_id",
        "alarms",
        ["trouble_id"],
        postgresql_where=sa.text("trouble_id IS NOT NULL"),
    )
    _kinds(f"{KINDS}, 'MESSAGES_FAIL'")


def downgrade() -> None:
    op.execute("DELETE FROM alarms WHERE kind = 'MESSAGES_FAIL'")
    _kinds(KINDS)
    op.drop_index("ix_alarms_trouble_id", table_name="alarms")
    op.drop_constraint(op.f("fk_alarms_trouble_id_troubles"), "alarms")
    op.drop_column("alarms", "trouble_id")
    op.drop_table("alarm_messages")
    op.drop_table("troubles")
