"""Holds may have the reason IMAGE_EMPTY: a film shows nothing.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _check_reason("'AGE_UNKNOWN', 'IMAGE_EMPTY'")


def downgrade() -> None:
    # The earlier software does not know the question. Its study goes on as if nobody had asked.
    op.execute("DELETE FROM holds WHERE reason = 'IMAGE_EMPTY'")
    _check_reason("'AGE_UNKNOWN'")


def _check_reason(last: str) -> None:
    """Replace the vocabulary of `reason`: the first four reasons and `last`."""
    op.drop_constraint(op.f("ck_holds_reason_known"), "holds", type_="check")
    op.create_check_constraint(
        op.f("ck_holds_reason_known"),
        "holds",
        "reason IN ('PATIENT_MISMATCH', 'CONFLICTING_BYTES', 'CHEST_UNKNOWN', 'VIEW_UNKNOWN', "
        f"{last})",
    )
