"""Equal refusals of one caller and hour are one row with a count.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# What is refused is tallied by statement triggers: a row now stands for `count` refusals, and more of
# them change it.
TALLY_BY_COUNT = """
CREATE OR REPLACE FUNCTION tally_refusals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tallies (kind, name, number)
        SELECT 'REFUSALS', reason, sum("count") FROM entered GROUP BY reason;
    ELSE
        INSERT INTO tallies (kind, name, number)
        SELECT 'REFUSALS', reason, sum(number) FROM (
            SELECT reason, "count" AS number FROM entered
            UNION ALL SELECT reason, -"count" FROM gone
        ) AS changes
        GROUP BY reason HAVING sum(number) <> 0;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER refusals_tally_more AFTER UPDATE ON refusals
    REFERENCING OLD TABLE AS gone NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refusals();
"""

TALLY_BY_ROW = """
DROP TRIGGER refusals_tally_more ON refusals;

CREATE OR REPLACE FUNCTION tally_refusals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (kind, name, number)
    SELECT 'REFUSALS', reason, count(*) FROM entered GROUP BY reason;
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    # The rows that are there have no hour, so that the unique index leaves them as they are.
    op.add_column("refusals", sa.Column("address", sa.Text(), server_default="", nullable=False))
    op.add_column("refusals", sa.Column("hour", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "refusals", sa.Column("count", sa.BigInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.create_index(
        "uq_refusals_counted",
        "refusals",
        ["hour", "address", "calling_ae", "reason", "sop_class_uid"],
        unique=True,
    )
    op.execute(TALLY_BY_COUNT)


def downgrade() -> None:
    op.execute(TALLY_BY_ROW)
    op.drop_index("uq_refusals_counted", table_name="refusals")
    for column in ("count", "hour", "address"):
        op.drop_column("refusals", column)
