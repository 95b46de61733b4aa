"""Sites, accounts with their passwords, links and sessions, and tokens of programs.

Revision ID: 0038
Revises: 0037
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

import migrations

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

# As in migration 0021, and the site with it. A study keeps its site.
LIST_STUDY = """
CREATE OR REPLACE FUNCTION list_study(changed_study uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    listed worklist_entries;
    derived text;
    arrived timestamptz;
    urgency smallint;
    site uuid;
BEGIN
    SELECT * INTO listed FROM worklist_entries
    WHERE study_id = changed_study FOR NO KEY UPDATE;

    SELECT
        listed_state(studies.state, draft_requests.state, EXISTS (
            SELECT FROM holds WHERE holds.study_id = studies.id AND holds.decision IS NULL
        )),
        studies.first_received_at,
        studies.priority,
        studies.site_id
    INTO derived, arrived, urgency, site
    FROM studies LEFT JOIN draft_requests ON draft_requests.id = studies.request_id
    WHERE studies.id = changed_study;

    IF derived IS NULL THEN
        RETURN;  -- the study was deleted, and its entry with it
    ELSIF listed.study_id IS NULL THEN
        INSERT INTO worklist_entries (study_id, state, priority, arrived_at, site_id)
        VALUES (changed_study, derived, urgency, arrived, site);
    ELSIF listed.state <> derived OR listed.priority <> urgency THEN
        UPDATE worklist_entries SET state = derived, priority = urgency
        WHERE study_id = changed_study;
    END IF;
END $$;
"""

LIST_STUDY_BEFORE = """
CREATE OR REPLACE FUNCTION list_study(changed_study uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    listed worklist_entries;
    derived text;
    arrived timestamptz;
    urgency smallint;
BEGIN
    SELECT * INTO listed FROM worklist_entries
    WHERE study_id = changed_study FOR NO KEY UPDATE;

    SELECT
        listed_state(studies.state, draft_requests.state, EXISTS (
            SELECT FROM holds WHERE holds.study_id = studies.id AND holds.decision IS NULL
        )),
        studies.first_received_at,
        studies.priority
    INTO derived, arrived, urgency
    FROM studies LEFT JOIN draft_requests ON draft_requests.id = studies.request_id
    WHERE studies.id = changed_study;

    IF derived IS NULL THEN
        RETURN;  -- the study was deleted, and its entry with it
    ELSIF listed.study_id IS NULL THEN
        INSERT INTO worklist_entries (study_id, state, priority, arrived_at)
        VALUES (changed_study, derived, urgency, arrived);
    ELSIF listed.state <> derived OR listed.priority <> urgency THEN
        UPDATE worklist_entries SET state = derived, priority = urgency
        WHERE study_id = changed_study;
    END IF;
END $$;
"""

DEFAULT_SITE_ID = "00000000-0000-7000-8000-000000000001"


def _time(name: str, *, nullable: bool = True, default: bool = False) -> sa.Column:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text("clock_timestamp()") if default else None,
        nullable=nullable,
    )


def _foreign(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}_{to}"))


def _primary(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _unique(table: str, column: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(column, name=op.f(f"uq_{table}_{column}"))


def _text(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.Text(), nullable=nullable)


def upgrade() -> None:
    new_id = migrations.new_id(op.get_bind())

    def id_column() -> sa.Column:
        return sa.Column("id", sa.Uuid(), server_default=sa.text(new_id), nullable=False)

    sites = op.create_table(
        "sites",
        id_column(),
        _text("code"),
        _text("name"),
        _time("created_at", nullable=False, default=True),
        sa.CheckConstraint(
            "code ~ '^[a-z0-9][a-z0-9-]{0,31}$'", name=op.f("ck_sites_code_is_plain")
        ),
        _primary("sites", "id"),
        _unique("sites", "code"),
    )
    op.bulk_insert(
        sites, [{"id": uuid.UUID(DEFAULT_SITE_ID), "code": "default", "name": "The first site"}]
    )
    op.create_table(
        "site_callers",
        _text("calling_ae"),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        _primary("site_callers", "calling_ae"),
        _foreign("site_callers", "site_id", "sites"),
    )
    op.create_index("ix_site_callers_site_id", "site_callers", ["site_id"])
    # A constant default rewrites no row.
    op.add_column(
        "studies",
        sa.Column(
            "site_id",
            sa.Uuid(),
            server_default=sa.text(f"'{DEFAULT_SITE_ID}'::uuid"),
            nullable=False,
        ),
    )
    op.create_foreign_key(op.f("fk_studies_site_id_sites"), "studies", "sites", ["site_id"], ["id"])

    # The lists of the people of one site.
    op.create_index(
        "ix_studies_site_id", "studies", ["site_id", "priority", "first_received_at", "id"]
    )
    op.add_column(
        "worklist_entries",
        sa.Column(
            "site_id",
            sa.Uuid(),
            server_default=sa.text(f"'{DEFAULT_SITE_ID}'::uuid"),
            nullable=False,
        ),
    )
    op.alter_column("worklist_entries", "site_id", server_default=None)
    op.create_index(
        "ix_worklist_entries_site_id",
        "worklist_entries",
        ["site_id", "state", "priority", "arrived_at", "study_id"],
    )
    op.execute(LIST_STUDY)

    op.create_table(
        "accounts",
        id_column(),
        _text("login"),
        _text("name"),
        _text("role"),
        _time("created_at", nullable=False, default=True),
        _text("created_by"),
        _time("disabled_at"),
        _text("password_hash", nullable=True),
        _time("password_set_at"),
        sa.Column("totp_secret", sa.LargeBinary(), nullable=True),
        sa.Column("totp_step", sa.BigInteger(), nullable=True),
        sa.Column("totp_offered", sa.LargeBinary(), nullable=True),
        _time("logged_in_at"),
        sa.CheckConstraint(
            "role IN ('READER', 'TRAINEE', 'LEAD', 'ADMINISTRATOR', 'AUDITOR')",
            name=op.f("ck_accounts_role_known"),
        ),
        sa.CheckConstraint(
            "login ~ '^[a-z0-9._@+-]{1,64}$'", name=op.f("ck_accounts_login_is_plain")
        ),
        _primary("accounts", "id"),
        _unique("accounts", "login"),
    )
    op.create_table(
        "account_sites",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        _primary("account_sites", "account_id", "site_id"),
        _foreign("account_sites", "account_id", "accounts"),
        _foreign("account_sites", "site_id", "sites"),
    )
    op.create_index("ix_account_sites_site_id", "account_sites", ["site_id"])
    op.create_table(
        "recovery_codes",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        _text("code_hash"),
        _time("used_at"),
        _primary("recovery_codes", "account_id", "code_hash"),
        _foreign("recovery_codes", "account_id", "accounts"),
    )
    op.create_table(
        "account_links",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        _text("token_hash"),
        _time("created_at", nullable=False, default=True),
        _text("created_by"),
        _time("ends_at", nullable=False),
        _primary("account_links", "account_id"),
        _foreign("account_links", "account_id", "accounts"),
        _unique("account_links", "token_hash"),
    )
    op.create_table(
        "account_sessions",
        id_column(),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        _text("token_hash"),
        _time("created_at", nullable=False, default=True),
        _time("used_at", nullable=False, default=True),
        _time("proven_at", nullable=False, default=True),
        _text("address"),
        _primary("account_sessions", "id"),
        _foreign("account_sessions", "account_id", "accounts"),
        _unique("account_sessions", "token_hash"),
    )
    for column in ("account_id", "created_at"):
        op.create_index(f"ix_account_sessions_{column}", "account_sessions", [column])
    op.create_table(
        "account_devices",
        id_column(),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        _text("token_hash"),
        _time("used_at", nullable=False, default=True),
        _primary("account_devices", "id"),
        _foreign("account_devices", "account_id", "accounts"),
        _unique("account_devices", "token_hash"),
    )
    for column in ("account_id", "used_at"):
        op.create_index(f"ix_account_devices_{column}", "account_devices", [column])
    op.create_table(
        "login_failures",
        _text("key"),
        sa.Column("number", sa.Integer(), nullable=False),
        _time("last_at", nullable=False),
        _time("locked_until"),
        _primary("login_failures", "key"),
    )
    op.create_index("ix_login_failures_last_at", "login_failures", ["last_at"])
    op.create_table(
        "program_tokens",
        id_column(),
        _text("name"),
        _text("token_hash"),
        sa.Column("permissions", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=True),
        _time("created_at", nullable=False, default=True),
        _text("created_by"),
        _time("ends_at"),
        _time("used_at"),
        _time("revoked_at"),
        _primary("program_tokens", "id"),
        _foreign("program_tokens", "site_id", "sites"),
        _unique("program_tokens", "name"),
        _unique("program_tokens", "token_hash"),
    )
    op.create_index("ix_program_tokens_site_id", "program_tokens", ["site_id"])


def downgrade() -> None:
    for table in (
        "program_tokens",
        "login_failures",
        "account_devices",
        "account_sessions",
        "account_links",
        "recovery_codes",
        "account_sites",
        "accounts",
    ):
        op.drop_table(table)
    op.execute(LIST_STUDY_BEFORE)
    op.drop_index("ix_worklist_entries_site_id", table_name="worklist_entries")
    op.drop_column("worklist_entries", "site_id")
    op.drop_index("ix_studies_site_id", table_name="studies")
    op.drop_column("studies", "site_id")
    op.drop_table("site_callers")
    op.drop_table("sites")
