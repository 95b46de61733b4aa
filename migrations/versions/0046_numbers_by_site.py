"""Work of the nights, discrepancies, errors of the model and comparisons are counted by site.

The history of an order tells when a person moved it to another site.

Revision ID: 0046
Revises: 0045
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

UNKNOWN_SITE_ID = "00000000-0000-0000-0000-000000000000"

# As in migration 0033, and by the site that the study has at that moment.
COUNT_WORK = """
CREATE OR REPLACE FUNCTION count_work() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO work_count_parts (quarter, kind, reason, worker, site_id, number) VALUES (
        date_bin('15 minutes', NEW.at, '2000-01-01 00:00:00+00'),
        NEW.kind,
        CASE WHEN NEW.kind IN ('SKIPPED', 'FAILED') THEN coalesce(NEW.reason, '') ELSE '' END,
        coalesce(NEW.worker, ''),
        (SELECT site_id FROM studies WHERE id = NEW.study_id),
        1
    );
    RETURN NULL;
END $$;
"""

COUNT_WORK_BEFORE = COUNT_WORK.replace("worker, site_id, number", "worker, number").replace(
    "        (SELECT site_id FROM studies WHERE id = NEW.study_id),\n", ""
)

WORK_TABLES = ("work_counts", "work_count_parts")
WORK_KEY = ["quarter", "kind", "reason", "worker"]

# Of rows that differ only by the site one is left.
JOIN_SITES = """
CREATE TEMPORARY TABLE joined_work ON COMMIT DROP AS
SELECT quarter, kind, reason, worker, sum(number)::bigint AS number
FROM work_counts GROUP BY quarter, kind, reason, worker;

DELETE FROM work_counts;
"""

KEEP_JOINED = """
INSERT INTO work_counts (quarter, kind, reason, worker, number)
SELECT quarter, kind, reason, worker, number FROM joined_work;
"""


# A discrepancy is of the site of its study, and follows it.
DISCREPANCY_SITE = """
UPDATE discrepancies SET site_id = studies.site_id FROM studies
WHERE studies.id = discrepancies.study_id;

ALTER TABLE discrepancies ALTER COLUMN site_id SET NOT NULL;

CREATE FUNCTION set_discrepancy_site() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.site_id := (SELECT site_id FROM studies WHERE id = NEW.study_id);
    RETURN NEW;
END $$;

CREATE TRIGGER discrepancies_set_site BEFORE INSERT ON discrepancies
    FOR EACH ROW EXECUTE FUNCTION set_discrepancy_site();

CREATE FUNCTION move_discrepancies() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE discrepancies SET site_id = NEW.site_id WHERE study_id = NEW.id;
    RETURN NULL;
END $$;

CREATE TRIGGER studies_move_discrepancies AFTER UPDATE OF site_id ON studies
    FOR EACH ROW WHEN (NEW.site_id <> OLD.site_id) EXECUTE FUNCTION move_discrepancies();

DELETE FROM discrepancy_tallies;

ALTER TABLE discrepancy_tallies ADD COLUMN site_id uuid NOT NULL;

INSERT INTO discrepancy_tallies (campaign_id, side, state, site_id, number)
SELECT campaign_id, side, state, site_id, count(*) FROM discrepancies
GROUP BY campaign_id, side, state, site_id;
"""

# As in migration 0036, and by site.
TALLY_DISCREPANCY = """
CREATE OR REPLACE FUNCTION tally_discrepancy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        IF TG_OP = 'UPDATE'
            AND (OLD.side, OLD.state, OLD.site_id) = (NEW.side, NEW.state, NEW.site_id)
            AND OLD.campaign_id IS NOT DISTINCT FROM NEW.campaign_id THEN
            RETURN NULL;
        END IF;
        INSERT INTO discrepancy_tallies (campaign_id, side, state, site_id, number)
        VALUES (OLD.campaign_id, OLD.side, OLD.state, OLD.site_id, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO discrepancy_tallies (campaign_id, side, state, site_id, number)
        VALUES (NEW.campaign_id, NEW.side, NEW.state, NEW.site_id, 1);
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER discrepancies_tally ON discrepancies;

CREATE TRIGGER discrepancies_tally
    AFTER INSERT OR DELETE OR UPDATE OF side, state, campaign_id, site_id ON discrepancies
    FOR EACH ROW EXECUTE FUNCTION tally_discrepancy();
"""

TALLY_DISCREPANCY_BEFORE = (
    TALLY_DISCREPANCY.replace(
        "(OLD.side, OLD.state, OLD.site_id) = (NEW.side, NEW.state, NEW.site_id)",
        "(OLD.side, OLD.state) = (NEW.side, NEW.state)",
    )
    .replace("state, site_id, number", "state, number")
    .replace("OLD.site_id, -1", "-1")
    .replace("NEW.site_id, 1", "1")
    .replace("campaign_id, site_id ON", "campaign_id ON")
)

# What a comparison counted is no longer counted where another one comes, and at the same site.
UNKNOWN_SITE_OF_ERRORS = """
UPDATE final_comparisons SET counted = counted || '{"site": "UNKNOWN_SITE_ID"}'
WHERE counted IS NOT NULL;
""".replace("UNKNOWN_SITE_ID", UNKNOWN_SITE_ID)

ORIGINS = "'HL7', 'FHIR', 'WORKLIST', 'DICOM', 'REST', 'FILE'"

# A line of a history is never changed but here: the older version knows no such origin.
MOVES_BEFORE = """
ALTER TABLE order_changes DISABLE TRIGGER USER;
UPDATE order_changes SET origin = 'REST' WHERE origin = 'PERSON';
ALTER TABLE order_changes ENABLE TRIGGER USER;
"""

TEXT_TALLIES = ("model_error_tallies", "draft_comparison_tallies")


def only_site() -> str | None:
    """The only site, to which everything that was counted belongs; None where there are several."""
    ids = op.get_bind().scalars(sa.text("SELECT id FROM sites LIMIT 2")).all()
    return str(ids[0]) if len(ids) == 1 else None


def _constrain_origin(origins: str) -> None:
    # NOT VALID: no reader or writer waits while all rows are checked; the next statement checks them.
    op.execute("ALTER TABLE order_changes DROP CONSTRAINT ck_order_changes_origin_known")
    op.execute(
        "ALTER TABLE order_changes ADD CONSTRAINT ck_order_changes_origin_known"
        f" CHECK (origin IN ({origins})) NOT VALID"
    )
    op.execute("ALTER TABLE order_changes VALIDATE CONSTRAINT ck_order_changes_origin_known")


def upgrade() -> None:
    _constrain_origin(f"{ORIGINS}, 'PERSON'")
    only = only_site()
    site_of_old = only or UNKNOWN_SITE_ID
    for table in (*WORK_TABLES, *TEXT_TALLIES):
        # A column with a default is filled without writing the rows anew.
        column = sa.Column("site_id", sa.Uuid(), server_default=site_of_old, nullable=False)
        op.add_column(table, column)
        op.alter_column(table, "site_id", server_default=None)
    op.drop_constraint(op.f("pk_work_counts"), "work_counts")
    op.create_primary_key(op.f("pk_work_counts"), "work_counts", [*WORK_KEY, "site_id"])
    op.execute(COUNT_WORK)
    if only is None:
        op.execute(UNKNOWN_SITE_OF_ERRORS)
    op.add_column("discrepancies", sa.Column("site_id", sa.Uuid(), nullable=True))
    op.execute(DISCREPANCY_SITE)
    op.execute(TALLY_DISCREPANCY)


def downgrade() -> None:
    op.execute(MOVES_BEFORE)
    _constrain_origin(ORIGINS)
    op.execute("DROP TRIGGER studies_move_discrepancies ON studies")
    op.execute("DROP TRIGGER discrepancies_set_site ON discrepancies")
    op.execute("DROP FUNCTION move_discrepancies()")
    op.execute("DROP FUNCTION set_discrepancy_site()")
    op.execute(TALLY_DISCREPANCY_BEFORE)
    for table in ("discrepancies", "discrepancy_tallies", *TEXT_TALLIES):
        op.drop_column(table, "site_id")
    op.execute("UPDATE final_comparisons SET counted = counted - 'site' WHERE counted ? 'site'")
    op.execute(COUNT_WORK_BEFORE)
    op.execute(JOIN_SITES)
    op.drop_constraint(op.f("pk_work_counts"), "work_counts")
    for table in WORK_TABLES:
        op.drop_column(table, "site_id")
    op.execute(KEEP_JOINED)
    op.create_primary_key(op.f("pk_work_counts"), "work_counts", WORK_KEY)
