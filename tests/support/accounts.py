"""Accounts for tests, with one password, and a clock that can be moved for their rows."""

from __future__ import annotations

from sqlalchemy import text

from records.accounts import accounts, second_factors
from records.database.session import engine, unit_of_work
from records.states import Role

PASSWORD = "correct horse battery staple"
ADDRESS = "192.0.2.7"


def make_account(login="ada", role=Role.READER, *, sites=(), password=PASSWORD, name=""):
    """An account that has chosen its password; the first administrator is made before it."""
    with unit_of_work() as session:
        if role is not Role.ADMINISTRATOR and not accounts.exist(session):
            accounts.create(session, "root", Role.ADMINISTRATOR, (), "a test")
        account, token = accounts.create(session, login, role, sites, "a test", name)
        accounts.use_link(session, token, password)
        return account


def begin_second_factor(login="ada"):
    """The secret and the recovery codes of an account, whose last step is long past."""
    import pyotp

    from records.database.session import database_time

    with unit_of_work() as session:
        account = accounts.get(session, login)
        secret, _ = second_factors.offer(session, account)
        now = int(database_time(session).timestamp())
        codes = second_factors.confirm(session, account, pyotp.TOTP(secret).at(now))
        account.totp_step -= 100
    return secret, codes


def let_pass(table, seconds, *columns):
    """Let time pass for the rows of a table: their times are moved back."""
    moved = ", ".join(
        f"{column} = {column} - make_interval(secs => {seconds})" for column in columns
    )
    with engine().begin() as connection:
        connection.execute(text(f"UPDATE {table} SET {moved}"))


def run_sql(statement, **values):
    """Run a statement; the rows that it gives."""
    with engine().begin() as connection:
        result = connection.execute(text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def trail_lines():
    """(action, outcome, actor's kind and name, address, detail) of the trail, the oldest first."""
    return run_sql(
        "SELECT action, outcome, actor_kind, actor_name, actor_address, detail FROM audit_entries"
        " ORDER BY id"
    )
