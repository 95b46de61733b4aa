"""House styles of reports, and which version of one a text and a report began from.

Revision ID: 0052
Revises: 0051
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import migrations

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None

# `refuse_change` of migration 0001 lets nobody change a row that is written once.
WRITTEN_ONCE = """
CREATE TRIGGER report_styles_written_once BEFORE UPDATE OR DELETE ON report_styles
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""

# What was signed is not shown otherwise than it was signed.
NOTHING_SIGNED = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM reviews WHERE style_id IS NOT NULL) THEN
        RAISE EXCEPTION 'there are signed reports in a style, which an older version cannot show';
    END IF;
END $$;
"""


def _text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text(), nullable=False)


def _key(column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{other}.id"], name=op.f(f"fk_report_styles_{column}_{other}")
    )


def upgrade() -> None:
    op.create_table(
        "report_styles",
        sa.Column(
            "id",
            sa.Uuid(),
            server_default=sa.text(migrations.new_id(op.get_bind())),
            nullable=False,
        ),
        sa.Column("site_id", sa.Uuid(), nullable=True),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        _text("name"),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("is_ended", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _text("saved_by"),
        sa.Column(
            "saved_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(site_id IS NULL) <> (account_id IS NULL)",
            name=op.f("ck_report_styles_has_one_owner"),
        ),
        sa.CheckConstraint("version > 0", name=op.f("ck_report_styles_version_counts")),
        sa.CheckConstraint(r"name ~ '\S'", name=op.f("ck_report_styles_has_name")),
        sa.CheckConstraint(r"saved_by ~ '\S'", name=op.f("ck_report_styles_has_person")),
        _key("site_id", "sites"),
        _key("account_id", "accounts"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_styles")),
        sa.UniqueConstraint("site_id", "version", name=op.f("uq_report_styles_site_id")),
        sa.UniqueConstraint("account_id", "version", name=op.f("uq_report_styles_account_id")),
    )
    op.execute(WRITTEN_ONCE)
    for table in ("working_texts", "reviews"):
        op.add_column(table, sa.Column("style_id", sa.Uuid(), nullable=True))
        # NOT VALID: nobody waits while all rows are checked; the column is NULL in each of them.
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_style_id_report_styles"
            " FOREIGN KEY (style_id) REFERENCES report_styles (id) NOT VALID"
        )
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT fk_{table}_style_id_report_styles")


def downgrade() -> None:
    op.execute(NOTHING_SIGNED)
    for table in ("reviews", "working_texts"):
        op.drop_column(table, "style_id")
    op.drop_table("report_styles")
