"""Orders and what brought them: messages, an order's history, its studies, and questions.

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

import migrations

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_HOLD_REASONS = (
    "'PATIENT_MISMATCH', 'CONFLICTING_BYTES', 'MOVED_HERE', 'MOVED_AWAY', "
    "'CHEST_UNKNOWN', 'VIEW_UNKNOWN', 'AGE_UNKNOWN', 'SPECIES_UNKNOWN', "
    "'REJECTION_UNCLEAR', 'SIGNED_REJECTED', 'IMAGE_EMPTY'"
)

_ALARM_KINDS = (
    "'DISK_FULL', 'WORKER_STOPPED', 'BUNDLE_UNUSABLE', 'PART_MISSING', 'PART_CRASHING', "
    "'STATION_WAITS', 'REDIS_DOWN', 'FILES_DAMAGED', 'FILES_UNREGISTERED', 'FILES_SET_ASIDE', "
    "'FILMS_UNLIKE', 'MESSAGES_FAIL'"
)

_TALLY_KINDS = (
    "'STUDIES', 'DRAFTS', 'REFUSALS', 'HOLDS', 'OPEN_HOLDS', 'FAILURES', 'DEATHS', 'DRAFT_SECONDS',"
    " 'DRAFT_SECONDS_SUM'"
)

_TALLY_MESSAGES = """
CREATE FUNCTION tally_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (kind, name, number)
    SELECT 'MESSAGES', outcome, count(*) FROM entered GROUP BY outcome;
    RETURN NULL;
END $$;

CREATE TRIGGER received_messages_tally AFTER INSERT ON received_messages
    REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION tally_messages();
"""


def upgrade() -> None:
    new_id = migrations.new_id(op.get_bind())
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), server_default=sa.text(new_id), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="ACTIVE", nullable=False),
        sa.Column("placer_order_number", sa.Text(), nullable=False),
        sa.Column("filler_order_number", sa.Text(), nullable=False),
        sa.Column("accession_numbers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("accession_number_issuer", sa.Text(), nullable=False),
        sa.Column("study_instance_uids", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_id_issuer", sa.Text(), nullable=False),
        sa.Column("other_patient_ids", postgresql.JSONB(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("patient_birth_date", sa.Text(), nullable=False),
        sa.Column("patient_sex", sa.Text(), nullable=False),
        sa.Column("visit_number", sa.Text(), nullable=False),
        sa.Column("texts", postgresql.JSONB(), nullable=False),
        sa.Column("procedure", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=True),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "received_at",
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
        sa.CheckConstraint(
            "origin IN ('HL7', 'FHIR', 'WORKLIST', 'DICOM', 'REST', 'FILE')",
            name=op.f("ck_orders_origin_known"),
        ),
        sa.CheckConstraint(
            "status IN ('ACTIVE', 'COMPLETED', 'CANCELLED')", name=op.f("ck_orders_status_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("identity", name=op.f("uq_orders_identity")),
    )
    op.create_index("ix_orders_changed_at", "orders", ["changed_at", "id"])
    op.create_index("ix_orders_status", "orders", ["status", "changed_at", "id"])
    op.create_table(
        "received_messages",
        sa.Column("id", sa.Uuid(), server_default=sa.text(new_id), nullable=False),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("control_id", sa.Text(), nullable=False),
        sa.Column("message_type", sa.Text(), nullable=False),
        sa.Column("processing_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("answer_code", sa.Text(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("repeats", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_by", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "origin IN ('HL7', 'FHIR', 'WORKLIST', 'DICOM', 'REST', 'FILE')",
            name=op.f("ck_received_messages_origin_known"),
        ),
        sa.CheckConstraint(
            "outcome IN ('ACCEPTED', 'IGNORED', 'REFUSED', 'TEST')",
            name=op.f("ck_received_messages_outcome_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_received_messages")),
        sa.UniqueConstraint(
            "origin", "sender", "control_id", "digest", name=op.f("uq_received_messages_origin")
        ),
    )
    op.create_index(
        "ix_received_messages_open",
        "received_messages",
        ["received_at"],
        postgresql_where=sa.text("outcome = 'REFUSED' AND settled_at IS NULL"),
    )
    op.create_index(
        "ix_received_messages_content",
        "received_messages",
        ["received_at"],
        postgresql_where=sa.text("content IS NOT NULL"),
    )
    op.create_index(
        "ix_received_messages_without_effect",
        "received_messages",
        ["received_at"],
        postgresql_where=sa.text("outcome IN ('IGNORED', 'TEST')"),
    )
    op.create_index("ix_received_messages_received_at", "received_messages", ["received_at", "id"])
    op.create_index(
        "ix_received_messages_outcome", "received_messages", ["outcome", "received_at", "id"]
    )
    op.create_table(
        "order_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("old_values", postgresql.JSONB(), nullable=False),
        sa.Column("new_values", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('PLACED', 'CHANGED', 'CANCELLED', 'REINSTATED', 'PATIENT_CORRECTED', 'PATIENT_MERGED', 'PATIENT_SEPARATED', 'MOVED', 'OUTDATED')",
            name=op.f("ck_order_changes_kind_known"),
        ),
        sa.CheckConstraint(
            "origin IN ('HL7', 'FHIR', 'WORKLIST', 'DICOM', 'REST', 'FILE')",
            name=op.f("ck_order_changes_origin_known"),
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], name=op.f("fk_order_changes_order_id_orders")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_changes")),
    )
    op.create_index("ix_order_changes_order_id", "order_changes", ["order_id", "id"])
    op.create_index("ix_order_changes_message_id", "order_changes", ["message_id"])
    op.create_table(
        "order_keys",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["orders.id"],
            name=op.f("fk_order_keys_order_id_orders"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("order_id", "kind", "value", name=op.f("pk_order_keys")),
    )
    op.create_index("ix_order_keys_value", "order_keys", ["kind", "value"])
    op.create_table(
        "study_orders",
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("matched_by", sa.Text(), nullable=False),
        sa.Column(
            "matched_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("decided_by", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "state IN ('MATCHED', 'MISMATCH', 'ACCEPTED', 'REFUSED')",
            name=op.f("ck_study_orders_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], name=op.f("fk_study_orders_order_id_orders")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_orders_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("study_id", "order_id", name=op.f("pk_study_orders")),
    )
    op.create_index("ix_study_orders_order_id", "study_orders", ["order_id"])
    op.create_table(
        "study_queries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="WAITING", nullable=False),
        sa.Column(
            "not_before",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("answers", sa.Integer(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('WORKLIST', 'REPORTS')", name=op.f("ck_study_queries_kind_known")
        ),
        sa.CheckConstraint(
            "state IN ('WAITING', 'ANSWERED', 'GIVEN_UP')",
            name=op.f("ck_study_queries_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_study_queries_study_id_studies")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_queries")),
        sa.UniqueConstraint("study_id", "kind", name=op.f("uq_study_queries_study_id")),
    )
    op.create_index(
        "ix_study_queries_waiting",
        "study_queries",
        ["kind", "not_before", "id"],
        postgresql_where=sa.text("state = 'WAITING'"),
    )
    op.create_table(
        "patient_aliases",
        sa.Column("retired_id", sa.Text(), nullable=False),
        sa.Column("retired_issuer", sa.Text(), nullable=False),
        sa.Column("surviving_id", sa.Text(), nullable=False),
        sa.Column("surviving_issuer", sa.Text(), nullable=False),
        sa.Column("surviving_name", sa.Text(), nullable=False),
        sa.Column("surviving_birth_date", sa.Text(), nullable=False),
        sa.Column("surviving_sex", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column(
            "merged_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("moved", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.CheckConstraint(
            "origin IN ('HL7', 'FHIR', 'WORKLIST', 'DICOM', 'REST', 'FILE')",
            name=op.f("ck_patient_aliases_origin_known"),
        ),
        sa.PrimaryKeyConstraint("retired_id", "retired_issuer", name=op.f("pk_patient_aliases")),
    )
    op.create_index("ix_patient_aliases_surviving_id", "patient_aliases", ["surviving_id"])
    op.add_column("study_changes", sa.Column("origin", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_study_changes_origin_known"),
        "study_changes",
        "origin IN ('HL7', 'FHIR', 'WORKLIST', 'DICOM', 'REST', 'FILE')",
    )
    op.add_column("studies", sa.Column("received_priority", sa.SmallInteger(), nullable=True))
    op.add_column(
        "draft_requests",
        sa.Column("waits_for_order", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.create_index(
        "ix_draft_requests_waits_for_order",
        "draft_requests",
        ["not_before"],
        postgresql_where=sa.text("waits_for_order"),
    )
    op.add_column("drafts", sa.Column("indications", postgresql.JSONB(), nullable=True))
    op.add_column(
        "studies",
        sa.Column(
            "requested_accession_numbers",
            sa.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
    )
    op.add_column(
        "studies",
        sa.Column("accession_number_issuer", sa.Text(), server_default="", nullable=False),
    )
    op.create_index(
        "ix_studies_requested_accession_numbers",
        "studies",
        ["requested_accession_numbers"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=sa.text("requested_accession_numbers <> '{}'"),
    )
    op.execute(
        "CREATE TRIGGER order_changes_kept BEFORE UPDATE OR DELETE ON order_changes"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    _replace_hold_reasons(f"{_HOLD_REASONS}, 'ORDER_MISMATCH'")
    _replace_alarm_kinds(f"{_ALARM_KINDS}, 'WORKLIST_AWAY'")
    _replace_tally_kinds(f"{_TALLY_KINDS}, 'MESSAGES'")
    op.execute(_TALLY_MESSAGES)


def downgrade() -> None:
    op.execute("DELETE FROM alarms WHERE kind = 'WORKLIST_AWAY'")
    _replace_alarm_kinds(_ALARM_KINDS)
    # The version before knows no such hold. One that is open goes on as the nearest question that it
    # knows, so that the study stays held; a decided one keeps its decision in the timeline.
    op.execute(
        "UPDATE holds SET reason = 'PATIENT_MISMATCH' WHERE reason = 'ORDER_MISMATCH' AND NOT EXISTS"
        " (SELECT FROM holds other WHERE other.study_id = holds.study_id"
        " AND other.reason = 'PATIENT_MISMATCH')"
    )
    op.execute("DELETE FROM holds WHERE reason = 'ORDER_MISMATCH'")
    _replace_hold_reasons(_HOLD_REASONS)
    op.execute("DROP TRIGGER received_messages_tally ON received_messages")
    op.execute("DROP FUNCTION tally_messages()")
    op.execute("DELETE FROM tallies WHERE kind = 'MESSAGES'")
    _replace_tally_kinds(_TALLY_KINDS)
    op.drop_index("ix_studies_requested_accession_numbers", table_name="studies")
    op.drop_column("studies", "accession_number_issuer")
    op.drop_column("studies", "requested_accession_numbers")
    op.drop_column("drafts", "indications")
    op.drop_index("ix_draft_requests_waits_for_order", table_name="draft_requests")
    op.drop_column("draft_requests", "waits_for_order")
    op.drop_column("studies", "received_priority")
    op.drop_column("study_changes", "origin")
    op.drop_table("patient_aliases")
    op.drop_table("study_queries")
    op.drop_table("study_orders")
    op.drop_table("order_keys")
    op.drop_table("order_changes")
    op.drop_table("received_messages")
    op.drop_table("orders")


def _replace_alarm_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_alarms_kind_known"), "alarms")
    op.create_check_constraint(op.f("ck_alarms_kind_known"), "alarms", f"kind IN ({kinds})")


def _replace_hold_reasons(reasons: str) -> None:
    # NOT VALID: no reader or writer waits while all rows are checked; the next statement checks them.
    op.execute("ALTER TABLE holds DROP CONSTRAINT ck_holds_reason_known")
    op.execute(
        "ALTER TABLE holds ADD CONSTRAINT ck_holds_reason_known"
        f" CHECK (reason IN ({reasons})) NOT VALID"
    )
    op.execute("ALTER TABLE holds VALIDATE CONSTRAINT ck_holds_reason_known")


def _replace_tally_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_tallies_kind_known"), "tallies")
    op.create_check_constraint(op.f("ck_tallies_kind_known"), "tallies", f"kind IN ({kinds})")
