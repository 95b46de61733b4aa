"""How long bytes are kept, which of them are to be removed, and the erasure of a patient.

Revision ID: 0040
Revises: 0039
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import migrations

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

# What was written once may be deleted by an erasure alone, and only the rows of the studies and
# orders that the erasure names. An erasure is a row that nobody can change or delete, and it counts
# in the transaction that wrote it: so nothing is deleted without a row that says who did it and why.
# The setting is of the transaction; without it nobody pays for the look at `erasures`.
ERASURE = """
CREATE FUNCTION is_being_erased(study uuid, placed_order uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    named text := coalesce(current_setting('nightdraft.erasure', true), '');
BEGIN
    IF named = '' THEN
        RETURN false;
    END IF;
    RETURN EXISTS (
        SELECT FROM erasures
        WHERE erasures.id::text = named
        AND erasures.transaction = pg_current_xact_id_if_assigned()::text::bigint
        AND (study = ANY (erasures.study_ids) OR placed_order = ANY (erasures.order_ids))
    );
END $$;

CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF TG_TABLE_NAME IN ('drafts', 'events', 'reviews') THEN
            IF is_being_erased(OLD.study_id, NULL) THEN
                RETURN OLD;
            END IF;
        ELSIF TG_TABLE_NAME = 'order_changes' THEN
            IF is_being_erased(NULL, OLD.order_id) THEN
                RETURN OLD;
            END IF;
        END IF;
    END IF;
    RAISE EXCEPTION 'rows of % are written once', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER erasures_written_once BEFORE UPDATE OR DELETE ON erasures
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER erasures_kept BEFORE TRUNCATE ON erasures
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION stamp_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.transaction := pg_current_xact_id()::text::bigint;
    NEW.at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE TRIGGER erasures_stamped BEFORE INSERT ON erasures
    FOR EACH ROW EXECUTE FUNCTION stamp_erasure();
"""

NO_ERASURE = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are written once', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

DROP FUNCTION is_being_erased(uuid, uuid);
"""

# The numbers of a campaign are those of its rows, also where an erasure deletes some.
CAMPAIGN_ROWS_GONE = """
CREATE FUNCTION tally_campaign_studies_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign_tallies (campaign_id, quarter, state, reason, number)
    SELECT campaign_id, date_bin('15 minutes', clock_timestamp(), 'epoch'), state, reason, -count(*)
    FROM gone GROUP BY campaign_id, state, reason;
    RETURN NULL;
END $$;

CREATE TRIGGER campaign_studies_tally_gone AFTER DELETE ON campaign_studies
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tally_campaign_studies_gone();
"""

# Rows come and go all the time: vacuum cleans them by their number.
STORAGE = """
ALTER TABLE blob_removals SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false
);
"""


def _time(name: str, *, nullable: bool = True, default: str | None = None) -> sa.Column:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text(default) if default else None,
        nullable=nullable,
    )


def upgrade() -> None:
    op.add_column("instances", _time("bytes_removed_at"))
    op.add_column("instances", _time("bytes_restored_at"))
    op.create_index(
        "ix_instances_stored",
        "instances",
        ["received_at", "id"],
        postgresql_include=["study_id", "size"],
        postgresql_where=sa.text("bytes_removed_at IS NULL"),
    )
    op.create_index(
        "ix_instances_bytes_removed_at",
        "instances",
        ["bytes_removed_at"],
        postgresql_include=["received_at", "size"],
        postgresql_where=sa.text("bytes_removed_at IS NOT NULL"),
    )
    # The few objects whose header is kept, for they may be another patient's.
    op.create_index(
        "ix_instances_sent_patient_id",
        "instances",
        [sa.text("upper(sent ->> 'patient_id')")],
        postgresql_where=sa.text("sent IS NOT NULL"),
    )
    # Among all requests, those few whose prepared input is still needed.
    op.create_index(
        "ix_draft_requests_prepared",
        "draft_requests",
        ["inputs_digest"],
        postgresql_where=sa.text("state = 'PREPARED'"),
    )
    op.create_table(
        "blob_removals",
        sa.Column("key", sa.Text(), nullable=False),
        _time("queued_at", nullable=False, default="now()"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_blob_removals")),
    )
    op.create_index("ix_blob_removals_queued_at", "blob_removals", ["queued_at", "key"])
    op.create_table(
        "retention_walks",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("position", postgresql.JSONB(), nullable=True),
        _time("began_at", nullable=False, default="now()"),
        _time("ended_at"),
        sa.Column("removed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("removed_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "rule IN ('INSTANCES', 'PREPARED', 'STRAY_PREPARED')",
            name=op.f("ck_retention_walks_rule_known"),
        ),
        sa.PrimaryKeyConstraint("rule", name=op.f("pk_retention_walks")),
    )
    op.create_table(
        "erasures",
        sa.Column(
            "id",
            sa.Uuid(),
            server_default=sa.text(migrations.new_id(op.get_bind())),
            nullable=False,
        ),
        _time("at", nullable=False, default="clock_timestamp()"),
        sa.Column("transaction", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("study_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("order_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.CheckConstraint(r"requested_by ~ '\S'", name=op.f("ck_erasures_has_name")),
        sa.CheckConstraint(r"reason ~ '\S'", name=op.f("ck_erasures_has_reason")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.execute(ERASURE)
    op.execute(CAMPAIGN_ROWS_GONE)
    op.execute(STORAGE)


def downgrade() -> None:
    op.execute("DROP TRIGGER campaign_studies_tally_gone ON campaign_studies")
    op.execute("DROP FUNCTION tally_campaign_studies_gone()")
    op.drop_table("erasures")
    op.execute("DROP FUNCTION stamp_erasure()")
    op.execute(NO_ERASURE)
    op.drop_table("retention_walks")
    op.drop_table("blob_removals")
    op.drop_index("ix_draft_requests_prepared", "draft_requests")
    op.drop_index("ix_instances_sent_patient_id", "instances")
    op.drop_index("ix_instances_bytes_removed_at", "instances")
    op.drop_index("ix_instances_stored", "instances")
    op.drop_column("instances", "bytes_restored_at")
    op.drop_column("instances", "bytes_removed_at")
