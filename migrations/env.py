"""Runs the migrations: `nightdraft` calls `migrations.upgrade()`, Alembic's own command works too.

Two programs that start at once must not both migrate: an advisory lock lets one go first.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from records.database.session import make_engine
from records.database.tables import Base
from records.settings import settings

LOCK = 7_310_445_129  # any number, the same in every program


def run() -> None:
    """Upgrade or downgrade over one connection, all steps in one transaction."""
    given = context.config.attributes.get("engine")
    engine = given or make_engine(settings().address("database_url"))
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            # A busy table must not queue everybody else behind a migration that waits for it.
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            context.run_migrations()
    if given is None:
        engine.dispose()


run()
