"""Limits on every transaction, and a database that stops answering."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from records.database.session import engine, unit_of_work, wait_without_limit
from records.errors import DatabaseDown
from tests.support.waiting import eventually

LIMITS = text(
    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
    " current_setting('idle_in_transaction_session_timeout'), current_setting('TimeZone')"
)


def read_number(before: Callable[[], None] = lambda: None) -> int:
    """A number from the database, in a transaction that has begun when `before` is called."""
    with unit_of_work() as session:
        session.execute(text("SELECT 0"))
        before()
        return int(session.execute(text("SELECT 1")).scalar_one())


def test_every_transaction_has_its_limits_whatever_session_it_gets(database_proxy):
    """PgBouncer refuses `options`, and gives a transaction the session of somebody else."""
    expected = ("20s", "10s", "1min", "UTC")
    for _ in range(2):
        with unit_of_work() as session:
            assert tuple(session.execute(LIMITS).one()) == expected
        with engine().connect() as connection:
            connection.execute(text("RESET ALL"))
            connection.execute(text("SET TimeZone = 'Asia/Tokyo'"))
            connection.commit()
    assert database_proxy.first_bytes
    assert not any(b"options" in first for first in database_proxy.first_bytes)


def test_what_took_too_long_is_named_by_its_setting(database, setting):
    setting(database_statement_seconds=0.05, database_lock_seconds=0.03)
    with (
        pytest.raises(DatabaseDown, match=r"than NIGHTDRAFT_DATABASE_STATEMENT_SECONDS=0\.05"),
        unit_of_work() as session,
    ):
        session.execute(text("SELECT pg_sleep(60)"))
    with unit_of_work() as holder:
        holder.execute(text("LOCK TABLE alarms"))
        with (
            pytest.raises(DatabaseDown, match=r"NIGHTDRAFT_DATABASE_LOCK_SECONDS=0\.03"),
            unit_of_work() as session,
        ):
            session.execute(text("LOCK TABLE alarms"))


def test_a_database_that_stops_answering_is_down_and_is_back_when_it_answers(
    database_proxy, setting, monkeypatch
):
    monkeypatch.setattr("records.database.session._ANSWER_MARGIN_SECONDS", 0.1)
    monkeypatch.setattr("records.database.session.CONNECT_SECONDS", 0.3)
    monkeypatch.setattr("records.database.waiting.CONNECT_SECONDS", 0.3)
    setting(database_statement_seconds=0.2)
    assert read_number() == 1
    with pytest.raises(DatabaseDown, match="does not answer"):
        read_number(database_proxy.swallow)
    with pytest.raises(DatabaseDown, match="does not answer"):  # and over a new connection
        read_number()
    database_proxy.forward()
    assert eventually(read_number) == 1
    # A pooled connection hangs at the next use; the ping notices it.
    database_proxy.swallow()
    with pytest.raises(DatabaseDown, match="does not answer"):
        read_number()


def test_a_client_that_is_frozen_in_a_transaction_holds_nothing_for_ever(database, setting):
    setting(database_idle_seconds=0.1)
    locked = []

    def others_go_on() -> bool:
        with unit_of_work() as session:
            session.execute(text("LOCK TABLE alarms"))
        return True

    def freeze() -> None:
        with unit_of_work() as frozen:
            frozen.execute(text("LOCK TABLE alarms"))
            locked.append(eventually(others_go_on))

    with pytest.raises(DatabaseDown):  # at its commit, for the server has ended it
        freeze()
    assert locked == [True]


def test_a_migration_may_take_its_time(database, setting, monkeypatch):
    monkeypatch.setattr("records.database.session._ANSWER_MARGIN_SECONDS", 0.05)
    setting(database_statement_seconds=0.05)
    with engine().connect() as connection:
        wait_without_limit(connection)
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_sleep(1.5)"))
        connection.rollback()
    with pytest.raises(DBAPIError), engine().connect() as connection:
        connection.execute(text("SELECT pg_sleep(60)"))
