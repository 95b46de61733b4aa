"""The tables' history: up from nothing, down again, and equal to the models."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError, IntegrityError

import migrations
from records.accounts import sessions
from records.database.base import Base
from records.database.night_tables import UNKNOWN_SITE_ID
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.errors import DatabaseDown
from records.operations import work_counts
from records.states import Role, VisibleState
from records.workflow import attempts, tallies, worklist
from records.workflow.patients import Patient
from tests.support.accounts import begin_second_factor, make_account, run_sql
from tests.support.registered_studies import complete, draft_all, new_instance, register
from tests.support.two_sites import make_north


def differences():
    with engine().connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)


def database_catalogue():
    """What PostgreSQL says of columns, constraints and indexes; Alembic compares only a part."""
    queries = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity"
        " FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 't'",  # no triggers
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        # The functions in which indexes are made; triggers' functions are of the migrations alone.
        "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE proname LIKE 'search\\_%'",
    )
    with engine().connect() as connection:
        rows = {tuple(row) for query in queries for row in connection.execute(text(query))}
    return {row for row in rows if row[0] != "alembic_version"}


def test_models_equal_the_migrated_tables(database):
    assert differences() == []
    migrated = database_catalogue()
    migrations.downgrade(engine())
    Base.metadata.create_all(engine())
    assert database_catalogue() == migrated


def test_down_leaves_nothing_and_up_brings_all(database):
    migrations.downgrade(engine())
    assert inspect(engine()).get_table_names() == ["alembic_version"]
    with engine().connect() as connection:
        functions = connection.scalar(
            text("SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
        )
    assert functions == 0
    migrations.upgrade(engine())
    assert differences() == []


def test_drafts_from_before_a_migration_stay_as_they_were_written(database):
    complete(new_instance())
    draft_all()
    migrations.downgrade(engine(), "0001")
    migrations.upgrade(engine())
    with engine().connect() as connection:
        (row,) = connection.execute(text("SELECT findings, sentences FROM drafts"))
    assert row.findings == "the lungs are clear."
    assert row.sentences is None


EVENTS = [  # as they were written before there was a reason: kind, detail, and the reason now
    ("ARRIVED", "film", None),
    ("FAILED", "UNREADABLE: A film's pixels cannot be read.", "UNREADABLE"),
    ("ATTEMPT_FAILED", "WORKER_DIED: it died (attempt 1 of 3)", "WORKER_DIED"),
    ("ATTEMPT_FAILED", "it broke: WORKER_DIED", None),
    ("SKIPPED", "not_chest: It is not a chest film.", "not_chest"),
    ("SKIPPED", "of_a_later_software: It is something else.", None),
    ("HELD", "AGE_UNKNOWN: no birth date", "AGE_UNKNOWN"),
    ("CONFLICT", "kept aside: PATIENT_MISMATCH", "PATIENT_MISMATCH"),
    ("SUPERSEDED", "revision 2", "LATE_IMAGES"),
    ("CANCELLED", "held, and cancelled by a reader", "DECIDED"),
    ("DECIDED", "PROCEED by a reader: AGE_UNKNOWN", None),
]


def run(statement, **values):
    with engine().begin() as connection:
        return connection.execute(text(statement), values)


def test_reasons_of_events_are_filled_from_their_details(database):
    (study,) = complete(new_instance())
    migrations.downgrade(engine(), "0003")
    assert "reason" not in {column["name"] for column in inspect(engine()).get_columns("events")}
    for kind, detail, _ in EVENTS:
        run(
            "INSERT INTO events (study_id, kind, detail) VALUES (:study, :kind, :detail)",
            study=study,
            kind=kind,
            detail=detail,
        )
    migrations.upgrade(engine())
    with engine().connect() as connection:
        rows = connection.execute(text("SELECT kind, detail, reason FROM events ORDER BY id"))
        assert [tuple(row) for row in rows][-len(EVENTS) :] == EVENTS
    for change in ("UPDATE events SET reason = 'other'", "DELETE FROM events"):
        with pytest.raises(IntegrityError, match="written once"):
            run(change)


def test_open_leases_are_carried_over_and_back(database):
    (waiting,) = complete(new_instance("1.1"))
    (prepared,) = complete(new_instance("1.2"))
    complete(new_instance("1.3"))  # nobody works on it
    leased = "SELECT lease_owner, lease_alone FROM draft_requests WHERE study_id = :study"
    migrations.downgrade(engine(), "0006")
    run("UPDATE draft_requests SET state = 'PREPARED' WHERE study_id = :study", study=prepared)
    for study, alone in ((waiting, False), (prepared, True)):
        run(
            "UPDATE draft_requests SET lease_owner = 'host:1', lease_alone = :alone,"
            " lease_expires_at = now() - interval '1 minute' WHERE study_id = :study",
            study=study,
            alone=alone,
        )
    migrations.upgrade(engine())
    with engine().connect() as connection:
        live = connection.execute(text("SELECT study_id, stage, owner, alone FROM leases")).all()
    assert set(map(tuple, live)) == {
        (waiting, "prepare", "host:1", False),
        (prepared, "draft", "host:1", True),
    }
    migrations.downgrade(engine(), "0006")
    assert [tuple(row) for row in run(leased, study=prepared)] == [("host:1", True)]
    migrations.upgrade(engine())
    with unit_of_work() as session:
        assert len(attempts.expire_leases(session, 3, 0.0)) == 2


def test_lists_and_numbers_are_filled_from_the_rows(database):
    complete(new_instance("1.1"), new_instance("1.2"))
    draft_all()
    complete(new_instance("1.3"))
    register(new_instance("1.4"), new_instance("1.4", patient=Patient("X", "", "OTHER")))
    register(new_instance("1.5"))
    with unit_of_work() as session:
        counts = worklist.count_by_state(session)
    assert {state: n for state, n in counts.items() if n} == {
        VisibleState.DRAFTED: 2,
        VisibleState.WAITING: 1,
        VisibleState.HELD: 1,
        VisibleState.RECEIVING: 1,
    }
    migrations.downgrade(engine(), "0010")
    migrations.upgrade(engine())
    with unit_of_work() as session:
        assert worklist.count_by_state(session) == counts
        assert tallies.count_saved_drafts(session) == 2
        (held,) = worklist.read_page(session, state=VisibleState.HELD).rows
        assert held.study_instance_uid == "1.4"


@pytest.mark.parametrize("is_only", [True, False])
def test_work_from_before_has_the_only_site_or_none(database, is_only):
    complete(new_instance("1.1"), new_instance("1.2"))
    draft_all()
    with unit_of_work() as session:
        work_counts.fold(session, 0)
    north = None if is_only else make_north()
    complete(new_instance("1.9"))
    run_sql("UPDATE studies SET site_id = coalesce(:site, site_id)"
            " WHERE study_instance_uid = '1.9'", site=north)  # fmt: skip
    draft_all()
    with unit_of_work() as session:
        work_counts.fold(session, 0)
    migrations.downgrade(engine(), "0045")
    query = "SELECT kind, number FROM work_counts ORDER BY kind"
    assert run_sql(query) == [("DRAFTED", 3), ("PREPARED", 3)]
    migrations.upgrade(engine())
    site = DEFAULT_SITE_ID if is_only else UNKNOWN_SITE_ID
    assert run_sql("SELECT DISTINCT site_id FROM work_counts") == [(site,)]
    complete(new_instance("1.10"))
    draft_all()
    assert run_sql("SELECT DISTINCT site_id FROM work_count_parts") == [(DEFAULT_SITE_ID,)]


def test_programs_keep_their_tokens_and_those_with_keys_go_on_the_way_down(database):
    run("INSERT INTO program_tokens (name, token_hash, permissions, created_by)"
        " VALUES ('ris', 'x', '{SEND_ORDERS}', 'a test')")  # fmt: skip
    run("INSERT INTO program_tokens (name, key_set, permissions, created_by)"
        " VALUES ('ehr', '{}', '{SEND_ORDERS}', 'a test')")  # fmt: skip
    migrations.downgrade(engine(), "0041")
    migrations.upgrade(engine())
    assert [tuple(row) for row in run("SELECT name, token_hash, key_set FROM program_tokens")] == [
        ("ris", "x", None)
    ]


def test_a_migration_does_not_queue_behind_a_busy_table(database, monkeypatch):
    migrations.downgrade(engine(), "0003")
    with engine().connect() as busy:
        busy.execute(text("LOCK TABLE events IN ROW EXCLUSIVE MODE"))
        monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "100ms")
        monkeypatch.setattr(migrations, "RETRY_SECONDS", 0.0)
        with pytest.raises(DatabaseDown, match="others used them for"):
            migrations.upgrade(engine())
        busy.rollback()
    migrations.upgrade(engine())
    assert differences() == []


def test_upgrading_twice_changes_nothing(database):
    migrations.upgrade(engine())
    assert differences() == []
    with engine().connect() as connection:
        version = MigrationContext.configure(connection).get_current_revision()
    assert version == migrations.head()


def test_accounts_from_before_the_identity_provider_stay_local(database, data_dir):
    account = make_account()
    begin_second_factor()
    with unit_of_work() as session:
        sessions.begin(session, account.id, "192.0.2.7")
    migrations.downgrade(engine(), "0040")
    migrations.upgrade(engine())
    assert run_sql("SELECT issuer, subject FROM accounts") == [(None, None)] * 2
    assert run_sql("SELECT provider_session FROM account_sessions") == [(None,)]
    for wrong in (
        "issuer = 'https://login.hospital.example'",  # without a subject
        "issuer = 'https://login.hospital.example', subject = '1'",  # with a password
    ):
        with pytest.raises(IntegrityError):
            run_sql(f"UPDATE accounts SET {wrong} WHERE login = 'ada'")


def test_readings_without_a_draft_are_not_taken_down(database):
    complete(new_instance("1.1"))
    (draft_id,) = draft_all()
    roe = make_account("roe", Role.READER)
    run_sql(
        "INSERT INTO readings (study_id, draft_id, account_id, arm)"
        " SELECT study_id, id, :account, 'WITHOUT_DRAFT' FROM drafts WHERE id = :draft",
        account=roe.id,
        draft=draft_id,
    )
    with pytest.raises(DatabaseError, match="readings without a draft"):
        migrations.downgrade(engine(), "0053")
    assert run_sql("SELECT arm FROM readings") == [("WITHOUT_DRAFT",)]
    run_sql("UPDATE readings SET arm = 'READ_FIRST'")
    migrations.downgrade(engine(), "0053")
    migrations.upgrade(engine())
    for refused in (
        "INSERT INTO reviews (study_id, draft_id, decision, reader, note, draft_use)"
        " SELECT study_id, id, 'REJECTED', 'Roe', 'poor', 'WITHOUT_DRAFT' FROM drafts",
        "INSERT INTO reviews (study_id, draft_id, decision, reader, findings, draft_use, distances)"
        " SELECT study_id, id, 'SIGNED', 'Roe', 'Clear.', 'WITHOUT_DRAFT', '{}' FROM drafts",
    ):
        with pytest.raises(IntegrityError, match="own_text_is_a_report"):
            run(refused)
