"""Working texts and readings; reviews know addenda, countersignatures and finals from elsewhere.

Revision ID: 0048
Revises: 0047
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import migrations

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

NEW_CHECKS = {
    "decision_known": "decision IN ('SIGNED', 'REJECTED', 'ADDENDUM', 'COUNTERSIGNED',"
    " 'SIGNED_ELSEWHERE')",
    "rejected_has_reason_alone": r"decision <> 'REJECTED' OR"
    r" ((note ~ '\S' OR coalesce(reject_reason, 'OTHER') <> 'OTHER')"
    " AND findings = '' AND impression = '' AND NOT training_consent)",
    "reject_reason_known": "reject_reason IS NULL OR (decision = 'REJECTED'"
    " AND reject_reason IN ('FINDING_MISSED', 'FINDING_INVENTED', 'WRONG_SIDE', 'WRONG_PRIOR',"
    " 'WRONG_PATIENT', 'POOR_TEXT', 'POOR_IMAGES', 'OTHER'))",
    "addendum_has_text": r"(decision = 'ADDENDUM') = (addendum ~ '\S')",
    "follows_a_report": "(decision IN ('ADDENDUM', 'COUNTERSIGNED')) = (follows_id IS NOT NULL)",
    "elsewhere_has_report": "(decision = 'SIGNED_ELSEWHERE') = (report_id IS NOT NULL)",
    "text_of_report_alone": "decision IN ('SIGNED', 'REJECTED')"
    " OR (findings = '' AND impression = '' AND NOT training_consent)",
}

OLD_CHECKS = {
    "decision_known": "decision IN ('SIGNED', 'REJECTED')",
    "rejected_has_reason_alone": r"decision <> 'REJECTED' OR (note ~ '\S' AND findings = ''"
    " AND impression = '' AND NOT training_consent)",
}

# The older version knows neither addenda nor a reason without a note.
NOTHING_NEW = r"""
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM reviews
        WHERE decision NOT IN ('SIGNED', 'REJECTED') OR (decision = 'REJECTED' AND note !~ '\S')
    ) THEN
        RAISE EXCEPTION 'there are addenda, countersignatures or reasons that an older version '
            'cannot keep, and what was signed is not deleted';
    END IF;
END $$;
"""

# `refuse_change` of migration 0040 lets an erasure delete rows of `reviews`: it stays as it is.
# A text that somebody works on has one version after the other; none of an older one is written.
VERSIONS = """
CREATE FUNCTION raise_text_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version <= OLD.version
        AND (NEW.findings, NEW.impression) IS DISTINCT FROM (OLD.findings, OLD.impression)
    THEN
        RAISE EXCEPTION 'another text needs another version'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER working_texts_versions BEFORE UPDATE ON working_texts
    FOR EACH ROW EXECUTE FUNCTION raise_text_version();
"""

# Rows are rewritten with each save of a text: vacuum cleans them by their number.
STORAGE = """
ALTER TABLE working_texts SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000
);
"""


def _time(name: str, *, nullable: bool = True, now: bool = False) -> sa.Column:
    default = sa.text("clock_timestamp()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _text(name: str, default: str | None = None) -> sa.Column:
    return sa.Column(name, sa.Text(), server_default=default, nullable=False)


def _key(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}_{other}")
    )


def _replace_checks(old: dict[str, str], new: dict[str, str]) -> None:
    for name in old:
        op.execute(f"ALTER TABLE reviews DROP CONSTRAINT ck_reviews_{name}")
    for name, condition in new.items():
        # NOT VALID: nobody waits while all rows are checked; the next statement checks them.
        op.execute(
            f"ALTER TABLE reviews ADD CONSTRAINT ck_reviews_{name} CHECK ({condition}) NOT VALID"
        )
        op.execute(f"ALTER TABLE reviews VALIDATE CONSTRAINT ck_reviews_{name}")


def upgrade() -> None:
    for column in (
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("follows_id", sa.Uuid(), nullable=True),
        sa.Column("report_id", sa.Uuid(), nullable=True),
        sa.Column("reject_reason", sa.Text(), nullable=True),
        _text("addendum", ""),
        _text("prepared_by", ""),
        sa.Column("text_version", sa.Integer(), nullable=True),
        sa.Column("text_sha256", sa.Text(), nullable=True),
        sa.Column("distances", postgresql.JSONB(), nullable=True),
    ):
        op.add_column("reviews", column)
    for column, other in (("account_id", "accounts"), ("follows_id", "reviews")):
        op.create_foreign_key(
            op.f(f"fk_reviews_{column}_{other}"), "reviews", other, [column], ["id"]
        )
    _replace_checks(OLD_CHECKS, NEW_CHECKS)
    op.create_index(
        "ix_reviews_follows_id",
        "reviews",
        ["follows_id"],
        postgresql_where=sa.text("follows_id IS NOT NULL"),
    )
    op.create_index(
        "uq_reviews_elsewhere",
        "reviews",
        ["draft_id", "report_id"],
        unique=True,
        postgresql_where=sa.text("report_id IS NOT NULL"),
    )
    op.create_index(
        "uq_reviews_countersigned",
        "reviews",
        ["follows_id", "account_id"],
        unique=True,
        postgresql_where=sa.text("decision = 'COUNTERSIGNED'"),
    )
    op.create_table(
        "working_texts",
        sa.Column("draft_id", sa.Uuid(), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        _text("findings"),
        _text("impression"),
        _text("state", "OPEN"),
        _text("saved_by"),
        sa.Column("saved_by_id", sa.Uuid(), nullable=True),
        _time("saved_at", nullable=False, now=True),
        _text("sent_by", ""),
        sa.Column("sent_by_id", sa.Uuid(), nullable=True),
        _time("sent_at"),
        _text("note", ""),
        sa.CheckConstraint(
            "state IN ('OPEN', 'SUBMITTED', 'SECOND_READER')",
            name=op.f("ck_working_texts_state_known"),
        ),
        sa.CheckConstraint("version > 0", name=op.f("ck_working_texts_version_counts")),
        sa.CheckConstraint(
            "(state = 'OPEN') = (sent_at IS NULL)", name=op.f("ck_working_texts_sent_is_whole")
        ),
        _key("working_texts", "draft_id", "drafts"),
        _key("working_texts", "study_id", "studies"),
        _key("working_texts", "saved_by_id", "accounts"),
        _key("working_texts", "sent_by_id", "accounts"),
        sa.PrimaryKeyConstraint("draft_id", name=op.f("pk_working_texts")),
    )
    op.create_index("ix_working_texts_study_id", "working_texts", ["study_id"])
    op.create_index(
        "ix_working_texts_sent",
        "working_texts",
        ["sent_at"],
        postgresql_where=sa.text("state <> 'OPEN'"),
    )
    op.execute(VERSIONS)
    op.execute(STORAGE)
    op.create_table(
        "readings",
        sa.Column(
            "id",
            sa.Uuid(),
            server_default=sa.text(migrations.new_id(op.get_bind())),
            nullable=False,
        ),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("draft_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        _text("arm"),
        _time("opened_at", nullable=False, now=True),
        _time("films_opened_at"),
        _time("draft_shown_at"),
        _time("ended_at"),
        sa.Column("end", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "arm IN ('WITH_DRAFT', 'READ_FIRST')",
            name=op.f("ck_readings_arm_known"),
        ),
        sa.CheckConstraint(
            "\"end\" IN ('SIGNED', 'REJECTED', 'SENT', 'LEFT')", name=op.f("ck_readings_end_known")
        ),
        sa.CheckConstraint(
            '("end" IS NULL) = (ended_at IS NULL)', name=op.f("ck_readings_end_is_whole")
        ),
        _key("readings", "study_id", "studies"),
        _key("readings", "draft_id", "drafts"),
        _key("readings", "account_id", "accounts"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_readings")),
    )
    op.create_index("ix_readings_study_id", "readings", ["study_id"])
    op.create_index("ix_readings_draft_id", "readings", ["draft_id"])
    op.create_index("ix_readings_opened_at", "readings", ["opened_at"])
    op.create_index(
        "uq_readings_under_way",
        "readings",
        ["draft_id", "account_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def downgrade() -> None:
    op.execute(NOTHING_NEW)
    op.drop_table("readings")
    op.drop_table("working_texts")
    op.execute("DROP FUNCTION raise_text_version()")
    for index in ("uq_reviews_countersigned", "uq_reviews_elsewhere", "ix_reviews_follows_id"):
        op.drop_index(index, "reviews")
    _replace_checks(NEW_CHECKS, OLD_CHECKS)
    for name in (
        *("account_id", "follows_id", "report_id", "reject_reason", "addendum", "prepared_by"),
        *("text_version", "text_sha256", "distances"),
    ):
        op.drop_column("reviews", name)
