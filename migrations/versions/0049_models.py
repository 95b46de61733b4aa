"""Models can be stopped and recalled, and each site has a mode.

Sites that are here keep showing their drafts: they are in the mode RESEARCH, for nobody has agreed
on clinical use. A site that is made from now on begins in SHADOW.

Revision ID: 0049
Revises: 0048
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

import migrations

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None

_KINDS = (
    "'DISK_FULL', 'WORKER_STOPPED', 'BUNDLE_UNUSABLE', 'PART_MISSING', 'PART_CRASHING', "
    "'STATION_WAITS', 'REDIS_DOWN', 'FILES_DAMAGED', 'FILES_UNREGISTERED', 'FILES_SET_ASIDE', "
    "'FILMS_UNLIKE', 'MESSAGES_FAIL', 'WORKLIST_AWAY', 'REPORT_SERVER_AWAY', 'MESSAGES_REFUSED', "
    "'PACS_AWAY', 'NIGHT_LATE', 'AUDIT_AWAY', 'TRAIL_UNSEALED', 'CERTIFICATE_ENDS'"
)
_MODES = "mode IN ('RESEARCH', 'SHADOW', 'CLINICAL')"

KNOWN_BY_THEIR_DRAFTS = """
INSERT INTO bundles (digest, name, version, first_seen_at)
SELECT DISTINCT ON (bundle_digest) bundle_digest, model_name, model_version, created_at
FROM drafts ORDER BY bundle_digest, id
"""


def _time(name: str, *, default: bool = False) -> sa.Column:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text("clock_timestamp()") if default else None,
        nullable=not default,
    )


def _text(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.Text(), server_default=default, nullable=nullable)


def _foreign(table: str, column: str, to: str, key: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{to}.{key}"], name=op.f(f"fk_{table}_{column}_{to}")
    )


def upgrade() -> None:
    new_id = migrations.new_id(op.get_bind())
    op.add_column("sites", _text("mode", "RESEARCH"))
    op.alter_column("sites", "mode", server_default="SHADOW")
    op.create_check_constraint(op.f("ck_sites_mode_known"), "sites", _MODES)
    op.create_index("ix_drafts_recalled", "drafts", ["bundle_digest", "id"])
    op.create_table(
        "bundles",
        _text("digest"),
        _text("name"),
        _text("version"),
        sa.Column("manifest", JSONB(), nullable=True),
        _text("card", ""),
        _time("first_seen_at", default=True),
        _time("last_started_at"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_bundles")),
    )
    op.execute(KNOWN_BY_THEIR_DRAFTS)
    op.create_table(
        "bundle_stops",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _text("bundle_digest"),
        _text("stopped_by"),
        _time("stopped_at", default=True),
        _text("reason"),
        _text("lifted_by", ""),
        _time("lifted_at"),
        _text("lift_reason", ""),
        sa.CheckConstraint(
            r"stopped_by ~ '\S' AND reason ~ '\S'",
            name=op.f("ck_bundle_stops_has_person_and_reason"),
        ),
        sa.CheckConstraint(
            r"(lifted_at IS NULL) = (lifted_by = '') AND (lifted_by = '' OR lift_reason ~ '\S')",
            name=op.f("ck_bundle_stops_lifted_with_reason"),
        ),
        _foreign("bundle_stops", "bundle_digest", "bundles", "digest"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundle_stops")),
    )
    op.create_index("ix_bundle_stops_bundle_digest", "bundle_stops", ["bundle_digest"])
    op.create_index(
        "uq_bundle_stops_open",
        "bundle_stops",
        ["bundle_digest"],
        unique=True,
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "mode_proposals",
        sa.Column("id", sa.Uuid(), server_default=sa.text(new_id), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        _text("mode"),
        _text("bundle_digest"),
        _text("reason"),
        sa.Column("acceptance", JSONB(), nullable=False),
        _text("proposer_id"),
        _text("proposed_by"),
        _time("proposed_at", default=True),
        _text("state", "OPEN"),
        _text("decider_id", nullable=True),
        _text("decided_by", ""),
        _time("decided_at"),
        _text("note", ""),
        sa.CheckConstraint(_MODES, name=op.f("ck_mode_proposals_mode_known")),
        sa.CheckConstraint(
            "state IN ('OPEN', 'IN_FORCE', 'REFUSED')", name=op.f("ck_mode_proposals_state_known")
        ),
        sa.CheckConstraint(
            r"proposed_by ~ '\S' AND reason ~ '\S'",
            name=op.f("ck_mode_proposals_has_person_and_reason"),
        ),
        sa.CheckConstraint(
            "(state = 'OPEN') = (decided_at IS NULL) AND (state = 'OPEN') = (decided_by = '')",
            name=op.f("ck_mode_proposals_decided_by_somebody"),
        ),
        sa.CheckConstraint(
            "decider_id IS NULL OR decider_id <> proposer_id",
            name=op.f("ck_mode_proposals_decided_by_another"),
        ),
        _foreign("mode_proposals", "site_id", "sites", "id"),
        _foreign("mode_proposals", "bundle_digest", "bundles", "digest"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mode_proposals")),
    )
    op.create_index(
        "uq_mode_proposals_open",
        "mode_proposals",
        ["site_id"],
        unique=True,
        postgresql_where=sa.text("state = 'OPEN'"),
    )
    op.create_index(
        "ix_mode_proposals_in_force",
        "mode_proposals",
        ["site_id", "bundle_digest"],
        postgresql_where=sa.text("state = 'IN_FORCE' AND mode = 'CLINICAL'"),
    )
    op.create_index("ix_mode_proposals_site_id", "mode_proposals", ["site_id", "proposed_at"])
    _replace_kinds(f"{_KINDS}, 'MODEL_STOPPED'")


def downgrade() -> None:
    op.execute(
        "DELETE FROM alarm_messages USING alarms"
        " WHERE alarms.kind = 'MODEL_STOPPED' AND alarm_messages.trouble_id = alarms.trouble_id"
        " AND NOT EXISTS (SELECT FROM alarms AS other WHERE other.trouble_id = alarms.trouble_id"
        " AND other.kind <> 'MODEL_STOPPED')"
    )
    op.execute("DELETE FROM alarms WHERE kind = 'MODEL_STOPPED'")
    _replace_kinds(_KINDS)
    op.drop_table("mode_proposals")
    op.drop_table("bundle_stops")
    op.drop_table("bundles")
    op.drop_index("ix_drafts_recalled", "drafts")
    op.drop_column("sites", "mode")


def _replace_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_alarms_kind_known"), "alarms")
    op.create_check_constraint(op.f("ck_alarms_kind_known"), "alarms", f"kind IN ({kinds})")
