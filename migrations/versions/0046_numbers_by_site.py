"""Work, as it is counted for the nights, is counted by site.

Revision ID: 0046
Revises: 0045
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

UNKNOWN_SITE_ID = "00000000-0000-0000-0000-000000000000"

# As in migration 0033, and by the site that the study has at that moment.
COUNT_WORK = """
CREATE OR REPLACE FUNCTION count_work() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO work_count_parts (quarter, kind, reason, worker, site_id, number) VALUES (
        date_bin('15 minutes', NEW.at, '2000-01-01 00:00:00+00'),
        NEW.kind,
        CASE WHEN NEW.kind IN ('SKIPPED', 'FAILED') THEN coalesce(NEW.reason, '') ELSE '' END,
        coalesce(NEW.worker, ''),
        (SELECT site_id FROM studies WHERE id = NEW.study_id),
        1
    );
    RETURN NULL;
END $$;
"""

COUNT_WORK_BEFORE = COUNT_WORK.replace("worker, site_id, number", "worker, number").replace(
    "        (SELECT site_id FROM studies WHERE id = NEW.study_id),\n", ""
)

WORK_TABLES = ("work_counts", "work_count_parts")
WORK_KEY = ["quarter", "kind", "reason", "worker"]

# Of rows that differ only by the site one is left.
JOIN_SITES = """
CREATE TEMPORARY TABLE joined_work ON COMMIT DROP AS
SELECT quarter, kind, reason, worker, sum(number)::bigint AS number
FROM work_counts GROUP BY quarter, kind, reason, worker;

DELETE FROM work_counts;
"""

KEEP_JOINED = """
INSERT INTO work_counts (quarter, kind, reason, worker, number)
SELECT quarter, kind, reason, worker, number FROM joined_work;
"""


def only_site() -> str | None:
    """The only site, to which everything that was counted belongs; None where there are several."""
    ids = op.get_bind().scalars(sa.text("SELECT id FROM sites LIMIT 2")).all()
    return str(ids[0]) if len(ids) == 1 else None


def upgrade() -> None:
    site_of_old = only_site() or UNKNOWN_SITE_ID
    for table in WORK_TABLES:
        # A column with a default is filled without writing the rows anew.
        column = sa.Column("site_id", sa.Uuid(), server_default=site_of_old, nullable=False)
        op.add_column(table, column)
        op.alter_column(table, "site_id", server_default=None)
    op.drop_constraint(op.f("pk_work_counts"), "work_counts")
    op.create_primary_key(op.f("pk_work_counts"), "work_counts", [*WORK_KEY, "site_id"])
    op.execute(COUNT_WORK)


def downgrade() -> None:
    op.execute(COUNT_WORK_BEFORE)
    op.execute(JOIN_SITES)
    op.drop_constraint(op.f("pk_work_counts"), "work_counts")
    for table in WORK_TABLES:
        op.drop_column(table, "site_id")
    op.execute(KEEP_JOINED)
    op.create_primary_key(op.f("pk_work_counts"), "work_counts", WORK_KEY)
