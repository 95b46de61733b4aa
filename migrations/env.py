"""Runs the migrations, for `migrations.upgrade()` and for Alembic's own command.

Two programs that start at once must not both migrate, so an advisory lock lets one go first.
"""

from __future__ import annotations

from alembic import context
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

import migrations
from records.database import (  # noqa: F401 (their tables count too)
    account_tables,
    audit_tables,
    bundle_tables,
    campaign_tables,
    discrepancy_tables,
    draft_tables,
    fhir_tables,
    night_tables,
    operation_tables,
    order_tables,
    quality_tables,
    report_tables,
    retention_tables,
    review_tables,
    roles,
    site_tables,
    style_tables,
    tables,
    worklist_tables,
)
from records.database.base import Base
from records.database.session import make_engine, wait_without_limit
from records.settings import settings

LOCK = 7_310_445_129  # any number, the same in every program


def run() -> None:
    """Upgrade or downgrade over one connection, all steps in one transaction."""
    callers_engine = context.config.attributes.get("engine")
    engine = callers_engine or make_engine(settings().address("migration_database_url"))
    with engine.connect() as connection:
        wait_without_limit(connection)
        before = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        migrations.check_known(before)
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            # A busy table must not queue everybody else behind a migration that waits for it.
            connection.execute(text(f"SET LOCAL lock_timeout = '{migrations.LOCK_TIMEOUT}'"))
            # A backfill may walk a large table; the engine's limit on a statement is for work.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            context.run_migrations()
            if login := context.config.attributes.get("login"):
                roles.make_role(connection, login)
                roles.grant_rows(connection, login.role)
        if before != MigrationContext.configure(connection).get_current_revision():
            # Without statistics the planner guesses, and may walk a table of millions for a claim.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("ANALYZE"))
            connection.commit()
    if callers_engine is None:
        engine.dispose()


run()
