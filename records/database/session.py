"""The database engine, its transactions (`unit_of_work()`, `snapshot()`), and its clock."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from psycopg2 import extensions
from sqlalchemy import ColumnElement, Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.orm import Session

from records.database import waiting
from records.database.waiting import CONNECT_SECONDS
from records.errors import DatabaseDown, NightdraftError
from records.settings import Settings, settings

_ANSWER_MARGIN_SECONDS = 5.0
"""PostgreSQL ends a statement by itself; only a server that is silent for so much longer hangs."""

INSUFFICIENT_PRIVILEGE = "42501"
"""SQLSTATE of a statement that the role may not send."""


def _in_utc(value: dt.datetime) -> Any:
    """A time as PostgreSQL takes it, which knows no zone further from UTC than 16 hours.

    Times of others (a query's parameter, an order's) may have any zone that Python can hold.
    """
    if value.tzinfo is not None:
        try:
            value = value.astimezone(dt.UTC)
        except OverflowError:  # within a day of the first or last moment that Python knows
            value = value.replace(tzinfo=dt.UTC)
    adapted: Any = extensions.TimestampFromPy(value)
    return adapted


extensions.register_adapter(dt.datetime, _in_utc)


def make_engine(url: str) -> Engine:
    """An engine with Nightdraft's limits and privacy, for the database at `url`."""
    config = settings()
    made = create_engine(
        url,
        hide_parameters=True,  # the values of a failing statement may be a patient's
        pool_pre_ping=True,  # the server may have been restarted since the connection was used
        pool_size=5,
        max_overflow=20,
        pool_timeout=10,
        connect_args={
            "connection_factory": waiting.Connection,
            "application_name": "nightdraft",
            # The kernel notices a peer that is gone; `waiting` notices one that is silent.
            "keepalives_idle": math.ceil(config.database_network_seconds),
            "keepalives_interval": math.ceil(config.database_network_seconds / 3),
            "keepalives_count": 3,
            "tcp_user_timeout": round(config.database_network_seconds * 1000),
        },
    )
    limits = _limits(config)
    answer_seconds = config.database_statement_seconds + _ANSWER_MARGIN_SECONDS
    event.listen(made, "begin", lambda connection: connection.exec_driver_sql(limits))

    def wait_for_answers(raw: waiting.Connection, *_: Any) -> None:
        raw.answer_seconds = answer_seconds

    def wait_for_a_ping(raw: waiting.Connection | None, *_: Any) -> None:
        if raw is not None:  # it may be broken
            raw.answer_seconds = CONNECT_SECONDS

    event.listen(made, "checkout", wait_for_answers)
    event.listen(made, "checkin", wait_for_a_ping)
    return made


def _limits(config: Settings) -> str:
    """The statement that limits a transaction, sent at the beginning of each.

    Limits of a session would be lost behind PgBouncer in transaction mode: it refuses `options` at
    the start of a connection or drops them, and gives each transaction another session.
    """
    limits = {
        "statement_timeout": config.database_statement_seconds,
        "lock_timeout": config.database_lock_seconds,
        # A client that is frozen in a transaction would hold its rows for ever.
        "idle_in_transaction_session_timeout": config.database_idle_seconds,
    }
    values = [
        f"set_config('{name}', '{round(limit * 1000)}', true)" for name, limit in limits.items()
    ]
    return f"SELECT {', '.join(values)}, set_config('TimeZone', 'UTC', true)"


def wait_without_limit(connection: Connection) -> None:
    """Let this connection wait for ever for an answer, until it goes back to the pool.

    For a migration, whose statements have no limit either.
    """
    raw: Any = connection.connection.dbapi_connection
    raw.answer_seconds = math.inf


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The process's engine, made at first use: after a fork, never before it."""
    return make_engine(settings().address("database_url"))


def forget_engine() -> None:
    """Drop the process's engine; a forked child must not use its parent's connections."""
    if engine.cache_info().currsize:
        engine().dispose(close=False)
    engine.cache_clear()


_whole: ContextVar[Connection | None] = ContextVar("_whole", default=None)


@contextmanager
def parts_of(connection: Connection) -> Iterator[None]:
    """Let every `unit_of_work()` within the block be a savepoint of one transaction.

    A part that fails takes back what it did alone. The caller commits the whole, or rolls it back;
    until then nobody else sees anything of it.

    Args:
        connection: one whose transaction has begun.
    """
    token = _whole.set(connection)
    try:
        yield
    finally:
        _whole.reset(token)


@contextmanager
def unit_of_work() -> Iterator[Session]:
    """One transaction: it commits at the end of the block, and rolls back on any error.

    Each of its statements sees what is committed when it begins (READ COMMITTED). What only reads,
    by several statements, reads a `snapshot`. Within `parts_of` it is a part of a longer one.

    Raises:
        DatabaseDown: PostgreSQL did not answer, the connection broke, or the tables are not ours.
        NightdraftError: the database refused a change. Its own message quotes the row, so only the
            error's class, its SQLSTATE and the constraint are given.
    """
    with in_our_words(), _open_session() as session, session.begin():
        yield session


@contextmanager
def snapshot() -> Iterator[Session]:
    """One transaction that reads, and sees one moment (REPEATABLE READ, READ ONLY).

    What is put together from several statements belongs together: no state DRAFTED without its
    draft because the draft was stored between two of them. Within `parts_of` it is a part of that
    transaction, and sees what that sees.

    Raises:
        DatabaseDown: as `unit_of_work`.
        NightdraftError: a change was asked for.
    """
    with in_our_words(), _open_session() as session, session.begin():
        if _whole.get() is None:
            session.connection(execution_options=_SNAPSHOT)
        yield session


_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def _open_session() -> Session:
    whole = _whole.get()
    if whole is None:
        return Session(engine(), expire_on_commit=False)
    return Session(whole, expire_on_commit=False, join_transaction_mode="create_savepoint")


@contextmanager
def in_our_words() -> Iterator[None]:
    """Raise what goes wrong in the database as errors of ours, which name nothing of a row.

    Raises:
        DatabaseDown, NightdraftError: as `unit_of_work`.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise DatabaseDown(sentence_of(error)) from None
    except TimeoutError:
        raise DatabaseDown(
            "PostgreSQL does not answer (all connections of this process are in use)"
        ) from None
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseDown(f"the connection to PostgreSQL broke ({_code(error)})") from None
        if getattr(error.orig, "pgcode", None) == INSUFFICIENT_PRIVILEGE:
            raise DatabaseDown(
                f"the role of NIGHTDRAFT_DATABASE_URL may not do this ({_code(error)}): run "
                "`nightdraft migrate` as the tables' owner, which gives it what it needs"
            ) from None
        if (getattr(error.orig, "pgcode", None) or "").startswith("42"):
            # Class 42: no such table or column. No study is to blame.
            raise DatabaseDown(
                f"the tables are not the ones that this version knows ({_code(error)}): run "
                "`nightdraft migrate` if they are older; if they are newer, start this part anew "
                "with their version"
            ) from None
        raise NightdraftError(f"the database refused a change ({_code(error)})") from None


def interval(seconds: float) -> ColumnElement[Any]:
    """So many seconds as an SQL interval, to be added to the database's clock."""
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def sentence_of(error: DBAPIError) -> str:
    """What an operational error means; a server that ended a statement did answer."""
    code = getattr(error.orig, "pgcode", None)
    if code == "57014":
        return (
            "PostgreSQL ended a statement that took longer than "
            f"NIGHTDRAFT_DATABASE_STATEMENT_SECONDS={settings().database_statement_seconds:g} "
            f"({_code(error)})"
        )
    if code == "55P03":
        return (
            "PostgreSQL ended a statement that waited for a lock longer than "
            f"NIGHTDRAFT_DATABASE_LOCK_SECONDS={settings().database_lock_seconds:g} "
            f"({_code(error)})"
        )
    told = str(error.orig)  # of a connection: it names the server and the role, and no row
    if "authentication failed" in told:
        return (
            "PostgreSQL refuses the role or the password: correct NIGHTDRAFT_DATABASE_URL "
            f"({_code(error)})"
        )
    if problem := tls_problem(error):
        return f"PostgreSQL: {problem} (NIGHTDRAFT_DATABASE_URL, {_code(error)})"
    return f"PostgreSQL does not answer ({_code(error)})"


_TLS_PROBLEMS = (
    # As libpq words them; what follows is a sentence's end, without its full stop.
    (
        "does not match host name",
        "its certificate is for another host name than the one by which it is called",
    ),
    (
        "certificate verify failed",
        "its certificate is of another authority than sslrootcert names, or is not valid today",
    ),
    (
        "server does not support SSL",
        "it speaks no TLS: set `ssl = on` there (docs/operate/tls.md)",
    ),
    (
        "root certificate file",
        "the file that sslrootcert names is missing or cannot be read",
    ),
    ("unsupported protocol", "it speaks no TLS 1.2 or newer"),
    ("protocol version", "it speaks no TLS 1.2 or newer"),
    ("requires a valid client certificate", "it wants a certificate of ours: name it by sslcert"),
    (
        "no encryption",
        "it takes nobody without TLS: add sslmode=verify-full and sslrootcert",
    ),
)


def tls_problem(error: DBAPIError) -> str:
    """Why TLS to PostgreSQL failed, as a sentence's end; "" where it was not TLS.

    libpq says nothing more of a certificate that is not trusted than that it is not.
    """
    told = str(error.orig)
    for words, problem in _TLS_PROBLEMS:
        if words in told:
            return problem
    if "SSL" in told or "certificate" in told:
        return "its TLS is none that is accepted"
    return ""


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


def new_id(session: Session) -> uuid.UUID:
    """An id as the tables make it by default, for a row that another one names before it is there.

    It grows with time where the server can do that (PostgreSQL 18).
    """
    version = session.connection().dialect.server_version_info or (0,)
    id_: uuid.UUID = session.execute(
        select(func.uuidv7() if version >= (18,) else func.gen_random_uuid())
    ).scalar_one()
    return id_
