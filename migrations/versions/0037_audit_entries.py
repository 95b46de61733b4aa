"""The trail: who saw and did what, about which patients.

Revision ID: 0037
Revises: 0034
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0037"
down_revision = "0034"
branch_labels = None
depends_on = None

_ACTIONS = (
    "'VIEW', 'EXPORT', 'CHANGE', 'LOGIN', 'LOGOUT', 'EMERGENCY', 'REFUSED', 'ACCOUNT', 'ROLE', "
    "'SETTING', 'TRAIL', 'ERASURE', 'REMOVAL', 'BACKUP'"
)
_ACTORS = "'ACCOUNT', 'PROGRAM', 'COMMAND', 'PART', 'NOBODY'"

# A row's trigger is not asked about TRUNCATE.
KEPT = """
CREATE TRIGGER audit_entries_written_once BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_entries_kept BEFORE TRUNCATE ON audit_entries
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
    op.execute(KEPT)


def downgrade() -> None:
    op.drop_table("audit_keys")
    op.drop_table("audit_patients")
    op.drop_table("audit_entries")
