"""Lists begin with the most urgent studies of the last hours, and then the newest arrival.

Revision ID: 0021
Revises: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# As in migration 0011, and the priority with it.
LIST_STUDY = """
CREATE OR REPLACE FUNCTION list_study(changed_study uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    listed worklist_entries;
    derived text;
    arrived timestamptz;
    urgency smallint;
BEGIN
    SELECT * INTO listed FROM worklist_entries
    WHERE study_id = changed_study FOR NO KEY UPDATE;

    SELECT
        listed_state(studies.state, draft_requests.state, EXISTS (
            SELECT FROM holds WHERE holds.study_id = studies.id AND holds.decision IS NULL
        )),
        studies.first_received_at,
        studies.priority
    INTO derived, arrived, urgency
    FROM studies LEFT JOIN draft_requests ON draft_requests.id = studies.request_id
    WHERE studies.id = changed_study;

    IF derived IS NULL THEN
        RETURN;  -- the study was deleted, and its entry with it
    ELSIF listed.study_id IS NULL THEN
        INSERT INTO worklist_entries (study_id, state, priority, arrived_at)
        VALUES (changed_study, derived, urgency, arrived);
    ELSIF listed.state <> derived OR listed.priority <> urgency THEN
        UPDATE worklist_entries SET state = derived, priority = urgency
        WHERE study_id = changed_study;
    END IF;
END $$;
"""

LIST_STUDY_BEFORE = """
CREATE OR REPLACE FUNCTION list_study(changed_study uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    listed text;
    derived text;
    arrived timestamptz;
BEGIN
    SELECT state INTO listed FROM worklist_entries
    WHERE study_id = changed_study FOR NO KEY UPDATE;

    SELECT
        listed_state(studies.state, draft_requests.state, EXISTS (
            SELECT FROM holds WHERE holds.study_id = studies.id AND holds.decision IS NULL
        )),
        studies.first_received_at
    INTO derived, arrived
    FROM studies LEFT JOIN draft_requests ON draft_requests.id = studies.request_id
    WHERE studies.id = changed_study;

    IF derived IS NULL THEN
        RETURN;  -- the study was deleted, and its entry with it
    ELSIF listed IS NULL THEN
        INSERT INTO worklist_entries (study_id, state, arrived_at)
        VALUES (changed_study, derived, arrived);
    ELSIF listed <> derived THEN
        UPDATE worklist_entries SET state = derived WHERE study_id = changed_study;
    END IF;
END $$;
"""


def _list_when(columns: str, condition: str) -> None:
    """Replace the trigger that lists a study again when one of its columns changes."""
    op.execute("DROP TRIGGER studies_list ON studies")
    op.execute(
        f"CREATE CONSTRAINT TRIGGER studies_list AFTER UPDATE OF {columns} ON studies"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        f" WHEN ({condition}) EXECUTE FUNCTION list_changed_study()"
    )


STATE_CHANGES = "NEW.state <> OLD.state OR NEW.request_id IS DISTINCT FROM OLD.request_id"


def upgrade() -> None:
    op.add_column("worklist_entries", sa.Column("priority", sa.SmallInteger(), nullable=True))
    # The trigger comes first: until the end of this transaction it locks out who would change a
    # priority.
    _list_when("state, request_id, priority", f"{STATE_CHANGES} OR NEW.priority <> OLD.priority")
    op.execute(
        "UPDATE worklist_entries SET priority = studies.priority FROM studies"
        " WHERE studies.id = worklist_entries.study_id"
    )
    op.alter_column("worklist_entries", "priority", nullable=False)
    op.execute(LIST_STUDY)
    op.drop_index("ix_worklist_entries_state", table_name="worklist_entries")
    op.create_index(
        "ix_worklist_entries_state",
        "worklist_entries",
        ["state", "priority", "arrived_at", "study_id"],
    )
    op.drop_index("ix_studies_first_received_at", table_name="studies")
    op.create_index("ix_studies_priority", "studies", ["priority", "first_received_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_studies_priority", table_name="studies")
    op.create_index("ix_studies_first_received_at", "studies", ["first_received_at", "id"])
    op.drop_index("ix_worklist_entries_state", table_name="worklist_entries")
    op.create_index(
        "ix_worklist_entries_state", "worklist_entries", ["state", "arrived_at", "study_id"]
    )
    op.execute(LIST_STUDY_BEFORE)
    _list_when("state, request_id", STATE_CHANGES)
    op.drop_column("worklist_entries", "priority")
