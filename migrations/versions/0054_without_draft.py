"""Readings without a draft: texts and reports say what they have of the draft.

Revision ID: 0054
Revises: 0053
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None

_USES = "draft_use IN ('FROM_DRAFT', 'DRAFT_SHOWN', 'WITHOUT_DRAFT')"
_OWN_TEXT = "draft_use = 'FROM_DRAFT' OR (decision = 'SIGNED' AND distances IS NULL)"

OLD_ARMS = "'WITH_DRAFT', 'READ_FIRST'"
NEW_ARMS = f"{OLD_ARMS}, 'WITHOUT_DRAFT'"

# The older version says of each report, and of each text, that a model drafted it.
NOTHING_NEW = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM reviews WHERE draft_use <> 'FROM_DRAFT')
        OR EXISTS (SELECT FROM working_texts WHERE draft_use <> 'FROM_DRAFT')
        OR EXISTS (SELECT FROM readings WHERE arm = 'WITHOUT_DRAFT')
    THEN
        RAISE EXCEPTION 'there are readings without a draft, which an older version cannot keep: '
            'it would say of their reports that a model drafted them';
    END IF;
END $$;
"""


def _check(table: str, name: str, condition: str) -> None:
    # NOT VALID: nobody waits while all rows are checked; the next statement checks them.
    op.execute(
        f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_{name} CHECK ({condition}) NOT VALID"
    )
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{table}_{name}")


def _replace_arms(arms: str) -> None:
    for table in ("readings", "draft_outcomes"):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_arm_known")
    _check("readings", "arm_known", f"arm IN ({arms})")
    _check("draft_outcomes", "arm_known", f"arm = '' OR arm IN ({arms})")


def upgrade() -> None:
    for table in ("reviews", "working_texts"):
        op.add_column(
            table, sa.Column("draft_use", sa.Text(), server_default="FROM_DRAFT", nullable=False)
        )
        _check(table, "draft_use_known", _USES)
    _check("reviews", "own_text_is_a_report", _OWN_TEXT)
    _replace_arms(NEW_ARMS)


def downgrade() -> None:
    op.execute(NOTHING_NEW)
    _replace_arms(OLD_ARMS)
    op.execute("ALTER TABLE reviews DROP CONSTRAINT ck_reviews_own_text_is_a_report")
    for table in ("reviews", "working_texts"):
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_draft_use_known")
        op.drop_column(table, "draft_use")
