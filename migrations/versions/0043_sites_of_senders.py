"""Orders, reports, FHIR resources, messages, campaigns and the counts of studies have a site.

Revision ID: 0043
Revises: 0042
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

DEFAULT_SITE_ID = "00000000-0000-7000-8000-000000000001"

BASES = ("DEFAULT", "CALLER", "ORDER", "REPORT", "CAMPAIGN", "PERSON")
MATCH_STATES = ("MATCHED", "MISMATCH", "ACCEPTED", "REFUSED")

# Until now a site came from a calling AE title alone.
FILL = """
UPDATE studies SET site_basis = 'CALLER' WHERE site_id <> 'DEFAULT_SITE_ID';

UPDATE orders SET site_id = theirs.site_id FROM (
    SELECT study_orders.order_id, min(studies.site_id::text)::uuid AS site_id
    FROM study_orders JOIN studies ON studies.id = study_orders.study_id
    WHERE study_orders.state IN ('MATCHED', 'ACCEPTED')
    GROUP BY study_orders.order_id
    HAVING count(DISTINCT studies.site_id) = 1
) AS theirs
WHERE orders.id = theirs.order_id AND theirs.site_id <> 'DEFAULT_SITE_ID';

UPDATE fhir_resources SET site_id = orders.site_id FROM orders
WHERE orders.id = fhir_resources.order_id AND orders.site_id <> 'DEFAULT_SITE_ID';
""".replace("DEFAULT_SITE_ID", DEFAULT_SITE_ID)

# As in migration 0038, and an entry follows a study that moves to another site.
LIST_STUDY = """
CREATE OR REPLACE FUNCTION list_study(changed_study uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    listed worklist_entries;
    derived text;
    arrived timestamptz;
    urgency smallint;
    site uuid;
BEGIN
    SELECT * INTO listed FROM worklist_entries
    WHERE study_id = changed_study FOR NO KEY UPDATE;

    SELECT
        listed_state(studies.state, draft_requests.state, EXISTS (
            SELECT FROM holds WHERE holds.study_id = studies.id AND holds.decision IS NULL
        )),
        studies.first_received_at,
        studies.priority,
        studies.site_id
    INTO derived, arrived, urgency, site
    FROM studies LEFT JOIN draft_requests ON draft_requests.id = studies.request_id
    WHERE studies.id = changed_study;

    IF derived IS NULL THEN
        RETURN;  -- the study was deleted, and its entry with it
    ELSIF listed.study_id IS NULL THEN
        INSERT INTO worklist_entries (study_id, state, priority, arrived_at, site_id)
        VALUES (changed_study, derived, urgency, arrived, site);
    ELSIF listed.state <> derived OR listed.priority <> urgency OR listed.site_id <> site THEN
        UPDATE worklist_entries SET state = derived, priority = urgency, site_id = site
        WHERE study_id = changed_study;
    END IF;
END $$;
"""

FOLLOW_SITE = """
CREATE CONSTRAINT TRIGGER studies_list_site AFTER UPDATE OF site_id ON studies
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.site_id <> OLD.site_id)
    EXECUTE FUNCTION list_changed_study();
"""

LIST_STUDY_BEFORE = LIST_STUDY.replace(" OR listed.site_id <> site", "").replace(
    ", site_id = site", ""
)

# As in migration 0011, and by site.
TALLY_ENTRIES = """
CREATE OR REPLACE FUNCTION tally_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tallies (kind, name, site_id, number)
        SELECT 'STUDIES', state, site_id, count(*) FROM entered GROUP BY state, site_id;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO tallies (kind, name, site_id, number)
        SELECT 'STUDIES', state, site_id, -count(*) FROM gone GROUP BY state, site_id;
    ELSE
        INSERT INTO tallies (kind, name, site_id, number)
        SELECT 'STUDIES', state, site_id, sum(number) FROM (
            SELECT state, site_id, 1 AS number FROM entered
            UNION ALL SELECT state, site_id, -1 FROM gone
        ) AS changes
        GROUP BY state, site_id HAVING sum(number) <> 0;
    END IF;
    RETURN NULL;
END $$;
"""

TALLY_ENTRIES_BEFORE = """
CREATE OR REPLACE FUNCTION tally_entries() RETURNS trigger LANGUAGE plpgsql AS $$
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
"""

# Whoever adds to `tallies` meanwhile waits for this migration: a new column locks the table.
FILL_TALLIES = """
DELETE FROM tallies WHERE kind = 'STUDIES';

INSERT INTO tallies (kind, name, site_id, number)
SELECT 'STUDIES', state, site_id, count(*) FROM worklist_entries GROUP BY state, site_id;
"""

LISTED = {
    "orders": ("ix_orders_site_id", ("site_id", "changed_at", "id"), None),
    "orders, by status": (
        "ix_orders_site_id_status",
        ("site_id", "status", "changed_at", "id"),
        None,
    ),
    "received_reports": (
        "ix_received_reports_site_id",
        ("site_id", "received_at", "id"),
        "superseded_at IS NULL",
    ),
    "received_reports, by status": (
        "ix_received_reports_site_id_status",
        ("site_id", "status", "received_at", "id"),
        "superseded_at IS NULL",
    ),
    "received_reports, by origin": (
        "ix_received_reports_site_id_origin",
        ("site_id", "origin", "received_at", "id"),
        "superseded_at IS NULL",
    ),
    "received_messages": (
        "ix_received_messages_site_id",
        ("site_id", "received_at", "id"),
        "site_id IS NOT NULL",
    ),
    "received_messages, by outcome": (
        "ix_received_messages_site_id_outcome",
        ("site_id", "outcome", "received_at", "id"),
        "site_id IS NOT NULL",
    ),
    "campaigns": (
        "ix_campaigns_site_id",
        ("site_id", "created_at", "id"),
        "site_id IS NOT NULL",
    ),
}


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _check(table: str, column: str, values: tuple[str, ...]) -> None:
    op.create_check_constraint(
        op.f(f"ck_{table}_{column}_known"), table, f"{column} IN ({_listed(values)})"
    )


def _add_site(table: str) -> None:
    # A constant default rewrites no row.
    op.add_column(
        table,
        sa.Column(
            "site_id",
            sa.Uuid(),
            server_default=sa.text(f"'{DEFAULT_SITE_ID}'::uuid"),
            nullable=False,
        ),
    )
    op.create_foreign_key(op.f(f"fk_{table}_site_id_sites"), table, "sites", ["site_id"], ["id"])


def upgrade() -> None:
    op.create_table(
        "site_senders",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("sender", name=op.f("pk_site_senders")),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_site_senders_site_id_sites")
        ),
    )
    op.create_index("ix_site_senders_site_id", "site_senders", ["site_id"])
    op.add_column(
        "studies",
        sa.Column("site_basis", sa.Text(), server_default="DEFAULT", nullable=False),
    )
    _check("studies", "site_basis", BASES)
    for table in ("orders", "received_reports", "fhir_resources"):
        _add_site(table)
    for table in ("campaigns", "received_messages"):
        op.add_column(table, sa.Column("site_id", sa.Uuid(), nullable=True))
        op.create_foreign_key(
            op.f(f"fk_{table}_site_id_sites"), table, "sites", ["site_id"], ["id"]
        )
    op.drop_constraint(op.f("ck_study_orders_state_known"), "study_orders")
    _check("study_orders", "state", (*MATCH_STATES, "OTHER_SITE"))
    for statement in FILL.strip().split(";\n\n"):
        op.execute(statement)
    op.add_column("tallies", sa.Column("site_id", sa.Uuid(), nullable=True))
    op.execute(TALLY_ENTRIES)
    for statement in FILL_TALLIES.strip().split(";\n\n"):
        op.execute(statement)
    op.execute(LIST_STUDY)
    op.execute(FOLLOW_SITE)
    for name, (index, columns, condition) in LISTED.items():
        op.create_index(
            index,
            name.partition(",")[0],
            list(columns),
            postgresql_where=sa.text(condition) if condition else None,
        )


def downgrade() -> None:
    op.execute("DROP TRIGGER studies_list_site ON studies")
    op.execute(LIST_STUDY_BEFORE)
    op.execute(TALLY_ENTRIES_BEFORE)
    op.drop_column("tallies", "site_id")
    for name, (index, _, _) in LISTED.items():
        op.drop_index(index, table_name=name.partition(",")[0])
    op.execute("DELETE FROM study_orders WHERE state = 'OTHER_SITE'")
    op.drop_constraint(op.f("ck_study_orders_state_known"), "study_orders")
    _check("study_orders", "state", MATCH_STATES)
    for table in (
        "received_messages",
        "campaigns",
        "fhir_resources",
        "received_reports",
        "orders",
    ):
        op.drop_column(table, "site_id")
    op.drop_column("studies", "site_basis")
    op.drop_table("site_senders")
