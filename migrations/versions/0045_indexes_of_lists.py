"""Indexes of lists stay packed while studies go from state to state.

Revision ID: 0045
Revises: 0044
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

# Entries that went to the middle of an index split its pages and left them half empty. The list of
# drafted studies, at which most of them end, now has indexes of its own, which grow at their end.
LISTS = [
    ("ix_worklist_entries_state", ["state", "priority", "arrived_at", "study_id"]),
    ("ix_worklist_entries_site_id", ["site_id", "state", "priority", "arrived_at", "study_id"]),
]
DRAFTED = [
    ("ix_worklist_entries_drafted", ["priority", "arrived_at", "study_id"]),
    ("ix_worklist_entries_site_id_drafted", ["site_id", "priority", "arrived_at", "study_id"]),
]

# A study names its request before the request is there, so that it is closed by one UPDATE.
POINTER = "ALTER TABLE studies ALTER CONSTRAINT fk_studies_request_id_draft_requests"


def _replace(name: str, table: str, columns: list[str], condition: str | None) -> None:
    op.drop_index(name, table_name=table)
    where = None if condition is None else sa.text(condition)
    op.create_index(name, table, columns, postgresql_where=where)


def upgrade() -> None:
    for name, columns in LISTS:
        _replace(name, "worklist_entries", columns, "state <> 'DRAFTED'")
    for name, columns in DRAFTED:
        op.create_index(
            name, "worklist_entries", columns, postgresql_where=sa.text("state = 'DRAFTED'")
        )
    # Those under way are few, and ix_campaign_studies_under_way has them.
    _replace(
        "ix_campaign_studies_state",
        "campaign_studies",
        ["campaign_id", "state", "id"],
        "state NOT IN ('PULLING', 'IN_WORK')",
    )
    # Without the time of the last film, which each film changed: now the new version of the study
    # needs no entry in any index.
    _replace("ix_studies_receiving", "studies", ["id"], "state = 'RECEIVING'")
    # One index of what can be retried, in place of one of all requests and one of failures.
    op.create_index(
        "ix_draft_requests_retriable",
        "draft_requests",
        ["state", "reason"],
        postgresql_where=sa.text("state IN ('FAILED', 'SKIPPED')"),
    )
    op.drop_index("ix_draft_requests_state", table_name="draft_requests")
    op.drop_index("ix_draft_requests_failed", table_name="draft_requests")
    op.execute(f"{POINTER} DEFERRABLE INITIALLY DEFERRED")


def downgrade() -> None:
    op.execute(f"{POINTER} NOT DEFERRABLE")
    op.create_index(
        "ix_draft_requests_failed",
        "draft_requests",
        ["reason"],
        postgresql_where=sa.text("state = 'FAILED'"),
    )
    op.create_index("ix_draft_requests_state", "draft_requests", ["state"])
    op.drop_index("ix_draft_requests_retriable", table_name="draft_requests")
    _replace("ix_studies_receiving", "studies", ["last_received_at"], "state = 'RECEIVING'")
    _replace("ix_campaign_studies_state", "campaign_studies", ["campaign_id", "state", "id"], None)
    for name, _ in DRAFTED:
        op.drop_index(name, table_name="worklist_entries")
    for name, columns in LISTS:
        _replace(name, "worklist_entries", columns, None)
