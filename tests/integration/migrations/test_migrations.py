"""The tables' history: up from nothing, down again, and equal to the models."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

import migrations
from records.database.session import engine
from records.database.tables import Base
from tests.support.registered_studies import arrived, complete, draft_all


def differences():
    with engine().connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)


def as_kept():
    """What PostgreSQL says of columns, constraints and indexes, which Alembic compares in part."""
    questions = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity"
        " FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    )
    with engine().connect() as connection:
        found = {tuple(row) for question in questions for row in connection.execute(text(question))}
    return {row for row in found if row[0] != "alembic_version"}


def test_models_equal_the_migrated_tables(database):
    assert differences() == []
    migrated = as_kept()
    migrations.downgrade(engine())
    Base.metadata.create_all(engine())
    assert as_kept() == migrated


def test_down_leaves_nothing_and_up_brings_all(database):
    migrations.downgrade(engine())
    assert inspect(engine()).get_table_names() == ["alembic_version"]
    with engine().connect() as connection:
        functions = connection.scalar(
            text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'refuse%'")
        )
    assert functions == 0
    migrations.upgrade(engine())
    assert differences() == []


def test_drafts_from_before_a_migration_stay_as_they_were_written(database):
    complete(arrived())
    draft_all()
    migrations.downgrade(engine(), "0001")
    migrations.upgrade(engine())
    with engine().connect() as connection:
        (row,) = connection.execute(text("SELECT findings, sentences FROM drafts"))
    assert row.findings == "the lungs are clear."
    assert row.sentences is None


def test_upgrading_twice_changes_nothing(database):
    migrations.upgrade(engine())
    assert differences() == []
    with engine().connect() as connection:
        version = MigrationContext.configure(connection).get_current_revision()
    assert version == migrations.head()
