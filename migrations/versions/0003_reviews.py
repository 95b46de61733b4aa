"""Reviews: what readers signed or rejected.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


# What was signed stays as it was signed. Consent to train on it is the one thing that a person can
# give and take back afterwards. `refuse_change` is of 0001.
WRITTEN_ONCE = """
CREATE FUNCTION refuse_review_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(NEW) - 'training_consent') IS DISTINCT FROM (to_jsonb(OLD) - 'training_consent')
    THEN
        RAISE EXCEPTION 'a review is written once'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER reviews_written_once BEFORE UPDATE ON reviews
    FOR EACH ROW EXECUTE FUNCTION refuse_review_change();
CREATE TRIGGER reviews_kept BEFORE DELETE ON reviews
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("draft_id", sa.Uuid(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), server_default="", nullable=False),
        sa.Column("impression", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "training_consent", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column(
            "decided_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "decision IN ('SIGNED', 'REJECTED')", name=op.f("ck_reviews_decision_known")
        ),
        sa.CheckConstraint(r"reader ~ '\S'", name=op.f("ck_reviews_has_reader")),
        sa.CheckConstraint(
            r"decision <> 'SIGNED' OR (findings || impression) ~ '\S'",
            name=op.f("ck_reviews_signed_has_text"),
        ),
        sa.CheckConstraint(
            r"decision <> 'REJECTED' OR (note ~ '\S' AND findings = '' AND impression = ''"
            " AND NOT training_consent)",
            name=op.f("ck_reviews_rejected_has_reason_alone"),
        ),
        sa.ForeignKeyConstraint(
            ["draft_id"], ["drafts.id"], name=op.f("fk_reviews_draft_id_drafts")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_reviews_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_draft_id"), "reviews", ["draft_id"], unique=False)
    op.create_index("ix_reviews_study_id", "reviews", ["study_id", "decided_at"], unique=False)
    op.create_index(
        "uq_reviews_signed",
        "reviews",
        ["draft_id"],
        unique=True,
        postgresql_where=sa.text("decision = 'SIGNED'"),
    )
    op.execute(WRITTEN_ONCE)


def downgrade() -> None:
    op.drop_table("reviews")
    op.execute("DROP FUNCTION refuse_review_change();")
