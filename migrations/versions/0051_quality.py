"""What became of each draft, the kept numbers of it, and the scores of second readers.

Revision ID: 0051
Revises: 0050
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

import migrations

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None

_KINDS = (
    "'DISK_FULL', 'WORKER_STOPPED', 'BUNDLE_UNUSABLE', 'PART_MISSING', 'PART_CRASHING', "
    "'STATION_WAITS', 'REDIS_DOWN', 'FILES_DAMAGED', 'FILES_UNREGISTERED', 'FILES_SET_ASIDE', "
    "'FILMS_UNLIKE', 'MESSAGES_FAIL', 'WORKLIST_AWAY', 'REPORT_SERVER_AWAY', 'MESSAGES_REFUSED', "
    "'PACS_AWAY', 'NIGHT_LATE', 'AUDIT_AWAY', 'TRAIL_UNSEALED', 'CERTIFICATE_ENDS', "
    "'MODEL_STOPPED'"
)

# An outcome is of the site of its study, and follows it.
SITE = """
CREATE FUNCTION set_outcome_site() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.site_id := (SELECT site_id FROM studies WHERE id = NEW.study_id);
    RETURN NEW;
END $$;

CREATE TRIGGER draft_outcomes_set_site BEFORE INSERT ON draft_outcomes
    FOR EACH ROW EXECUTE FUNCTION set_outcome_site();

CREATE FUNCTION move_outcomes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE draft_outcomes SET site_id = NEW.site_id WHERE study_id = NEW.id;
    RETURN NULL;
END $$;

CREATE TRIGGER studies_move_outcomes AFTER UPDATE OF site_id ON studies
    FOR EACH ROW WHEN (NEW.site_id <> OLD.site_id) EXECUTE FUNCTION move_outcomes();
"""

# A row counts from when a worker has completed it. Parts are only added, so nobody who signs waits
# for who signs another report of the same group.
COUNT = """
CREATE FUNCTION count_outcome() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF ROW(OLD.site_id, OLD.day, OLD.bundle_digest, OLD.view, OLD.device, OLD.age_group,
                OLD.sex, OLD.arm, OLD.cells)
            IS NOT DISTINCT FROM ROW(NEW.site_id, NEW.day, NEW.bundle_digest, NEW.view, NEW.device,
                NEW.age_group, NEW.sex, NEW.arm, NEW.cells) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF TG_OP <> 'INSERT' AND OLD.cells IS NOT NULL THEN
        INSERT INTO quality_parts (site_id, day, bundle_digest, view, device, age_group, sex, arm,
            cells, number)
        VALUES (OLD.site_id, OLD.day, OLD.bundle_digest, OLD.view, OLD.device, OLD.age_group,
            OLD.sex, OLD.arm, OLD.cells, -1);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.cells IS NOT NULL THEN
        INSERT INTO quality_parts (site_id, day, bundle_digest, view, device, age_group, sex, arm,
            cells, number)
        VALUES (NEW.site_id, NEW.day, NEW.bundle_digest, NEW.view, NEW.device, NEW.age_group,
            NEW.sex, NEW.arm, NEW.cells, 1);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER draft_outcomes_count AFTER INSERT OR UPDATE OR DELETE ON draft_outcomes
    FOR EACH ROW EXECUTE FUNCTION count_outcome();

CREATE FUNCTION add_numbers(one bigint[], other bigint[]) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(coalesce(a, 0) + coalesce(b, 0) ORDER BY place), '{}')
    FROM unnest(one, other) WITH ORDINALITY AS pairs(a, b, place)
$$;
"""

# As other rows that are written once, a score goes with an erasure alone.
SCORES = """
CREATE FUNCTION refuse_score_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND is_being_erased(OLD.study_id, NULL) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'rows of % are written once', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER report_scores_written_once BEFORE UPDATE OR DELETE ON report_scores
    FOR EACH ROW EXECUTE FUNCTION refuse_score_change();

CREATE TRIGGER report_scores_kept BEFORE TRUNCATE ON report_scores
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

# Parts come and go all the time: vacuum cleans them by their number.
STORAGE = """
ALTER TABLE quality_parts SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000
);
"""

# A worker completes the rows of what was decided before.
DECIDED_BEFORE = """
INSERT INTO draft_outcomes (review_id, study_id, draft_id, account_id, decision, bundle_digest)
SELECT reviews.id, reviews.study_id, reviews.draft_id, reviews.account_id, reviews.decision,
    drafts.bundle_digest
FROM reviews JOIN drafts ON drafts.id = reviews.draft_id
WHERE reviews.decision IN ('SIGNED', 'REJECTED');
"""

GROUP = ("view", "device", "age_group", "sex", "arm")


def _text(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.Text(), server_default=default, nullable=nullable)


def _id(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.Uuid(), nullable=nullable)


def _foreign(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}_{other}")
    )


def upgrade() -> None:
    new_id = migrations.new_id(op.get_bind())
    _create_outcomes()
    op.create_table(
        "quality_counts",
        _id("site_id"),
        sa.Column("month", sa.Date(), nullable=False),
        _text("bundle_digest"),
        *(_text(name) for name in GROUP),
        sa.Column("numbers", ARRAY(sa.BigInteger()), nullable=False),
        sa.PrimaryKeyConstraint(
            "site_id", "month", "bundle_digest", *GROUP, name=op.f("pk_quality_counts")
        ),
    )
    op.create_index("ix_quality_counts_month", "quality_counts", ["month"])
    op.create_table(
        "quality_days",
        _id("site_id"),
        _text("bundle_digest"),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("watched", sa.BigInteger(), nullable=False),
        sa.Column("differing", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "bundle_digest", "day", name=op.f("pk_quality_days")),
    )
    op.create_index("ix_quality_days_day", "quality_days", ["day"])
    op.create_table(
        "quality_parts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _id("site_id"),
        sa.Column("day", sa.Date(), nullable=False),
        _text("bundle_digest"),
        *(_text(name) for name in GROUP),
        sa.Column("cells", ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_parts")),
    )
    op.create_table(
        "report_scores",
        sa.Column("id", sa.Uuid(), server_default=sa.text(new_id), nullable=False),
        _id("review_id"),
        _id("study_id"),
        _id("account_id"),
        _text("score"),
        sa.Column(
            "scored_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "score IN ('1', '2a', '2b', '3a', '3b')", name=op.f("ck_report_scores_score_known")
        ),
        _foreign("report_scores", "review_id", "reviews"),
        _foreign("report_scores", "study_id", "studies"),
        _foreign("report_scores", "account_id", "accounts"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_scores")),
        sa.UniqueConstraint("review_id", "account_id", name=op.f("uq_report_scores_review_id")),
    )
    op.create_index("ix_report_scores_study_id", "report_scores", ["study_id"])
    for statements in (SITE, COUNT, SCORES, STORAGE, DECIDED_BEFORE):
        op.execute(statements)
    _replace_kinds(f"{_KINDS}, 'QUALITY_DRIFT'")


def _create_outcomes() -> None:
    table = "draft_outcomes"
    op.create_table(
        table,
        _id("review_id"),
        _id("study_id"),
        _id("draft_id"),
        _id("account_id", nullable=True),
        _id("site_id"),
        _text("decision"),
        _text("bundle_digest"),
        sa.Column("day", sa.Date(), nullable=True),
        *(_text(name, "") for name in GROUP),
        _text("reject_reason", nullable=True),
        sa.Column("distances", JSONB(), nullable=True),
        sa.Column("unedited", sa.Boolean(), nullable=True),
        sa.Column("small_edit", sa.Boolean(), nullable=True),
        sa.Column("seconds", sa.Integer(), nullable=True),
        sa.Column("seconds_to_draft", sa.Integer(), nullable=True),
        sa.Column("observations", JSONB(), nullable=True),
        sa.Column("cells", ARRAY(sa.SmallInteger()), nullable=True),
        sa.CheckConstraint(
            "decision IN ('SIGNED', 'REJECTED')", name=op.f(f"ck_{table}_decision_known")
        ),
        sa.CheckConstraint(
            "arm = '' OR arm IN ('WITH_DRAFT', 'READ_FIRST')", name=op.f(f"ck_{table}_arm_known")
        ),
        sa.CheckConstraint(
            "cells IS NULL OR day IS NOT NULL", name=op.f(f"ck_{table}_counted_has_day")
        ),
        _foreign(table, "review_id", "reviews"),
        _foreign(table, "study_id", "studies"),
        _foreign(table, "draft_id", "drafts"),
        _foreign(table, "account_id", "accounts"),
        sa.PrimaryKeyConstraint("review_id", name=op.f(f"pk_{table}")),
    )
    op.create_index(f"ix_{table}_study_id", table, ["study_id"])
    op.create_index(f"ix_{table}_draft_id", table, ["draft_id"])
    op.create_index(
        f"ix_{table}_account_id",
        table,
        ["account_id", "day"],
        postgresql_where=sa.text("account_id IS NOT NULL AND cells IS NOT NULL"),
    )
    op.create_index(
        f"ix_{table}_waiting", table, ["review_id"], postgresql_where=sa.text("cells IS NULL")
    )


def downgrade() -> None:
    op.execute(
        "DELETE FROM alarm_messages USING alarms"
        " WHERE alarms.kind = 'QUALITY_DRIFT' AND alarm_messages.trouble_id = alarms.trouble_id"
        " AND NOT EXISTS (SELECT FROM alarms AS other WHERE other.trouble_id = alarms.trouble_id"
        " AND other.kind <> 'QUALITY_DRIFT')"
    )
    op.execute("DELETE FROM alarms WHERE kind = 'QUALITY_DRIFT'")
    _replace_kinds(_KINDS)
    op.execute("DROP TRIGGER studies_move_outcomes ON studies")
    for table in (
        "report_scores", "quality_parts", "quality_days", "quality_counts", "draft_outcomes"
    ):  # fmt: skip
        op.drop_table(table)
    for function in (
        "move_outcomes()",
        "set_outcome_site()",
        "count_outcome()",
        "add_numbers(bigint[], bigint[])",
        "refuse_score_change()",
    ):
        op.execute(f"DROP FUNCTION {function}")


def _replace_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_alarms_kind_known"), "alarms")
    op.create_check_constraint(op.f("ck_alarms_kind_known"), "alarms", f"kind IN ({kinds})")
