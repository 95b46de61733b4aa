"""The trail: who saw and did what, about which patients; seals of it, and what is sent outside.

Revision ID: 0037
Revises: 0036
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

_ACTIONS = (
    "'VIEW', 'EXPORT', 'CHANGE', 'LOGIN', 'LOGOUT', 'EMERGENCY', 'REFUSED', 'ACCOUNT', 'ROLE', "
    "'SETTING', 'TRAIL', 'ERASURE', 'REMOVAL', 'BACKUP'"
)
_KINDS = (
    "'DISK_FULL', 'WORKER_STOPPED', 'BUNDLE_UNUSABLE', 'PART_MISSING', 'PART_CRASHING', "
    "'STATION_WAITS', 'REDIS_DOWN', 'FILES_DAMAGED', 'FILES_UNREGISTERED', 'FILES_SET_ASIDE', "
    "'FILMS_UNLIKE', 'MESSAGES_FAIL', 'WORKLIST_AWAY', 'REPORT_SERVER_AWAY', 'MESSAGES_REFUSED', "
    "'PACS_AWAY', 'NIGHT_LATE'"
)
_NEW_KINDS = "'AUDIT_AWAY', 'TRAIL_UNSEALED'"
_ACTORS = "'ACCOUNT', 'PROGRAM', 'COMMAND', 'PART', 'NOBODY'"

_ACTOR = ("actor_kind", "actor_name", "actor_id", "actor_address")
_DONE = sa.text("actor_kind IS NOT NULL")

# A row's trigger is not asked about TRUNCATE.
KEPT = """
CREATE TRIGGER audit_entries_written_once BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_entries_kept BEFORE TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_seals_written_once BEFORE UPDATE OR DELETE ON audit_seals
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_seals_kept BEFORE TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_removed_rows_written_once BEFORE UPDATE OR DELETE ON audit_removed_rows
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_removed_rows_kept BEFORE TRUNCATE ON audit_removed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_kept BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_patients_written_once BEFORE UPDATE ON audit_patients
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_patients_kept BEFORE TRUNCATE ON audit_patients
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def _time(name: str) -> sa.Column:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text("clock_timestamp()"),
        nullable=False,
    )


def _text(name: str, *, default: str | None = None) -> sa.Column:
    return sa.Column(name, sa.Text(), server_default=default, nullable=False)


def _ids(name: str) -> sa.Column:
    return sa.Column(
        name, postgresql.ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False
    )


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _time("at"),
        _text("action"),
        _text("outcome", default="SUCCESS"),
        _text("actor_kind"),
        _text("actor_name"),
        _text("actor_id"),
        _text("actor_address"),
        _ids("study_ids"),
        _ids("patients"),
        _text("detail"),
        sa.CheckConstraint(f"action IN ({_ACTIONS})", name=op.f("ck_audit_entries_action_known")),
        sa.CheckConstraint(
            "outcome IN ('SUCCESS', 'REFUSED', 'FAILED')",
            name=op.f("ck_audit_entries_outcome_known"),
        ),
        sa.CheckConstraint(
            f"actor_kind IN ({_ACTORS})", name=op.f("ck_audit_entries_actor_kind_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_at", "audit_entries", ["at", "id"])
    op.create_index("ix_audit_entries_actor", "audit_entries", ["actor_name", "at", "id"])
    op.create_index(
        "ix_audit_entries_patients", "audit_entries", ["patients"], postgresql_using="gin"
    )
    op.create_table(
        "audit_patients",
        sa.Column("pseudonym", sa.Uuid(), nullable=False),
        _text("patient_id"),
        _text("issuer"),
        _time("first_at"),
        sa.PrimaryKeyConstraint("pseudonym", name=op.f("pk_audit_patients")),
    )
    op.create_index("ix_audit_patients_patient_id", "audit_patients", ["patient_id"])
    op.create_table(
        "audit_keys",
        sa.Column("number", sa.SmallInteger(), autoincrement=False, nullable=False),
        _text("key_id"),
        _time("first_used_at"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_keys")),
    )
    op.create_table(
        "audit_settings",
        _text("part"),
        sa.Column("digests", postgresql.JSONB(), nullable=False),
        _time("noted_at"),
        sa.PrimaryKeyConstraint("part", name=op.f("pk_audit_settings")),
    )
    op.create_table(
        "audit_seals",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        _time("at"),
        sa.Column("form", sa.SmallInteger(), nullable=False),
        _text("entry_ids"),
        _text("event_ids"),
        sa.Column("highest_entry_id", sa.BigInteger(), nullable=False),
        sa.Column("highest_event_id", sa.BigInteger(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        _text("digest"),
        _text("key_id"),
        _text("previous"),
        _text("seal"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_seals")),
    )
    op.create_table(
        "audit_gaps",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("first_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        _text("cluster"),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        _time("noticed_at"),
        sa.PrimaryKeyConstraint("source", "first_id", name=op.f("pk_audit_gaps")),
    )
    op.create_table(
        "audit_removed_rows",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), autoincrement=False, nullable=False),
        _text("digest"),
        _text("seal"),
        _time("removed_at"),
        sa.PrimaryKeyConstraint("source", "row_id", name=op.f("pk_audit_removed_rows")),
    )
    op.create_table(
        "audit_deliveries",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("sent_seal", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("away_since", sa.DateTime(timezone=True), nullable=True),
        _text("error", default=""),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_audit_deliveries")),
    )
    # Without a default, so that no row of a large table is rewritten.
    for column in _ACTOR:
        op.add_column("events", sa.Column(column, sa.Text(), nullable=True))
    op.create_index("ix_events_done_at", "events", ["at", "id"], postgresql_where=_DONE)
    op.create_index("ix_events_actor", "events", ["actor_name", "at", "id"], postgresql_where=_DONE)
    op.execute(KEPT)
    _replace_kinds(f"{_KINDS}, {_NEW_KINDS}")


def downgrade() -> None:
    op.execute(
        "DELETE FROM alarm_messages USING alarms"
        " WHERE alarms.kind IN ('AUDIT_AWAY', 'TRAIL_UNSEALED')"
        " AND alarm_messages.trouble_id = alarms.trouble_id"
        " AND NOT EXISTS (SELECT FROM alarms AS other WHERE other.trouble_id = alarms.trouble_id"
        " AND other.kind NOT IN ('AUDIT_AWAY', 'TRAIL_UNSEALED'))"
    )
    op.execute("DELETE FROM alarms WHERE kind IN ('AUDIT_AWAY', 'TRAIL_UNSEALED')")
    _replace_kinds(_KINDS)
    op.execute("DROP TRIGGER events_kept ON events")
    op.drop_index("ix_events_actor", "events")
    op.drop_index("ix_events_done_at", "events")
    for column in reversed(_ACTOR):
        op.drop_column("events", column)
    for table in (
        "audit_deliveries",
        "audit_removed_rows",
        "audit_gaps",
        "audit_seals",
        "audit_settings",
    ):
        op.drop_table(table)
    op.drop_table("audit_keys")
    op.drop_table("audit_patients")
    op.drop_table("audit_entries")


def _replace_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_alarms_kind_known"), "alarms")
    op.create_check_constraint(op.f("ck_alarms_kind_known"), "alarms", f"kind IN ({kinds})")
