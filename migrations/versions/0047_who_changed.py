"""The history of a study tells when a person changed it; that of an order, when its study did.

A refusal belongs to the site of its calling AE title, which lists it to its people. A campaign that
people of one site created waits while they may not fetch from its PACS.

Revision ID: 0047
Revises: 0046
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

ORIGINS = "'HL7', 'FHIR', 'WORKLIST', 'DICOM', 'REST', 'FILE'"

# A line of a history is never changed but here: the older version knows no such origins. It said
# of an order that took the site of its study what the order's own sender was.
ORIGINS_BEFORE = """
UPDATE study_changes SET origin = 'REST' WHERE origin IN ('PERSON', 'STUDY');

ALTER TABLE order_changes DISABLE TRIGGER USER;
UPDATE order_changes SET origin = orders.origin, sender = orders.sender FROM orders
WHERE orders.id = order_changes.order_id AND order_changes.origin = 'STUDY';
ALTER TABLE order_changes ENABLE TRIGGER USER;
"""

DEFAULT_SITE_ID = "00000000-0000-7000-8000-000000000001"

REFUSALS_OF_CALLERS = """
UPDATE refusals SET site_id = site_callers.site_id FROM site_callers
WHERE site_callers.calling_ae = refusals.calling_ae;
"""


def _constrain_origin(table: str, origins: str) -> None:
    # NOT VALID: no reader or writer waits while all rows are checked; the next statement checks them.
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_origin_known")
    op.execute(
        f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_origin_known"
        f" CHECK (origin IN ({origins})) NOT VALID"
    )
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{table}_origin_known")


def upgrade() -> None:
    op.add_column(
        "refusals",
        sa.Column(
            "site_id",
            sa.Uuid(),
            sa.ForeignKey("sites.id", name=op.f("fk_refusals_site_id_sites")),
            server_default=DEFAULT_SITE_ID,
            nullable=False,
        ),
    )
    op.execute(REFUSALS_OF_CALLERS)
    op.create_index("ix_refusals_site_id", "refusals", ["site_id", "at", "id"])
    for column in ("is_site_bound", "is_denied"):
        op.add_column(
            "campaigns",
            sa.Column(column, sa.Boolean(), server_default=sa.false(), nullable=False),
        )
    for table in ("order_changes", "study_changes"):
        _constrain_origin(table, f"{ORIGINS}, 'PERSON', 'STUDY'")


def downgrade() -> None:
    op.drop_index("ix_refusals_site_id", "refusals")
    op.drop_column("refusals", "site_id")
    for column in ("is_denied", "is_site_bound"):
        op.drop_column("campaigns", column)
    op.execute(ORIGINS_BEFORE)
    _constrain_origin("order_changes", f"{ORIGINS}, 'PERSON'")
    _constrain_origin("study_changes", ORIGINS)
