"""What stays of a patient who is erased: who did what to whom, by a pseudonym, and whole seals."""

import pytest
from sqlalchemy import text

from records.actors import Actor, acting_as
from records.audit import sealing, trail
from records.audit.erasing import keep_acts
from records.audit.lines import TrailFilter, read_page
from records.audit.verifying import verify
from records.database.session import unit_of_work
from records.states import ActorKind, EventKind
from records.workflow import events
from tests.support.registered_studies import PATIENT, new_instance, register

ANA = Actor(ActorKind.ACCOUNT, "ana", "17", "10.0.0.7")


@pytest.fixture(autouse=True)
def _folders(database, data_dir):
    """A fresh database, and a folder for the heads."""


def test_acts_on_an_erased_study_stay_by_pseudonym_and_no_seal_breaks():
    (study,) = (done.study_id for done in register(new_instance()))
    with acting_as(ANA), unit_of_work() as session:
        events.append_event(session, study, EventKind.WITHDRAWN, "Jane asked for it")
    with unit_of_work() as session:
        sealing.seal_next(session)
    with unit_of_work() as session:
        assert keep_acts(session, [study]) == 2  # its arrival, too
        trail.forget_patient(session, [PATIENT])
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text("DELETE FROM events"))
    with unit_of_work() as session:
        (line,) = read_page(session, TrailFilter(person="ana")).lines
        sealing.seal_next(session)
    assert not line.is_event
    assert (line.action, line.actor_name, line.actor_address) == ("CHANGE", "ana", "10.0.0.7")
    assert line.detail.startswith("WITHDRAWN of 20")
    assert "Jane" not in line.detail
    assert [patient.patient_id for patient in line.patients] == [""]
    result = verify()
    assert result.findings == []
    assert result.removed == 2
