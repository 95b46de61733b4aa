"""Lists, counts and the search are read from indexes and kept numbers, however many studies are there.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

SEPARATORS = """'^=,;.-_/''"()*'::text"""
SPACES = "'             '::text"
SEARCHES = {
    "ix_studies_patient_name": (
        f'translate(lower(patient_name), {SEPARATORS} COLLATE "C", {SPACES})'
    ),
    "ix_studies_patient_id": 'upper(patient_id COLLATE "C")',
    "ix_studies_accession_number": 'upper(accession_number COLLATE "C")',
}
WORDS = (
    "array_to_tsvector(array_remove(string_to_array(translate(lower("
    "(((patient_name || ' '::text) || patient_id) || ' '::text) || accession_number), "
    f"{SEPARATORS}, {SPACES}), ' '::text), ''::text))"
)

# The one place that derives the state in which a study is listed. A live lease makes PREPARING of
# WAITING and DRAFTING of PREPARED; leases come and go too often to be kept in a list.
LISTED_STATE = """
CREATE FUNCTION listed_state(study_state text, request_state text, held boolean) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- An open hold comes first: it stops all other work on the study.
    RETURN CASE
        WHEN held THEN 'HELD'
        WHEN study_state = 'RECEIVING' THEN 'RECEIVING'
        ELSE coalesce(request_state, 'WAITING')
    END;
"""

# Two transactions that change the same study at once do not see each other's rows. So each derives
# the entry at its end, with the entry locked first: the second one waits, and its next statement
# sees what the first one committed. At its end a transaction takes no other locks any more, so
# nobody can wait for it and for this lock at the same time.
KEEP_ENTRIES = """
CREATE FUNCTION list_study(changed_study uuid) RETURNS void LANGUAGE plpgsql AS $$
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

CREATE FUNCTION list_changed_study() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'studies' THEN
        PERFORM list_study(NEW.id);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM list_study(OLD.study_id);
    ELSE
        PERFORM list_study(NEW.study_id);
        IF TG_OP = 'UPDATE' AND OLD.study_id <> NEW.study_id THEN
            PERFORM list_study(OLD.study_id);
        END IF;
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER studies_list_new AFTER INSERT ON studies
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION list_changed_study();

CREATE CONSTRAINT TRIGGER studies_list AFTER UPDATE OF state, request_id ON studies
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN (NEW.state <> OLD.state OR NEW.request_id IS DISTINCT FROM OLD.request_id)
    EXECUTE FUNCTION list_changed_study();

CREATE CONSTRAINT TRIGGER draft_requests_list AFTER UPDATE OF state ON draft_requests
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION list_changed_study();

CREATE CONSTRAINT TRIGGER holds_list_new AFTER INSERT OR DELETE ON holds
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION list_changed_study();

CREATE CONSTRAINT TRIGGER holds_list AFTER UPDATE OF decision, study_id ON holds
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN (NEW.decision IS DISTINCT FROM OLD.decision OR NEW.study_id <> OLD.study_id)
    EXECUTE FUNCTION list_changed_study();
"""

# Studies are counted as long as they are there. Drafts and refusals are counted for ever: their
# numbers are Prometheus counters, which never fall.
KEEP_TALLIES = """
CREATE FUNCTION tally_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tallies (kind, name, number)
        SELECT 'STUDIES', state, count(*) FROM entered GROUP BY state;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO tallies (kind, name, number)
        SELECT 'STUDIES', state, -count(*) FROM gone GROUP BY state;
    ELSE
        INSERT INTO tallies (kind, name, number)
        SELECT 'STUDIES', state, sum(number) FROM (
            SELECT state, 1 AS number FROM entered UNION ALL SELECT state, -1 FROM gone
        ) AS changes
        GROUP BY state HAVING sum(number) <> 0;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION tally_drafts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (kind, name, number) SELECT 'DRAFTS', '', count(*) FROM entered;
    RETURN NULL;
END $$;

CREATE FUNCTION tally_refusals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (kind, name, number)
    SELECT 'REFUSALS', reason, count(*) FROM entered GROUP BY reason;
    RETURN NULL;
END $$;

CREATE TRIGGER worklist_entries_tally_new AFTER INSERT ON worklist_entries
    REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION tally_entries();

CREATE TRIGGER worklist_entries_tally_gone AFTER DELETE ON worklist_entries
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tally_entries();

CREATE TRIGGER worklist_entries_tally AFTER UPDATE ON worklist_entries
    REFERENCING OLD TABLE AS gone NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION tally_entries();

CREATE TRIGGER drafts_tally AFTER INSERT ON drafts
    REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION tally_drafts();

CREATE TRIGGER refusals_tally AFTER INSERT ON refusals
    REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION tally_refusals();
"""

FILL_ENTRIES = """
INSERT INTO worklist_entries (study_id, state, arrived_at)
SELECT
    studies.id,
    listed_state(studies.state, draft_requests.state, open_holds.study_id IS NOT NULL),
    studies.first_received_at
FROM studies
LEFT JOIN draft_requests ON draft_requests.id = studies.request_id
LEFT JOIN (SELECT DISTINCT study_id FROM holds WHERE decision IS NULL) AS open_holds
    ON open_holds.study_id = studies.id;
"""

FILL_TALLIES = """
INSERT INTO tallies (kind, name, number)
SELECT 'STUDIES', state, count(*) FROM worklist_entries GROUP BY state
UNION ALL SELECT 'DRAFTS', '', count(*) FROM drafts
UNION ALL SELECT 'REFUSALS', reason, count(*) FROM refusals GROUP BY reason;
"""

# Each change adds rows to `tallies`, which the sweep folds: vacuum cleans it by their number.
STORAGE = """
ALTER TABLE tallies SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false
);
"""


def upgrade() -> None:
    op.create_table(
        "worklist_entries",
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("arrived_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_worklist_entries")),
    )
    op.create_table(
        "tallies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('STUDIES', 'DRAFTS', 'REFUSALS')", name=op.f("ck_tallies_kind_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tallies")),
    )
    # The triggers come first: until the end of this transaction they lock out who would change
    # what is being counted.
    op.execute(LISTED_STATE)
    op.execute(KEEP_ENTRIES)
    op.execute(FILL_ENTRIES)
    op.create_foreign_key(
        op.f("fk_worklist_entries_study_id_studies"),
        "worklist_entries",
        "studies",
        ["study_id"],
        ["id"],
        ondelete="CASCADE",
    )
    op.create_index(
        "ix_worklist_entries_state",
        "worklist_entries",
        ["state", "arrived_at", "study_id"],
        unique=False,
    )
    op.execute(KEEP_TALLIES)
    op.execute(FILL_TALLIES)
    op.execute(STORAGE)
    op.drop_index("ix_studies_accession_number", table_name="studies")
    for name, expression in SEARCHES.items():
        op.create_index(name, "studies", [sa.text(expression)], unique=False)
    op.create_index(
        "ix_studies_words",
        "studies",
        [sa.text(WORDS)],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )


def downgrade() -> None:
    op.drop_index("ix_studies_words", table_name="studies")
    for name in SEARCHES:
        op.drop_index(name, table_name="studies")
    op.create_index("ix_studies_accession_number", "studies", ["accession_number"], unique=False)
    op.drop_table("worklist_entries")
    for table, triggers in {
        "studies": ("studies_list_new", "studies_list"),
        "draft_requests": ("draft_requests_list",),
        "holds": ("holds_list_new", "holds_list"),
        "drafts": ("drafts_tally",),
        "refusals": ("refusals_tally",),
    }.items():
        for trigger in triggers:
            op.execute(f"DROP TRIGGER {trigger} ON {table}")
    op.drop_table("tallies")
    op.execute(
        "DROP FUNCTION tally_entries(), tally_drafts(), tally_refusals(), list_changed_study(),"
        " list_study(uuid), listed_state(text, text, boolean)"
    )
