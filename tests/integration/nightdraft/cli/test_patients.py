"""`nightdraft patients undo-merge` takes a merge back, and says what it did."""

import json

from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.database.session import unit_of_work
from records.patient_changes import merge_patients
from records.states import Origin
from records.workflow.identifiers import PatientId
from tests.support.ordered_studies import complete, receive
from tests.support.registered_studies import OTHER_PATIENT, new_instance


def run(*arguments):
    return CliRunner().invoke(app, ["patients", "undo-merge", *arguments])


def test_a_merge_is_taken_back_once(database):
    receive()
    complete(new_instance())
    with unit_of_work() as session:
        retired = [PatientId("P-1", "NORTH")]
        merge_patients(session, Origin.HL7, "ADT", OTHER_PATIENT, [], retired, None)
    wrong = run("P-1", "--by", "Dr. Roe")
    assert wrong.exit_code == 1
    assert "no merge retired that patient id" in str(wrong.exception or wrong.output)
    done = run("P-1", "--issuer", "NORTH", "--by", "Dr. Roe", "--json")
    assert json.loads(done.stdout) == {"orders": 1, "reports": 0, "studies": 1}
