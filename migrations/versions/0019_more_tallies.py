"""Holds, failures, deaths and the time to the draft are counted; the last film of each caller is kept.

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

OLD_KINDS = "'STUDIES', 'DRAFTS', 'REFUSALS'"
NEW_KINDS = "'HOLDS', 'OPEN_HOLDS', 'FAILURES', 'DEATHS', 'DRAFT_SECONDS', 'DRAFT_SECONDS_SUM'"

TALLY_DRAFTS = """
CREATE OR REPLACE FUNCTION tally_drafts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (kind, name, number) SELECT 'DRAFTS', '', count(*) FROM entered;
    -- The time from a study's first film to its first draft, by the bound of its bucket.
    WITH waits AS (
        SELECT greatest(0, extract(epoch FROM clock_timestamp() - studies.first_received_at))
            AS seconds
        FROM entered JOIN studies ON studies.id = entered.study_id
        WHERE NOT EXISTS (
            SELECT FROM drafts
            WHERE drafts.study_id = entered.study_id AND drafts.id <> entered.id
        )
    )
    INSERT INTO tallies (kind, name, number)
    SELECT 'DRAFT_SECONDS', coalesce(bound::text, '+Inf'), count(*)
    FROM waits LEFT JOIN LATERAL (
        SELECT min(bound) AS bound
        FROM unnest(ARRAY[60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 57600, 86400, 172800])
            AS bounds (bound)
        WHERE waits.seconds <= bound
    ) AS buckets ON true
    GROUP BY bound
    UNION ALL
    SELECT 'DRAFT_SECONDS_SUM', '', round(sum(waits.seconds)) FROM waits HAVING count(*) > 0;
    RETURN NULL;
END $$;
"""

TALLY_DRAFTS_BEFORE = """
CREATE OR REPLACE FUNCTION tally_drafts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (kind, name, number) SELECT 'DRAFTS', '', count(*) FROM entered;
    RETURN NULL;
END $$;
"""

# Few of all rows are holds or failures, so a row's own trigger costs the others nothing.
MORE_TALLIES = """
CREATE FUNCTION tally_holds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tallies (kind, name, number) VALUES ('HOLDS', NEW.reason, 1);
    END IF;
    IF TG_OP <> 'INSERT' AND OLD.decision IS NULL THEN
        INSERT INTO tallies (kind, name, number) VALUES ('OPEN_HOLDS', OLD.reason, -1);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.decision IS NULL THEN
        INSERT INTO tallies (kind, name, number) VALUES ('OPEN_HOLDS', NEW.reason, 1);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER holds_tally AFTER INSERT OR DELETE OR UPDATE OF decision, reason ON holds
    FOR EACH ROW EXECUTE FUNCTION tally_holds();

CREATE FUNCTION tally_failure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (kind, name, number) VALUES ('FAILURES', coalesce(NEW.reason, ''), 1);
    RETURN NULL;
END $$;

CREATE TRIGGER events_tally_failure AFTER INSERT ON events
    FOR EACH ROW WHEN (NEW.kind = 'FAILED') EXECUTE FUNCTION tally_failure();
"""

FILL_OPEN_HOLDS = """
INSERT INTO tallies (kind, name, number)
SELECT 'OPEN_HOLDS', reason, count(*) FROM holds WHERE decision IS NULL GROUP BY reason;
"""


def _kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_tallies_kind_known"), "tallies")
    op.create_check_constraint(op.f("ck_tallies_kind_known"), "tallies", f"kind IN ({kinds})")


def upgrade() -> None:
    _kinds(f"{OLD_KINDS}, {NEW_KINDS}")
    op.execute(TALLY_DRAFTS)
    # The triggers come first: until the end of this transaction they lock out who would open or
    # decide a hold that is being counted.
    op.execute(MORE_TALLIES)
    op.execute(FILL_OPEN_HOLDS)
    op.create_table(
        "callers",
        sa.Column("calling_ae", sa.Text(), nullable=False),
        sa.Column("last_film_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("calling_ae", name=op.f("pk_callers")),
    )


def downgrade() -> None:
    op.drop_table("callers")
    op.execute("DROP TRIGGER events_tally_failure ON events")
    op.execute("DROP TRIGGER holds_tally ON holds")
    op.execute("DROP FUNCTION tally_failure(), tally_holds()")
    op.execute(TALLY_DRAFTS_BEFORE)
    op.execute("DELETE FROM tallies WHERE kind NOT IN ('STUDIES', 'DRAFTS', 'REFUSALS')")
    _kinds(OLD_KINDS)
