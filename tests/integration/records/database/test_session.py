"""What the database's errors become: whose fault it is, and nothing of the row."""

import datetime as dt

import pytest
from sqlalchemy import text

from records.database.session import unit_of_work
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
