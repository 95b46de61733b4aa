"""What cannot be claimed now is not in the index that a claim walks; ids grow with time.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import migrations

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


# Whether a request can be claimed is kept in its row. It follows from three tables, so the database
# itself keeps it: the functions below are its one definition. Whoever changes a study's state or a
# hold locks the requests first and reads afterwards, so that of two changes at once the later one
# sees the earlier one. A claim asks `request_is_claimable` again for the few rows that it takes.
CLAIMABLE = """
CREATE FUNCTION request_is_claimable(request draft_requests) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF request.state NOT IN ('WAITING', 'PREPARED')
        OR request.not_before > clock_timestamp()
    THEN
        RETURN false;
    END IF;
    RETURN EXISTS (
        SELECT FROM studies
        WHERE id = request.study_id AND state = 'COMPLETE' AND revision = request.revision
    ) AND NOT EXISTS (
        SELECT FROM holds WHERE study_id = request.study_id AND decision IS NULL
    );
END $$;

CREATE FUNCTION set_claimable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.claimable := request_is_claimable(NEW);
    RETURN NEW;
END $$;

CREATE TRIGGER draft_requests_claimable
    BEFORE INSERT OR UPDATE OF state, not_before, revision, study_id, claimable ON draft_requests
    FOR EACH ROW EXECUTE FUNCTION set_claimable();

CREATE FUNCTION refresh_claimable(study uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Nothing more in these conditions: without statistics the planner would read all requests of
    -- a state, too.
    PERFORM FROM draft_requests WHERE study_id = study ORDER BY id FOR NO KEY UPDATE;
    UPDATE draft_requests SET claimable = NOT claimable
    WHERE study_id = study AND claimable <> request_is_claimable(draft_requests);
END $$;

CREATE FUNCTION study_changes_claimable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refresh_claimable(NEW.id);
    RETURN NULL;
END $$;

CREATE TRIGGER studies_claimable AFTER UPDATE OF state, revision ON studies
    FOR EACH ROW WHEN (NEW.state <> OLD.state OR NEW.revision <> OLD.revision)
    EXECUTE FUNCTION study_changes_claimable();

CREATE FUNCTION hold_changes_claimable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM refresh_claimable(OLD.study_id);
    END IF;
    IF TG_OP <> 'DELETE' AND (TG_OP = 'INSERT' OR NEW.study_id <> OLD.study_id) THEN
        PERFORM refresh_claimable(NEW.study_id);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER holds_claimable AFTER INSERT OR DELETE OR UPDATE OF decision, study_id ON holds
    FOR EACH ROW EXECUTE FUNCTION hold_changes_claimable();
"""

DROP_CLAIMABLE = """
DROP TRIGGER holds_claimable ON holds;
DROP TRIGGER studies_claimable ON studies;
DROP TRIGGER draft_requests_claimable ON draft_requests;
DROP FUNCTION hold_changes_claimable();
DROP FUNCTION study_changes_claimable();
DROP FUNCTION refresh_claimable(uuid);
DROP FUNCTION set_claimable();
DROP FUNCTION request_is_claimable(draft_requests);
"""

# A join in place of the function: a table of ten million requests is filled in one walk.
FILL = """
UPDATE draft_requests SET claimable = true
FROM studies
WHERE studies.id = draft_requests.study_id AND studies.state = 'COMPLETE'
    AND studies.revision = draft_requests.revision
    AND draft_requests.state IN ('WAITING', 'PREPARED')
    AND (draft_requests.not_before IS NULL OR draft_requests.not_before <= clock_timestamp())
    AND NOT EXISTS (SELECT FROM holds WHERE holds.study_id = studies.id AND decision IS NULL);
"""

INDEXES = [  # what a study's deletion looks for, by foreign keys
    ("ix_drafts_request_id", "drafts", "request_id"),
    ("ix_draft_requests_draft_id", "draft_requests", "draft_id"),
    ("ix_instances_series_id", "instances", "series_id"),
]


def upgrade() -> None:
    op.add_column(
        "draft_requests",
        sa.Column("claimable", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.drop_index("ix_draft_requests_claimable", table_name="draft_requests")
    # Before the rows are filled: an index that is made after an update in one transaction cannot be
    # used by transactions that are older.
    op.create_index(
        "ix_draft_requests_claimable",
        "draft_requests",
        ["state", "bundle", "priority", "due_at", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("claimable"),
    )
    op.create_index(
        "ix_draft_requests_not_before",
        "draft_requests",
        ["not_before"],
        unique=False,
        postgresql_where=sa.text("not_before IS NOT NULL AND state IN ('WAITING', 'PREPARED')"),
    )
    op.execute(FILL)
    op.execute(CLAIMABLE)
    for name, table, column in INDEXES:
        op.create_index(name, table, [column], unique=False)
    _set_ids(migrations.new_id(op.get_bind()))


def downgrade() -> None:
    _set_ids("gen_random_uuid()")
    for name, table, _ in INDEXES:
        op.drop_index(name, table_name=table)
    op.execute(DROP_CLAIMABLE)
    op.drop_index("ix_draft_requests_not_before", table_name="draft_requests")
    op.drop_index("ix_draft_requests_claimable", table_name="draft_requests")
    op.create_index(
        "ix_draft_requests_claimable",
        "draft_requests",
        ["state", "priority", "due_at", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('WAITING', 'PREPARED')"),
    )
    op.drop_column("draft_requests", "claimable")


def _set_ids(default: str) -> None:
    """Set the default of every table's own id."""
    tables = op.get_bind().scalars(
        sa.text(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema"
            " AND column_name = 'id' AND column_default IN ('gen_random_uuid()', 'uuidv7()')"
        )
    )
    for table in tables.all():
        op.alter_column(table, "id", server_default=sa.text(default))
