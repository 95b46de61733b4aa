"""What the database's errors become: whose fault it is, and nothing of the row."""

import datetime as dt

import pytest
from sqlalchemy import text

from records.database.session import engine, parts_of, snapshot, unit_of_work
from records.errors import DatabaseDown, NightdraftError

NAME = "PLANTED^NAME"


def run(statement, **values):
    with unit_of_work() as session:
        session.execute(text(statement), values)


def test_tables_of_another_software_are_no_studys_fault(empty_database):
    with pytest.raises(DatabaseDown, match="run `nightdraft migrate`") as caught:
        run("INSERT INTO studies (patient_name) VALUES (:name)", name=NAME)
    assert NAME not in str(caught.value)


def test_a_refused_change_is_named_by_its_constraint_alone(database):
    with pytest.raises(NightdraftError, match="decision_known") as caught:
        run(
            "INSERT INTO holds (study_id, reason, detail, decision, decided_at)"
            " VALUES (gen_random_uuid(), 'AGE_UNKNOWN', :name, 'MAYBE', now())",
            name=NAME,
        )
    assert not isinstance(caught.value, DatabaseDown)
    assert NAME not in str(caught.value)


def test_a_server_that_is_away_is_down(setting):
    setting(database_url="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseDown, match="does not answer"):
        run("SELECT 1")


@pytest.mark.parametrize("minutes", [0, 90, 16 * 60, 24 * 60 - 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_time_of_any_zone_is_the_same_moment_in_the_database(database, minutes, sign):
    zone = dt.timezone(sign * dt.timedelta(minutes=minutes))
    moment = dt.datetime(2026, 11, 27, 8, 30, 0, 5, zone)
    with unit_of_work() as session:
        assert session.scalar(text("SELECT CAST(:moment AS timestamptz)"), {"moment": moment}) == (
            moment
        )
        extreme = {"moment": dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=23)))}
        session.execute(text("SELECT CAST(:moment AS timestamptz) < now()"), extreme)


def test_a_snapshot_sees_one_moment_and_the_next_one_a_later_one(database):
    count = text("SELECT count(*) FROM bundles")
    add = "INSERT INTO bundles (digest, name, version) VALUES (:digest, 'ours', '1')"
    with snapshot() as session:
        assert session.scalar(count) == 0
        run(add, digest="1" * 64)
        assert session.scalar(count) == 0
    with snapshot() as session:
        assert session.scalar(count) == 1


def test_a_snapshot_changes_nothing_and_leaves_a_connection_that_can(database):
    with (
        pytest.raises(NightdraftError, match="ReadOnlySqlTransaction 25006"),
        snapshot() as session,
    ):
        session.execute(text("DELETE FROM bundles"))
    for _ in range(engine().pool.checkedin() + 1):  # whichever connection the pool gives
        with unit_of_work() as session:
            assert session.scalar(text("SHOW transaction_isolation")) == "read committed"
            session.execute(text("DELETE FROM bundles"))


def test_a_snapshot_within_a_longer_transaction_sees_what_was_changed_there(database):
    with engine().connect() as connection, connection.begin() as whole, parts_of(connection):
        run("INSERT INTO bundles (digest, name, version) VALUES (:digest, 'a', '1')", digest="1")
        with snapshot() as session:
            assert session.scalar(text("SELECT count(*) FROM bundles")) == 1
        whole.rollback()
