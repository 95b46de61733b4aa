"""A study is held where it is not certain that the patient is a human.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_REASONS = "'PATIENT_MISMATCH', 'CONFLICTING_BYTES', 'CHEST_UNKNOWN', 'VIEW_UNKNOWN', 'AGE_UNKNOWN'"
_LATER_REASONS = "'REJECTION_UNCLEAR', 'SIGNED_REJECTED'"


def upgrade() -> None:
    _replace_constraint(f"{_REASONS}, 'SPECIES_UNKNOWN', {_LATER_REASONS}")


def downgrade() -> None:
    # The version before knows no such hold. One that is open goes on as the nearest question that it
    # knows, so that the study stays held; a decided one keeps its decision in the timeline.
    op.execute(
        "UPDATE holds SET reason = 'CHEST_UNKNOWN' WHERE reason = 'SPECIES_UNKNOWN' AND NOT EXISTS"
        " (SELECT FROM holds other WHERE other.study_id = holds.study_id"
        " AND other.reason = 'CHEST_UNKNOWN')"
    )
    op.execute("DELETE FROM holds WHERE reason = 'SPECIES_UNKNOWN'")
    _replace_constraint(f"{_REASONS}, {_LATER_REASONS}")


def _replace_constraint(reasons: str) -> None:
    # NOT VALID: no reader or writer waits while all rows are checked; the next statement checks them.
    op.execute("ALTER TABLE holds DROP CONSTRAINT ck_holds_reason_known")
    op.execute(
        "ALTER TABLE holds ADD CONSTRAINT ck_holds_reason_known"
        f" CHECK (reason IN ({reasons})) NOT VALID"
    )
    op.execute("ALTER TABLE holds VALIDATE CONSTRAINT ck_holds_reason_known")
