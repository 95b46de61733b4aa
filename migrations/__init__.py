"""The tables' history (Alembic): one file a change. A released file is never edited."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from records.database.session import sentence_of
from records.errors import DatabaseDown

LOCK_TIMEOUT = "10s"
"""How long a migration waits for a table that is busy; then it fails and nothing is changed."""


def alembic_config(engine: Engine | None = None) -> Config:
    """Alembic's configuration; there is no alembic.ini to keep in step.

    Args:
        engine: the database; None takes the one of NIGHTDRAFT_DATABASE_URL.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    if engine is not None:
        config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine | None = None, revision: str = "head") -> None:
    """Bring the database to a revision; nothing happens where it is there already.

    Tables are analysed afterwards (env.py): an index of a new kind has no statistics.

    Raises:
        DatabaseDown: PostgreSQL did not answer, or ended a statement; nothing is changed.
    """
    try:
        command.upgrade(alembic_config(engine), revision)
    except (OperationalError, InterfaceError) as error:
        is_busy = getattr(error.orig, "pgcode", None) == "55P03"
        reason = f"a table was busy for {LOCK_TIMEOUT}" if is_busy else sentence_of(error)
        raise DatabaseDown(f"the tables could not be brought up to date: {reason}") from error


def new_id(connection: Connection) -> str:
    """The SQL that makes our own ids, as a column's default.

    Ids that grow with time (UUID version 7) let rows of one time share pages of an index. Random
    ones touch a page each, and the log of writes gets several times as long. Only servers from
    PostgreSQL 18 on make them; older ones go on with random ids, which are as unique.
    """
    version = connection.dialect.server_version_info or (0,)
    return "uuidv7()" if version >= (18,) else "gen_random_uuid()"


def downgrade(engine: Engine | None = None, revision: str = "base") -> None:
    """Take migrations back, down to a revision."""
    command.downgrade(alembic_config(engine), revision)


def head() -> str:
    """The newest revision that this software knows."""
    revision = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if revision is None:
        raise RuntimeError("the migrations folder is empty")
    return revision
