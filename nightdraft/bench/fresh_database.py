"""A database of its own for a measurement: an embedded PostgreSQL on a temporary data folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

import migrations
from nightdraft.station.embedded import EmbeddedServers
from records.config_file import without_settings
from records.database.session import engine, forget_engine, wait_without_limit
from records.settings import settings


@contextmanager
def fresh_database(*, durable: bool = True, **values: str) -> Iterator[None]:
    """Let this process use a new database with all tables; afterwards it is gone.

    Args:
        durable: False leaves out fsync.
        values: settings of the measurement, by their names.

    Raises:
        PartError: PostgreSQL does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="nightdraft-bench-"))
    folder.chmod(0o711)  # PostgreSQL's user passes through
    environment = dict(os.environ)
    os.environ.clear()
    os.environ.update(without_settings(environment))
    try:
        with EmbeddedServers(folder, durable=durable, valkey=False) as servers:
            # No bell is rung: nobody listens at this address of Redis.
            os.environ |= {
                "NIGHTDRAFT_DATA_DIR": str(folder),
                "NIGHTDRAFT_DATABASE_URL": servers.owner_url,
                "NIGHTDRAFT_REDIS_URL": "redis://127.0.0.1:1/0",
                **{f"NIGHTDRAFT_{name.upper()}": value for name, value in values.items()},
            }
            _forget_settings()
            try:
                migrations.upgrade()
                yield
            finally:
                _forget_settings()
    finally:
        os.environ.clear()
        os.environ.update(environment)
        shutil.rmtree(folder, ignore_errors=True)


def vacuum(how: str) -> None:
    """Vacuum every table at once.

    Args:
        how: "(ANALYZE)" does what autovacuum would do in a while: statistics, and the map of what
            all may see. "(FULL)" writes the tables and their indexes anew, without gaps.
    """
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        wait_without_limit(connection)
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text(f"VACUUM {how}"))
    engine().dispose()


def _forget_settings() -> None:
    if engine.cache_info().currsize:
        engine().dispose()
    forget_engine()
    settings.cache_clear()
