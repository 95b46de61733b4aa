"""The role of the running parts uses rows and nothing else, on every table that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

import migrations
from nightdraft.station.embedded_postgres import PARTS_ROLE
from records.database import roles
from records.database.base import Base
from records.database.roles import Login, grant_rows, list_reach, make_role, own_reach
from records.database.session import INSUFFICIENT_PRIVILEGE, engine, make_engine, unit_of_work
from records.errors import DatabaseDown, PartError
from tests.support.registered_studies import complete, draft_all, new_instance


@pytest.fixture
def owner(parts_database: str, database: str) -> Iterator[Engine]:
    """An engine of the tables' owner, beside the parts' role, whose address the settings have."""
    made = make_engine(database.replace("postgresql://", "postgresql+psycopg2://", 1))
    yield made
    made.dispose()


@pytest.fixture
def new_role(owner: Engine) -> Iterator[Callable[..., str]]:
    """Make a role for this test; PostgreSQL has one set of roles for all databases."""
    made: list[str] = []

    def make(attributes: str = "") -> str:
        name = f'of "this" test {len(made)}%'
        with owner.begin() as connection:
            quoted = name.replace('"', '""').replace("%", "%%")
            connection.exec_driver_sql(f'CREATE ROLE "{quoted}" LOGIN {attributes}')
        made.append(name)
        return name

    yield make
    with owner.begin() as connection:
        for name in made:
            quoted = name.replace('"', '""').replace("%", "%%")
            connection.exec_driver_sql(f'DROP OWNED BY "{quoted}" CASCADE')
            connection.exec_driver_sql(f'DROP ROLE "{quoted}"')


def refusal(statement: str) -> str | None:
    """The SQLSTATE with which the parts' role is refused a statement; None where it is not."""
    with engine().connect() as connection:
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            return str(getattr(error.orig, "pgcode", ""))
        finally:
            connection.rollback()
    return None


def tables(connection: Connection) -> list[str]:
    rows = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
    return sorted(row.tablename for row in rows)


def test_no_table_can_be_changed_emptied_or_freed_of_its_triggers(owner: Engine) -> None:
    with owner.connect() as connection:
        names = tables(connection)
    assert set(names) == {*Base.metadata.tables, "alembic_version"}
    for name in names:
        for statement in (
            f"TRUNCATE {name} CASCADE",
            f"ALTER TABLE {name} DISABLE TRIGGER ALL",
            f"ALTER TABLE {name} ADD COLUMN more int",
            f"DROP TABLE {name} CASCADE",
            f"CREATE INDEX ON {name} ((1))",
            f"CREATE TRIGGER mine BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION"
            " refuse_change()",
            f"ALTER TABLE {name} OWNER TO {PARTS_ROLE}",
        ):
            assert refusal(statement) == INSUFFICIENT_PRIVILEGE, statement
    with owner.connect() as connection:
        count = connection.scalar(
            text(
                "SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a"
                " WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = 0"
            )
        )
    assert count == 0  # nothing is given to everybody


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE events ()",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RETURN NEW; END'",
        "DROP FUNCTION refuse_change() CASCADE",
        "SET session_replication_role = replica",
        "SET ROLE nightdraft",
        "SET SESSION AUTHORIZATION nightdraft",
        f"ALTER ROLE {PARTS_ROLE} SUPERUSER",
        "CREATE ROLE mine",
        "COPY studies TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
        "UPDATE alembic_version SET version_num = '0001'",
        "SELECT setval(pg_get_serial_sequence('events', 'id'), 1)",
        "ALTER DATABASE postgres SET work_mem = '1MB'",
    ],
)
def test_the_server_refuses_what_is_no_work_of_a_part(statement: str, parts_database: str) -> None:
    assert refusal(statement) == INSUFFICIENT_PRIVILEGE


def test_a_row_that_is_written_once_may_not_even_be_asked_to_change(owner: Engine) -> None:
    with owner.connect() as connection:
        rows = connection.execute(roles._TABLES).all()
    once = {row.name for row in rows if row.refuses_update}
    kept = {row.name for row in rows if row.refuses_delete}
    assert {"events", "calibrations", "night_summaries", "order_changes"} <= once
    assert {"drafts", "events", "reviews"} <= kept
    assert kept >= roles.ERASABLE
    for row in rows:
        if row.is_sequence or row.name == "alembic_version":
            continue
        columns = Base.metadata.tables[row.name].columns
        column = next(c.name for c in columns if c.identity is None and c.computed is None)
        for statement, refused in (
            (f"SELECT FROM {row.name}", False),
            (f'UPDATE {row.name} SET "{column}" = "{column}" WHERE false', row.name in once),
            (f"DELETE FROM {row.name} WHERE false", row.name in kept - roles.ERASABLE),
        ):
            assert (refusal(statement) == INSUFFICIENT_PRIVILEGE) == refused, statement


def test_a_study_goes_all_its_way_under_the_role(parts_database: str, owner: Engine) -> None:
    (study,) = complete(new_instance())
    draft_all()
    with unit_of_work() as session:
        role, reach = own_reach(session.connection())
        drafts = session.execute(text("SELECT study_id FROM drafts")).scalars().all()
    assert (role, reach) == (PARTS_ROLE, [])
    assert drafts == [study]
    # Its rows are deleted by nobody, though the role may ask.
    for statement in ("DELETE FROM drafts", "DELETE FROM events"):
        assert refusal(statement) == "23000", statement
    with owner.connect() as connection, pytest.raises(DBAPIError, match="written once"):
        connection.exec_driver_sql("TRUNCATE drafts CASCADE")  # the owner is refused, too


def test_a_refusal_is_told_and_no_study_is_to_blame(parts_database: str) -> None:
    with (
        pytest.raises(DatabaseDown, match=r"may not do this \(.*42501\): run `nightdraft migrate"),
        unit_of_work() as session,
    ):
        session.execute(text("TRUNCATE drafts CASCADE"))


def test_a_table_of_a_later_migration_is_given_and_one_that_was_opened_is_closed(
    owner: Engine,
) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE later (id serial PRIMARY KEY)")
        connection.exec_driver_sql("GRANT TRUNCATE ON drafts TO PUBLIC")
        connection.exec_driver_sql(f"REVOKE INSERT ON events FROM {PARTS_ROLE}")
    assert refusal("INSERT INTO later DEFAULT VALUES") == INSUFFICIENT_PRIVILEGE
    with owner.begin() as connection:
        changed = grant_rows(connection, PARTS_ROLE)
    assert changed == ["drafts", "events", "later", "later_id_seq"]
    assert refusal("INSERT INTO later DEFAULT VALUES") is None
    assert refusal("TRUNCATE drafts CASCADE") == INSUFFICIENT_PRIVILEGE
    with owner.begin() as connection:
        assert grant_rows(connection, PARTS_ROLE) == []  # nothing is touched a second time


@pytest.mark.parametrize(
    ("attributes", "reach"),
    [
        ("SUPERUSER", "is a superuser"),
        ("CREATEROLE", "makes roles"),
        ("CREATEDB", "makes databases"),
        ("REPLICATION", "replicates"),
        ("BYPASSRLS", "passes row security"),
        ("IN ROLE nightdraft", "is a member of the owner"),
        ("IN ROLE pg_write_all_data", "is a member of a role of the server"),
    ],
)
def test_a_role_that_reaches_further_is_refused(
    attributes: str, reach: str, owner: Engine, new_role: Callable[..., str]
) -> None:
    name = new_role(attributes)
    with pytest.raises(PartError) as refused:
        migrations.upgrade(owner, login=Login(name))
    assert f"the role {name} " in str(refused.value)
    assert reach in str(refused.value)
    with owner.connect() as connection:
        privileges = connection.scalar(
            text("SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a, pg_roles r"
                 " WHERE r.oid = a.grantee AND r.rolname = :name"),
            {"name": name},
        )  # fmt: skip
    assert privileges == 0  # and nothing was given


def test_a_role_that_owns_tables_is_refused(owner: Engine, new_role: Callable[..., str]) -> None:
    name = new_role()
    with owner.begin() as connection:
        quoted = name.replace('"', '""').replace("%", "%%")
        connection.exec_driver_sql(
            f'CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO "{quoted}"'
        )
        assert list_reach(connection, name) == ["owns tables"]
    with pytest.raises(PartError, match="owns tables"):
        migrations.upgrade(owner, login=Login(name))


def test_a_role_is_made_with_its_password_and_no_log_can_hold_it(owner: Engine) -> None:
    login = Login("made by a migration", "se'same%")
    sent: list[str] = []
    event.listen(owner, "before_cursor_execute", lambda *arguments: sent.append(arguments[2]))
    try:
        with owner.begin() as connection:
            assert make_role(connection, login)
            assert not make_role(connection, login)
            stored = connection.scalar(
                text("SELECT rolpassword FROM pg_authid WHERE rolname = :name"),
                {"name": login.role},
            )
        assert str(stored).startswith("SCRAM-SHA-256$")
        assert not [statement for statement in sent if "same" in statement.replace(str(stored), "")]
        assert "same" not in repr(login)
    finally:
        with owner.begin() as connection:
            connection.exec_driver_sql('DROP ROLE IF EXISTS "made by a migration"')


def test_a_role_that_cannot_be_made_is_told(parts_database: str) -> None:
    with engine().connect() as connection, pytest.raises(PartError, match="let an administrator"):
        make_role(connection, Login("nobody"))
    with engine().connect() as connection, pytest.raises(PartError, match="has no role nobody"):
        list_reach(connection, "nobody")


def test_the_parts_without_grants_are_refused(owner: Engine) -> None:
    """The tests above can fail: without its grants the role can do nothing."""
    with owner.begin() as connection:
        connection.exec_driver_sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {PARTS_ROLE}")
    with engine().connect() as connection, pytest.raises(ProgrammingError):
        connection.exec_driver_sql("SELECT FROM studies")
