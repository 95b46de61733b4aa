"""Orders are found by their placer's and their filler's number.

Revision ID: 0030
Revises: 0029
"""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO order_keys (order_id, kind, value)
        SELECT DISTINCT id, 'ORDER', upper(btrim(number))
        FROM orders, unnest(ARRAY[placer_order_number, filler_order_number]) AS number
        WHERE btrim(number) <> ''
        ON CONFLICT DO NOTHING
        """
    )


def downgrade() -> None:
    op.execute("DELETE FROM order_keys WHERE kind = 'ORDER'")
