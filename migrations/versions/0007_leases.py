"""Leases are a table beside the requests, so a claim and a renewal rewrite no request.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


# Who worked when the tables were migrated keeps its lease until that runs out.
CARRY_OVER = """
INSERT INTO leases (request_id, study_id, stage, owner, alone, expires_at)
SELECT id, study_id, CASE state WHEN 'WAITING' THEN 'prepare' ELSE 'draft' END,
    lease_owner, lease_alone, lease_expires_at
FROM draft_requests WHERE lease_owner IS NOT NULL;
"""

CARRY_BACK = """
UPDATE draft_requests
SET lease_owner = leases.owner, lease_alone = leases.alone, lease_expires_at = leases.expires_at,
    claims = 1
FROM leases WHERE leases.request_id = draft_requests.id;
"""

# What a request was claimed for has ended when its state changes, whoever changes it.
END_WITH_STATE = """
CREATE FUNCTION end_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM leases WHERE request_id = NEW.id;
    RETURN NULL;
END $$;

CREATE TRIGGER draft_requests_end_lease AFTER UPDATE OF state ON draft_requests
    FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION end_lease();
"""

# A request is written twice on its way and gets longer by it: a page keeps room for the new row, so
# that it takes the place of the old one. Leases come and go: vacuum cleans them by their number,
# and does not stop claims to give the end of a small file back.
STORAGE = """
ALTER TABLE draft_requests SET (
    fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02
);
ALTER TABLE leases SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false
);
"""


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("claim", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("alone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "claimed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "renewed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("stage IN ('prepare', 'draft')", name=op.f("ck_leases_stage_known")),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["draft_requests.id"],
            name=op.f("fk_leases_request_id_draft_requests"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_leases")),
    )
    op.execute(CARRY_OVER)
    op.drop_index("ix_draft_requests_claimable", table_name="draft_requests")
    op.drop_index("ix_draft_requests_leased", table_name="draft_requests")
    for column in ("lease_owner", "lease_expires_at", "lease_alone", "claims"):
        op.drop_column("draft_requests", column)
    op.create_index(
        "ix_draft_requests_claimable",
        "draft_requests",
        ["state", "priority", "due_at", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('WAITING', 'PREPARED')"),
    )
    op.execute(END_WITH_STATE)
    op.execute(STORAGE)


def downgrade() -> None:
    op.execute("DROP TRIGGER draft_requests_end_lease ON draft_requests")
    op.execute("DROP FUNCTION end_lease()")
    op.execute(
        "ALTER TABLE draft_requests RESET (fillfactor, autovacuum_vacuum_scale_factor,"
        " autovacuum_analyze_scale_factor)"
    )
    op.drop_index("ix_draft_requests_claimable", table_name="draft_requests")
    op.add_column(
        "draft_requests",
        sa.Column("claims", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column("draft_requests", sa.Column("lease_owner", sa.Text(), nullable=True))
    op.add_column(
        "draft_requests", sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column(
        "draft_requests",
        sa.Column("lease_alone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    # Before the update: an index that is made after it in one transaction cannot be used by
    # transactions that are older.
    op.create_index(
        "ix_draft_requests_claimable",
        "draft_requests",
        ["state", "priority", "due_at", "created_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('WAITING', 'PREPARED') AND lease_owner IS NULL"),
    )
    op.create_index(
        "ix_draft_requests_leased",
        "draft_requests",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("lease_owner IS NOT NULL"),
    )
    op.execute(CARRY_BACK)
    op.create_check_constraint(
        op.f("ck_draft_requests_lease_is_whole"),
        "draft_requests",
        "(lease_owner IS NULL) = (lease_expires_at IS NULL)",
    )
    op.create_check_constraint(
        op.f("ck_draft_requests_ended_has_no_lease"),
        "draft_requests",
        "lease_owner IS NULL OR state IN ('WAITING', 'PREPARED')",
    )
    op.drop_table("leases")
