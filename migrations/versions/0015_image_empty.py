"""Holds may have the reason IMAGE_EMPTY: a film shows nothing.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

EARLIER = (
    "'PATIENT_MISMATCH', 'CONFLICTING_BYTES', 'CHEST_UNKNOWN', 'VIEW_UNKNOWN', 'AGE_UNKNOWN', "
    "'SPECIES_UNKNOWN', 'REJECTION_UNCLEAR', 'SIGNED_REJECTED'"
)


def upgrade() -> None:
    _check_reason(f"{EARLIER}, 'IMAGE_EMPTY'")


def downgrade() -> None:
    # The earlier software does not know the question, but the study must still wait for a person.
    op.execute(
        "UPDATE holds SET reason = 'VIEW_UNKNOWN'"
        " WHERE reason = 'IMAGE_EMPTY' AND decision IS NULL AND NOT EXISTS ("
        " SELECT FROM holds AS other WHERE other.study_id = holds.study_id"
        " AND other.reason = 'VIEW_UNKNOWN' AND other.decision IS NULL)"
    )
    op.execute("DELETE FROM holds WHERE reason = 'IMAGE_EMPTY'")
    _check_reason(EARLIER)


def _check_reason(reasons: str) -> None:
    # NOT VALID: no reader or writer waits while all rows are checked; the next statement checks them.
    op.execute("ALTER TABLE holds DROP CONSTRAINT ck_holds_reason_known")
    op.execute(
        "ALTER TABLE holds ADD CONSTRAINT ck_holds_reason_known"
        f" CHECK (reason IN ({reasons})) NOT VALID"
    )
    op.execute("ALTER TABLE holds VALIDATE CONSTRAINT ck_holds_reason_known")
