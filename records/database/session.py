"""The database engine, `unit_of_work()`, which is one transaction, and the database's clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Engine, create_engine, func, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from records.errors import DatabaseDown, NightdraftError
from records.settings import settings


def make_engine(url: str) -> Engine:
    """An engine with Nightdraft's limits and privacy, for the database at `url`."""
    return create_engine(
        url,
        hide_parameters=True,  # the values of a failing statement may be a patient's
        pool_pre_ping=True,  # the server may have been restarted since the connection was used
        pool_size=5,
        max_overflow=20,
        connect_args={
            "connect_timeout": 5,
            "application_name": "nightdraft",
            # A statement that hangs would hold a study for ever, and none here takes a minute.
            "options": "-c statement_timeout=60000 -c lock_timeout=30000 -c timezone=UTC",
        },
    )


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The process's engine, made at first use: after a fork, never before it."""
    return make_engine(settings().address("database_url"))


def forget_engine() -> None:
    """Drop the process's engine; a forked child must not use its parent's connections."""
    if engine.cache_info().currsize:
        engine().dispose(close=False)
    engine.cache_clear()


@contextmanager
def unit_of_work() -> Iterator[Session]:
    """One transaction: it commits at the end of the block, and rolls back on any error.

    Raises:
        DatabaseDown: PostgreSQL did not answer, the connection broke, or the tables are not ours.
        NightdraftError: the database refused a change. Its own message quotes the row, so only the
            error's class, its SQLSTATE and the constraint are given.
    """
    session = Session(engine(), expire_on_commit=False)
    try:
        with session.begin():
            yield session
    except (OperationalError, InterfaceError) as error:
        raise DatabaseDown(f"PostgreSQL does not answer ({_code(error)})") from None
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseDown(f"the connection to PostgreSQL broke ({_code(error)})") from None
        if (getattr(error.orig, "pgcode", None) or "").startswith("42"):
            # Class 42: no such table or column, or no right to it. No study is to blame.
            raise DatabaseDown(
                f"the tables are not the ones that this software knows ({_code(error)}): "
                "run `nightdraft migrate`"
            ) from None
        raise NightdraftError(f"the database refused a change ({_code(error)})") from None
    finally:
        session.close()


def interval(seconds: float) -> ColumnElement[Any]:
    """So many seconds as an SQL interval, to be added to the database's clock."""
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _code(error: DBAPIError) -> str:
    """The error's class, its SQLSTATE and the constraint's name; nothing of the row."""
    original = error.orig
    diagnosis = getattr(original, "diag", None)
    parts = [
        type(original).__name__,
        getattr(original, "pgcode", None) or "",
        getattr(diagnosis, "constraint_name", None) or "",
    ]
    return " ".join(part for part in parts if part)


def database_time(session: Session) -> dt.datetime:
    """The database's clock; reading it also checks that the database answers."""
    now: dt.datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now
