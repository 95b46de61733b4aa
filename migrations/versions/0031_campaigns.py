"""Campaigns: studies that wait in rows of their own, and what became of each.

Revision ID: 0031
Revises: 0030
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

import migrations

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

# A row of a campaign follows the state of its study in the worklist, or its own comparison draft.
# The triggers only note which study changed. Whoever changes a study never waits for a campaign, and
# a campaign that locks its rows never waits for a study.
FOLLOW = """
CREATE FUNCTION mark_campaign_study() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM campaign_studies WHERE study_id = NEW.study_id AND follows) THEN
        INSERT INTO campaign_marks (study_id) VALUES (NEW.study_id);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER worklist_entries_mark_campaign AFTER UPDATE OF state ON worklist_entries
    FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION mark_campaign_study();

CREATE TRIGGER draft_requests_mark_campaign AFTER UPDATE OF state ON draft_requests
    FOR EACH ROW WHEN (NEW.purpose = 'COMPARISON' AND NEW.state <> OLD.state)
    EXECUTE FUNCTION mark_campaign_study();
"""

DROP_FOLLOW = """
DROP TRIGGER draft_requests_mark_campaign ON draft_requests;
DROP TRIGGER worklist_entries_mark_campaign ON worklist_entries;
DROP FUNCTION mark_campaign_study();
"""

TALLIES = """
CREATE FUNCTION tally_campaign_studies() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    this_quarter timestamptz := date_bin('15 minutes', clock_timestamp(), 'epoch');
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO campaign_tallies (campaign_id, quarter, state, reason, number)
        SELECT campaign_id, this_quarter, state, reason, count(*)
        FROM entered GROUP BY campaign_id, state, reason;
    ELSE
        INSERT INTO campaign_tallies (campaign_id, quarter, state, reason, number)
        SELECT campaign_id, this_quarter, state, reason, sum(number) FROM (
            SELECT campaign_id, state, reason, 1 AS number FROM entered
            UNION ALL SELECT campaign_id, state, reason, -1 FROM gone
        ) AS changes
        GROUP BY campaign_id, state, reason HAVING sum(number) <> 0;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER campaign_studies_tally_new AFTER INSERT ON campaign_studies
    REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION tally_campaign_studies();

CREATE TRIGGER campaign_studies_tally AFTER UPDATE ON campaign_studies
    REFERENCING OLD TABLE AS gone NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION tally_campaign_studies();
"""

# These rows come and go all the time: vacuum cleans them by their number.
STORAGE = """
ALTER TABLE campaign_marks SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false
);
ALTER TABLE campaign_tallies SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_threshold = -1, vacuum_truncate = false
);
"""


def upgrade() -> None:
    op.create_table(
        "campaign_marks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign_marks")),
    )
    op.create_table(
        "campaigns",
        sa.Column(
            "id",
            sa.Uuid(),
            server_default=sa.text(migrations.new_id(op.get_bind())),
            nullable=False,
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("pacs", sa.Text(), server_default="", nullable=False),
        sa.Column("bundle", sa.Text(), nullable=True),
        sa.Column("purpose", sa.Text(), server_default="PRIMARY", nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("3"), nullable=False),
        sa.Column("skip_reported", sa.Boolean(), nullable=False),
        sa.Column("window_opens", sa.Time(), nullable=True),
        sa.Column("window_closes", sa.Time(), nullable=True),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("blackouts", JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=True),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("studies_per_minute", sa.Double(), nullable=True),
        sa.Column("state", sa.Text(), server_default="RUNNING", nullable=False),
        sa.Column("is_open", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("walk_state", sa.Text(), server_default="WALKING", nullable=False),
        sa.Column("walk_position", JSONB(), nullable=True),
        sa.Column("walk_claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("walk_note", sa.Text(), server_default="", nullable=False),
        sa.Column("stalled_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("stalled_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('AGAIN', 'LIST', 'FOLDER', 'QUERY')", name=op.f("ck_campaigns_kind_known")
        ),
        sa.CheckConstraint("name ~ '\\S'", name=op.f("ck_campaigns_has_name")),
        sa.CheckConstraint(
            "purpose IN ('PRIMARY', 'COMPARISON')", name=op.f("ck_campaigns_purpose_known")
        ),
        sa.CheckConstraint(
            "state IN ('RUNNING', 'PAUSED', 'CANCELLED', 'DONE')",
            name=op.f("ck_campaigns_state_known"),
        ),
        sa.CheckConstraint(
            "walk_state IN ('WALKING', 'WALKED', 'FAILED')",
            name=op.f("ck_campaigns_walk_state_known"),
        ),
        sa.CheckConstraint(
            "(window_opens IS NULL) = (window_closes IS NULL)",
            name=op.f("ck_campaigns_window_whole"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
        sa.UniqueConstraint("name", name=op.f("uq_campaigns_name")),
    )
    op.create_index("ix_campaigns_created_at", "campaigns", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_campaigns_running",
        "campaigns",
        ["priority", "created_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'RUNNING'"),
    )
    op.create_table(
        "campaign_studies",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("state", sa.Text(), server_default="WAITING", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("study_instance_uid", sa.Text(), server_default="", nullable=False),
        sa.Column("accession_number", sa.Text(), server_default="", nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("follows", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("listed", sa.Integer(), nullable=True),
        sa.Column("missing", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "state IN ('WAITING', 'PULLING', 'IN_WORK', 'HELD', 'DRAFTED', 'SKIPPED', 'FAILED', 'MISSING', 'CANCELLED')",
            name=op.f("ck_campaign_studies_state_known"),
        ),
        sa.CheckConstraint(
            "study_instance_uid <> '' OR accession_number <> ''",
            name=op.f("ck_campaign_studies_names_a_study"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
            name=op.f("fk_campaign_studies_campaign_id_campaigns"),
        ),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["studies.id"],
            ondelete="SET NULL",
            name=op.f("fk_campaign_studies_study_id_studies"),
        ),
        sa.PrimaryKeyConstraint("campaign_id", "id", name=op.f("pk_campaign_studies")),
    )
    op.create_index(
        "ix_campaign_studies_study_id",
        "campaign_studies",
        ["study_id"],
        unique=False,
        postgresql_where=sa.text("study_id IS NOT NULL"),
    )
    op.create_index(
        "ix_campaign_studies_not_before",
        "campaign_studies",
        ["not_before"],
        unique=False,
        postgresql_where=sa.text("state = 'WAITING' AND not_before IS NOT NULL"),
    )
    op.create_index(
        "ix_campaign_studies_reason",
        "campaign_studies",
        ["campaign_id", "state", "reason", "id"],
        unique=False,
        postgresql_where=sa.text("reason <> ''"),
    )
    op.create_index(
        "ix_campaign_studies_state",
        "campaign_studies",
        ["campaign_id", "state", "id"],
        unique=False,
    )
    op.create_index(
        "ix_campaign_studies_under_way",
        "campaign_studies",
        ["campaign_id", "state", "claimed_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('PULLING', 'IN_WORK')"),
    )
    op.create_index(
        "ix_campaign_studies_waiting",
        "campaign_studies",
        ["campaign_id", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'WAITING' AND not_before IS NULL"),
    )
    op.create_index(
        "uq_campaign_studies_accession_number",
        "campaign_studies",
        ["campaign_id", "accession_number"],
        unique=True,
        postgresql_where=sa.text("study_instance_uid = ''"),
    )
    op.create_index(
        "uq_campaign_studies_pulling",
        "campaign_studies",
        ["study_instance_uid"],
        unique=True,
        postgresql_where=sa.text("state = 'PULLING' AND study_instance_uid <> ''"),
    )
    op.create_index(
        "uq_campaign_studies_uid",
        "campaign_studies",
        ["campaign_id", "study_instance_uid"],
        unique=True,
        postgresql_where=sa.text("study_instance_uid <> ''"),
    )
    op.create_table(
        "campaign_tallies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("quarter", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
            name=op.f("fk_campaign_tallies_campaign_id_campaigns"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign_tallies")),
    )
    op.create_index(
        "ix_campaign_tallies_campaign_id",
        "campaign_tallies",
        ["campaign_id", "quarter"],
        unique=False,
    )
    op.create_table(
        "campaign_files",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("campaign_study_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id", "campaign_study_id"],
            ["campaign_studies.campaign_id", "campaign_studies.id"],
            name=op.f("fk_campaign_files_campaign_id_campaign_studies"),
        ),
        sa.PrimaryKeyConstraint("campaign_id", "path", name=op.f("pk_campaign_files")),
    )
    op.create_index(
        "ix_campaign_files_campaign_study_id",
        "campaign_files",
        ["campaign_id", "campaign_study_id"],
        unique=False,
    )
    op.create_index(
        "ix_drafts_bundle_digest",
        "drafts",
        ["bundle_digest", "id"],
        unique=False,
        postgresql_where=sa.text("purpose = 'PRIMARY' AND superseded_at IS NULL"),
    )
    op.execute(FOLLOW)
    op.execute(TALLIES)
    op.execute(STORAGE)


def downgrade() -> None:
    op.execute(DROP_FOLLOW)
    op.drop_index("ix_drafts_bundle_digest", table_name="drafts")
    op.drop_table("campaign_files")
    op.drop_table("campaign_tallies")
    op.drop_table("campaign_studies")
    op.drop_table("campaigns")
    op.drop_table("campaign_marks")
    op.execute("DROP FUNCTION tally_campaign_studies()")
