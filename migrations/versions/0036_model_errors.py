"""Discrepancies know the campaign that asked for the draft, and the model's errors are counted.

Revision ID: 0036
Revises: 0035
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

TALLY = """
CREATE OR REPLACE FUNCTION tally_discrepancy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        IF TG_OP = 'UPDATE' AND (OLD.side, OLD.state) = (NEW.side, NEW.state)
            AND OLD.campaign_id IS NOT DISTINCT FROM NEW.campaign_id THEN
            RETURN NULL;
        END IF;
        INSERT INTO discrepancy_tallies (campaign_id, side, state, number)
        VALUES (OLD.campaign_id, OLD.side, OLD.state, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO discrepancy_tallies (campaign_id, side, state, number)
        VALUES (NEW.campaign_id, NEW.side, NEW.state, 1);
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER discrepancies_tally ON discrepancies;

CREATE TRIGGER discrepancies_tally
    AFTER INSERT OR DELETE OR UPDATE OF side, state, campaign_id ON discrepancies
    FOR EACH ROW EXECUTE FUNCTION tally_discrepancy();
"""

TALLY_BEFORE = """
CREATE OR REPLACE FUNCTION tally_discrepancy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        IF TG_OP = 'UPDATE' AND (OLD.side, OLD.state) = (NEW.side, NEW.state) THEN
            RETURN NULL;
        END IF;
        INSERT INTO discrepancy_tallies (side, state, number) VALUES (OLD.side, OLD.state, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO discrepancy_tallies (side, state, number) VALUES (NEW.side, NEW.state, 1);
    END IF;
    RETURN NULL;
END $$;

DROP TRIGGER discrepancies_tally ON discrepancies;

CREATE TRIGGER discrepancies_tally AFTER INSERT OR DELETE OR UPDATE OF side, state ON discrepancies
    FOR EACH ROW EXECUTE FUNCTION tally_discrepancy();
"""

OF_CAMPAIGN = sa.text("campaign_id IS NOT NULL")
IS_ASKED = sa.text("observation IN ('Pneumothorax', 'Lung Lesion', 'Consolidation')")


def upgrade() -> None:
    for table in ("discrepancies", "discrepancy_tallies"):
        op.add_column(table, sa.Column("campaign_id", sa.Uuid(), nullable=True))
    op.create_index("ix_discrepancy_tallies_campaign_id", "discrepancy_tallies", ["campaign_id"])
    op.execute(TALLY)
    ranked = ["certainty", "id"]
    op.create_index(
        "ix_discrepancies_observation", "discrepancies", ["side", "state", "observation", *ranked]
    )
    op.create_index(
        "ix_discrepancies_campaign",
        "discrepancies",
        ["campaign_id", "side", "state", *ranked],
        postgresql_where=OF_CAMPAIGN,
    )
    op.create_index(
        "ix_discrepancies_campaign_observation",
        "discrepancies",
        ["campaign_id", "side", "state", "observation", *ranked],
        postgresql_where=OF_CAMPAIGN,
    )
    op.create_index(
        "ix_discrepancies_asked",
        "discrepancies",
        ["side", "state", *ranked],
        postgresql_where=IS_ASKED,
    )
    op.add_column("final_comparisons", sa.Column("counted", postgresql.JSONB(), nullable=True))
    op.create_index(
        "uq_final_comparisons_counted",
        "final_comparisons",
        ["draft_id"],
        unique=True,
        postgresql_where=sa.text("counted IS NOT NULL"),
    )
    op.create_table(
        "model_error_tallies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=True),
        sa.Column("observation", sa.Text(), nullable=False),
        sa.Column("counted", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "counted IN ('COMPARED', 'SAID', 'MISSED')",
            name=op.f("ck_model_error_tallies_counted_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_error_tallies")),
    )
    op.create_index("ix_model_error_tallies_campaign_id", "model_error_tallies", ["campaign_id"])


def downgrade() -> None:
    op.drop_table("model_error_tallies")
    op.drop_index("uq_final_comparisons_counted", "final_comparisons")
    op.drop_column("final_comparisons", "counted")
    for name in ("asked", "campaign_observation", "campaign", "observation"):
        op.drop_index(f"ix_discrepancies_{name}", "discrepancies")
    op.execute(TALLY_BEFORE)
    op.drop_index("ix_discrepancy_tallies_campaign_id", "discrepancy_tallies")
    for table in ("discrepancies", "discrepancy_tallies"):
        op.drop_column(table, "campaign_id")
