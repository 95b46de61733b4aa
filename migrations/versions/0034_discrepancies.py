"""Discrepancies of draft and final report, their second look, and comparisons of two drafts.

Revision ID: 0034
Revises: 0033
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import migrations

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

# Few of all rows are discrepancies, so a row's own trigger costs nobody else anything.
TALLY = """
CREATE FUNCTION tally_discrepancy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        IF TG_OP = 'UPDATE' AND (OLD.side, OLD.state) = (NEW.side, NEW.state) THEN
            RETURN NULL;
        END IF;
        INSERT INTO discrepancy_tallies (side, state, number) VALUES (OLD.side, OLD.state, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO discrepancy_tallies (side, state, number) VALUES (NEW.side, NEW.state, 1);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER discrepancies_tally AFTER INSERT OR DELETE OR UPDATE OF side, state ON discrepancies
    FOR EACH ROW EXECUTE FUNCTION tally_discrepancy();
"""


def _big_id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False)


def _time(name: str, *, nullable: bool = True, default: str | None = None) -> sa.Column:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text(default) if default else None,
        nullable=nullable,
    )


def _foreign(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}_{to}"))


def upgrade() -> None:
    new_id = migrations.new_id(op.get_bind())
    op.create_table(
        "discrepancies",
        sa.Column("id", sa.Uuid(), server_default=sa.text(new_id), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("draft_id", sa.Uuid(), nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("observation", sa.Text(), nullable=False),
        sa.Column("certainty", sa.REAL(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="UNCHECKED", nullable=False),
        sa.Column("mentioned_by", sa.Uuid(), nullable=True),
        _time("offered_until"),
        _time("found_at", nullable=False, default="clock_timestamp()"),
        _time("read_at"),
        sa.CheckConstraint(
            "side IN ('MISS_OF_REPORT', 'MISS_OF_MODEL')", name=op.f("ck_discrepancies_side_known")
        ),
        sa.CheckConstraint(
            "state IN ('UNCHECKED', 'OPEN', 'MENTIONED', 'WITHDRAWN', 'CONFIRMED', 'DENIED', 'UNCLEAR')",
            name=op.f("ck_discrepancies_state_known"),
        ),
        _foreign("discrepancies", "study_id", "studies"),
        _foreign("discrepancies", "draft_id", "drafts"),
        _foreign("discrepancies", "report_id", "received_reports"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_discrepancies")),
    )
    op.create_index(
        "uq_discrepancies_question",
        "discrepancies",
        ["study_id", "observation"],
        unique=True,
        postgresql_where=sa.text("side = 'MISS_OF_REPORT'"),
    )
    op.create_index(
        "uq_discrepancies_error",
        "discrepancies",
        ["draft_id", "observation"],
        unique=True,
        postgresql_where=sa.text("side = 'MISS_OF_MODEL'"),
    )
    for column in ("study_id", "draft_id", "report_id"):
        op.create_index(f"ix_discrepancies_{column}", "discrepancies", [column])
    op.create_index(
        "ix_discrepancies_ranked", "discrepancies", ["side", "state", "certainty", "id"]
    )
    op.create_index(
        "ix_discrepancies_unchecked",
        "discrepancies",
        ["id"],
        postgresql_where=sa.text("state = 'UNCHECKED'"),
    )
    op.create_index(
        "ix_discrepancies_read_at",
        "discrepancies",
        ["read_at"],
        postgresql_where=sa.text("read_at IS NOT NULL"),
    )
    op.create_table(
        "discrepancy_rechecks",
        _big_id(),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_discrepancy_rechecks")),
    )
    op.create_table(
        "discrepancy_tallies",
        _big_id(),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_discrepancy_tallies")),
    )
    op.execute(TALLY)
    op.create_table(
        "draft_comparisons",
        _big_id(),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("first_draft_id", sa.Uuid(), nullable=False),
        sa.Column("second_draft_id", sa.Uuid(), nullable=False),
        sa.Column("first_bundle", sa.Text(), nullable=False),
        sa.Column("second_bundle", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=True),
        sa.Column("observations", postgresql.JSONB(), nullable=True),
        sa.Column("distances", postgresql.JSONB(), nullable=True),
        sa.Column("differing", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("changed", sa.REAL(), server_default=sa.text("0"), nullable=False),
        _time("compared_at"),
        _foreign("draft_comparisons", "study_id", "studies"),
        _foreign("draft_comparisons", "first_draft_id", "drafts"),
        _foreign("draft_comparisons", "second_draft_id", "drafts"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draft_comparisons")),
    )
    op.create_index(
        "uq_draft_comparisons",
        "draft_comparisons",
        ["first_draft_id", "second_draft_id"],
        unique=True,
    )
    for column in ("study_id", "second_draft_id"):
        op.create_index(f"ix_draft_comparisons_{column}", "draft_comparisons", [column])
    op.create_index(
        "ix_draft_comparisons_ranked",
        "draft_comparisons",
        ["first_bundle", "second_bundle", "differing", "changed", "id"],
        postgresql_where=sa.text("observations IS NOT NULL"),
    )
    op.create_index(
        "ix_draft_comparisons_campaign",
        "draft_comparisons",
        ["campaign_id", "differing", "changed", "id"],
        postgresql_where=sa.text("observations IS NOT NULL AND campaign_id IS NOT NULL"),
    )
    op.create_index(
        "ix_draft_comparisons_waiting",
        "draft_comparisons",
        ["id"],
        postgresql_where=sa.text("observations IS NULL"),
    )
    op.create_table(
        "draft_comparison_tallies",
        _big_id(),
        sa.Column("campaign_id", sa.Uuid(), nullable=True),
        sa.Column("first_bundle", sa.Text(), nullable=False),
        sa.Column("second_bundle", sa.Text(), nullable=False),
        sa.Column("observation", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draft_comparison_tallies")),
    )
    op.create_index(
        "ix_draft_comparison_tallies_pair",
        "draft_comparison_tallies",
        ["first_bundle", "second_bundle", "campaign_id"],
    )
    op.create_index(
        "ix_draft_comparison_tallies_campaign_id", "draft_comparison_tallies", ["campaign_id"]
    )


def downgrade() -> None:
    for table in (
        "draft_comparison_tallies",
        "draft_comparisons",
        "discrepancies",
        "discrepancy_tallies",
        "discrepancy_rechecks",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION tally_discrepancy()")
