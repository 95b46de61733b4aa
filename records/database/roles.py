"""The database role of the running parts: it reads and writes rows, and owns no table.

Migrations run as another role, the owner, and give the running role what it needs afterwards. So a
part that is made to send another statement than it should cannot change tables, switch a trigger
off, or empty a table, which asks no trigger of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import encrypt_password
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from records.errors import PartError
from records.settings import Settings

ERASABLE = frozenset({"drafts", "events", "order_changes", "reviews"})
"""Tables that are written once, and whose rows may go when a patient is erased: their triggers say
which rows these are, so the running role may ask to delete."""

_OF_MIGRATIONS = frozenset({"alembic_version"})
"""Tables that only migrations write."""

_FAR_REACHING = (
    *("pg_database_owner", "pg_execute_server_program", "pg_maintain", "pg_read_server_files"),
    *("pg_write_all_data", "pg_write_server_files"),
)
"""Predefined roles that reach further than rows of our tables."""

_TABLES = text(
    """
    SELECT c.oid, c.relname AS name, c.relkind = 'S' AS is_sequence,
        coalesce(bool_or(t.tgtype & 16 <> 0), false) AS refuses_update,
        coalesce(bool_or(t.tgtype & 8 <> 0), false) AS refuses_delete
    FROM pg_class c
    LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgtype & 1 <> 0
        AND t.tgfoid = (
            SELECT p.oid FROM pg_proc p
            WHERE p.proname = 'refuse_change' AND p.pronamespace = c.relnamespace
        )
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'S')
    GROUP BY c.oid, c.relname, c.relkind ORDER BY c.relname
    """
)

_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

_REACH = text(
    """
    SELECT r.rolsuper AS "is a superuser", r.rolcreaterole AS "makes roles",
        r.rolcreatedb AS "makes databases", r.rolreplication AS "replicates",
        r.rolbypassrls AS "passes row security",
        EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid
            AND c.relnamespace = current_schema()::regnamespace) AS "owns tables",
        EXISTS (SELECT FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner
            WHERE o.oid <> r.oid AND pg_has_role(r.oid, o.oid, 'MEMBER')
            AND c.relnamespace = current_schema()::regnamespace) AS "is a member of the owner",
        EXISTS (SELECT FROM pg_roles o WHERE o.rolname = ANY (:far_reaching)
            AND pg_has_role(r.oid, o.oid, 'MEMBER')) AS "is a member of a role of the server",
        has_schema_privilege(r.oid, current_schema(), 'CREATE') AS "may make tables"
    FROM pg_roles r WHERE r.rolname = :role
    """
)


@dataclass(frozen=True)
class Login:
    """Who the running parts are at the database.

    Attributes:
        role: the role's name.
        password: its password; None where it has none, as over a Unix socket.
    """

    role: str
    password: str | None = None

    def __repr__(self) -> str:
        """The role alone: a traceback may show this object."""
        return f"Login({self.role!r})"


def login_of(url: str) -> Login | None:
    """Who logs in by an address; None where it names nobody.

    Raises:
        PartError: it is no address.
    """
    try:
        parts = make_url(url)
    except ArgumentError:
        raise PartError("NIGHTDRAFT_DATABASE_URL must begin with postgresql://") from None
    return Login(parts.username, parts.password or None) if parts.username else None


def login_of_parts(settings: Settings) -> Login | None:
    """The role of the running parts, where it is not the one that owns the tables.

    Raises:
        PartError: the address of the running parts names no role, though migrations have another.
        SettingsError: there is no address.
    """
    url = settings.address("database_url")
    if url == settings.address("migration_database_url"):
        return None
    if (login := login_of(url)) is None:
        raise PartError(
            "NIGHTDRAFT_DATABASE_URL names no role, so migrations cannot give it the use of the "
            "tables: write it as postgresql://role:password@host/name"
        )
    return login


def list_reach(connection: Connection, role: str) -> list[str]:
    """What a role may do that the running parts must not; nothing where it may only use rows.

    Args:
        connection: a connection of any role.
        role: the role.

    Raises:
        PartError: there is no such role.
    """
    values = {"role": role, "far_reaching": list(_FAR_REACHING)}
    row = connection.execute(_REACH, values).one_or_none()
    if row is None:
        raise PartError(f"the database has no role {role}")
    return [name for name, is_so in row._mapping.items() if is_so]


def own_reach(connection: Connection) -> tuple[str, list[str]]:
    """The role of this connection, and what it may do that the running parts must not."""
    role = str(connection.execute(text("SELECT current_user")).scalar_one())
    return role, list_reach(connection, role)


def make_role(connection: Connection, login: Login) -> bool:
    """Make the role where it is missing.

    PostgreSQL gets its password as a SCRAM verifier, so no log of statements holds the password.

    Args:
        connection: a connection of a role that may make others.
        login: the role and its password.

    Returns:
        Whether it was made.

    Raises:
        PartError: this connection's role may not make it; the text says what an administrator runs.
    """
    found = connection.execute(
        text("SELECT FROM pg_roles WHERE rolname = :role"), {"role": login.role}
    ).first()
    if found is not None:
        return False
    name = _quoted(connection, login.role)
    password = ""
    if login.password is not None:
        raw: Any = connection.connection.dbapi_connection
        verifier = encrypt_password(login.password, login.role, raw, "scram-sha-256")
        password = f" PASSWORD '{verifier}'"
    try:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN{password}")
    except DBAPIError as error:
        raise PartError(
            f"the database has no role {login.role}, and this one may not make it "
            f"({type(error.orig).__name__}): let an administrator run CREATE ROLE {name} LOGIN "
            "PASSWORD '...', and then run `nightdraft migrate` again"
        ) from None
    return True


def grant_rows(connection: Connection, role: str) -> list[str]:
    """Let the role use the rows of all tables, and nothing else; what it has beyond that is taken.

    It is called after each migration, in its transaction, so that no part waits for a table. On a
    table whose trigger refuses every change of a row, the privilege is withheld, too.

    Args:
        connection: a connection of the tables' owner.
        role: the role of the running parts.

    Returns:
        The tables and sequences whose privileges were changed.

    Raises:
        PartError: the role may do more than use rows, for it is a superuser or owns tables; the
            text says what.
    """
    schema = str(connection.execute(text("SELECT current_schema()")).scalar_one())
    database = str(connection.execute(text("SELECT current_database()")).scalar_one())
    name, place = _quoted(connection, role), _quoted(connection, schema)
    run = connection.exec_driver_sql
    run(f"REVOKE CREATE ON SCHEMA {place} FROM PUBLIC, {name}")
    run(f"GRANT USAGE ON SCHEMA {place} TO {name}")
    # A temporary table of the same name would stand before ours, in triggers' functions, too.
    run(f"REVOKE TEMPORARY ON DATABASE {_quoted(connection, database)} FROM PUBLIC, {name}")
    run(f"GRANT CONNECT ON DATABASE {_quoted(connection, database)} TO {name}")
    changed = []
    for table in connection.execute(_TABLES).all():
        wanted = _wanted(table)
        if wanted != _held(connection, role, table):
            kind = "SEQUENCE" if table.is_sequence else "TABLE"
            target = f"{kind} {place}.{_quoted(connection, table.name)}"
            run(f"REVOKE ALL ON {target} FROM PUBLIC, {name}")
            run(f"GRANT {', '.join(sorted(wanted))} ON {target} TO {name}")
            changed.append(table.name)
    if reach := list_reach(connection, role):
        raise PartError(
            f"the role {role} of NIGHTDRAFT_DATABASE_URL {' and '.join(reach)}, so the running "
            "parts could change tables and what is written once: name another role there "
            "(docs/operate/secrets.md)"
        )
    return changed


def _wanted(table: Any) -> frozenset[str]:
    """The privileges that the running role has on a table or a sequence."""
    if table.is_sequence:
        return frozenset({"SELECT", "USAGE"})
    if table.name in _OF_MIGRATIONS:
        return frozenset({"SELECT"})
    wanted = {"SELECT", "INSERT", "UPDATE", "DELETE"}
    if table.refuses_update:
        wanted.discard("UPDATE")
    if table.refuses_delete and table.name not in ERASABLE:
        wanted.discard("DELETE")
    return frozenset(wanted)


def _held(connection: Connection, role: str, table: Any) -> frozenset[str]:
    """The privileges that the role has now, by itself, by PUBLIC or by another role."""
    known = ("SELECT", "USAGE", "UPDATE") if table.is_sequence else _PRIVILEGES
    function = "has_sequence_privilege" if table.is_sequence else "has_table_privilege"
    columns = ", ".join(f"{function}(:role, :table, '{name}') AS \"{name}\"" for name in known)
    row = connection.execute(text(f"SELECT {columns}"), {"role": role, "table": table.oid}).one()
    return frozenset(name for name, is_held in row._mapping.items() if is_held)


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
