"""The tables' history (Alembic): one file a change. A released file is never edited."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from records.database.roles import Login
from records.database.session import sentence_of
from records.errors import DatabaseDown, PartError

LOCK_TIMEOUT = "5s"
"""How long a migration waits for a table that is busy. Meanwhile whoever comes later queues behind
it; so it gives up, lets them through, and begins anew."""

RETRY_SECONDS = 300.0
"""How long a migration is tried again; then it fails, and nothing is changed."""

_PAUSE_SECONDS = 1.0

_BUSY = {"55P03", "40P01"}
"""SQLSTATE of a lock that was not got in time, and of a deadlock that PostgreSQL ended."""


def alembic_config(engine: Engine | None = None) -> Config:
    """Alembic's configuration; there is no alembic.ini to keep in step.

    Args:
        engine: the database; None takes the one of NIGHTDRAFT_MIGRATION_DATABASE_URL.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    if engine is not None:
        config.attributes["engine"] = engine
    return config


def upgrade(
    engine: Engine | None = None,
    revision: str = "head",
    on_wait: Callable[[str], None] = lambda _: None,
    login: Login | None = None,
) -> None:
    """Bring the database to a revision; nothing happens where it is there already.

    All steps are one transaction. Where others use a table too long, it is begun anew, for
    `RETRY_SECONDS`. Tables are analysed afterwards (env.py): an index of a new kind has no
    statistics.

    Args:
        engine: the database, as the tables' owner; None takes the one of
            NIGHTDRAFT_MIGRATION_DATABASE_URL.
        revision: the revision to bring it to.
        on_wait: called with a sentence each time it is begun anew.
        login: the role of the running parts, which is made where it is missing, and which gets
            the use of rows in the same transaction; None leaves all roles as they are.

    Raises:
        PartError: the tables are of a newer version than this software, or the role of the running
            parts cannot be made or may do too much.
        DatabaseDown: PostgreSQL did not answer, or a table was busy all the time; nothing is
            changed.
    """
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            config = alembic_config(engine)
            config.attributes["login"] = login
            command.upgrade(config, revision)
            return
        except (OperationalError, InterfaceError) as error:
            if getattr(error.orig, "pgcode", None) not in _BUSY:
                raise DatabaseDown(
                    f"the tables could not be brought up to date: {sentence_of(error)}"
                ) from error
            if time.monotonic() >= deadline:
                raise DatabaseDown(
                    "the tables could not be brought up to date: others used them for "
                    f"{RETRY_SECONDS:.0f} s; stop what uses the database, and try again"
                ) from error
        on_wait(f"a table was busy for {LOCK_TIMEOUT}: the migration lets others through")
        time.sleep(_PAUSE_SECONDS)


def known_revisions() -> set[str]:
    """All revisions of the tables that this software knows."""
    script = ScriptDirectory.from_config(alembic_config())
    return {known.revision for known in script.walk_revisions()}


def check_known(revision: str | None) -> None:
    """Check that this software knows the revision of the tables.

    Args:
        revision: theirs; None where there are no tables.

    Raises:
        PartError: it does not: a newer version has brought them up to date.
    """
    if revision is not None and revision not in known_revisions():
        raise PartError(
            f"the tables are of a newer version (revision {revision}; this version knows them up "
            f"to {head()}): run that version, or go back to the backup that was made before the "
            "upgrade (docs/operate/upgrade.md)"
        )


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
