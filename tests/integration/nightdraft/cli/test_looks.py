"""What commands show of patients is in the trail, by the user of this system."""

import os
import pwd

import pytest
from sqlalchemy import select, text
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.audit.keys import load_key
from records.database.audit_tables import AuditEntry
from records.database.session import engine, unit_of_work
from records.database.tables import Event
from records.errors import NightdraftError
from tests.support.campaigns import create, of_uids
from tests.support.ordered_studies import receive as receive_order
from tests.support.registered_studies import OTHER_PATIENT, PATIENT, new_instance, register

pytestmark = pytest.mark.usefixtures("database", "data_dir")


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def entries():
    with unit_of_work() as session:
        return session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()


@pytest.fixture
def studies():
    return [
        done.study_id
        for done in register(new_instance("1.1"), new_instance("1.2", patient=OTHER_PATIENT))
    ]


@pytest.mark.parametrize(
    ("arguments", "patients"),
    [
        (("list",), {"P-1", "P-2"}),
        (("list", "--json"), {"P-1", "P-2"}),
        (("study", "1.2"), {"P-2"}),
        (("study", "1.2", "--json"), {"P-2"}),
        (("orders", "list"), {"P-1"}),
    ],
)
def test_a_command_that_shows_patients_writes_an_entry(studies, arguments, patients):
    if arguments[0] == "orders":
        receive_order(patient=PATIENT)
    result = run(*arguments)
    assert result.exit_code == 0
    assert all(patient in result.output for patient in patients)
    (entry,) = entries()
    assert (entry.actor_kind, entry.actor_name) == ("COMMAND", pwd.getpwuid(os.getuid()).pw_name)
    assert entry.detail == f"nightdraft {arguments[0]}"
    assert set(entry.patients) == {load_key().pseudonym(patient, "") for patient in patients}


def test_an_export_is_written_before_the_file(studies, tmp_path):
    campaign = create(studies=of_uids("1.1"))
    with engine().begin() as connection:
        connection.execute(
            text("UPDATE campaign_studies SET study_id = :study"), {"study": studies[0]}
        )
    assert run("campaign", "export", campaign, tmp_path / "rows.csv").exit_code == 0
    (entry,) = entries()
    assert (entry.action, entry.detail) == ("EXPORT", "nightdraft campaign export")
    assert entry.study_ids == [studies[0]]


def test_what_cannot_be_recorded_is_not_printed(studies):
    with engine().begin() as connection:
        connection.execute(text("ALTER TABLE audit_entries RENAME TO audit_entries_away"))
    for arguments in (("list",), ("study", "1.2"), ("list", "--json")):
        result = run(*arguments)
        assert result.exit_code == 1
        assert isinstance(result.exception, NightdraftError)
        assert result.output == ""


def test_commands_that_show_nobody_write_nothing(studies):
    assert run("status").exit_code == 0
    assert run("refusals").exit_code == 0
    assert entries() == []


def test_an_act_by_a_command_names_its_user(studies):
    assert run("release", "1.1").exit_code == 0
    with unit_of_work() as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "RELEASED"))
        others = session.scalars(select(Event.actor_kind).where(Event.kind != "RELEASED")).all()
    assert (event.actor_kind, event.actor_name) == ("COMMAND", pwd.getpwuid(os.getuid()).pw_name)
    assert set(others) == {None}
