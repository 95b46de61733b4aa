"""Entries of the trail: written with what was done, never changed, and without a patient's name."""

import threading

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from records.actors import Actor, acting_as
from records.audit import trail
from records.audit.keys import load_key
from records.database.audit_tables import AuditEntry, AuditPatient
from records.database.session import engine, unit_of_work
from records.errors import SettingsError
from records.states import ActorKind, AuditAction, AuditOutcome
from tests.support.registered_studies import OTHER_PATIENT, PATIENT, new_instance, register

pytestmark = pytest.mark.usefixtures("database")

READER = Actor(ActorKind.ACCOUNT, "ana", "17", "10.0.0.7")


def write(**values):
    with unit_of_work() as session:
        return trail.record(session, values.pop("action", AuditAction.VIEW), **values)


def entries():
    with unit_of_work() as session:
        return session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()


def named():
    with unit_of_work() as session:
        return {
            row.pseudonym: (row.patient_id, row.issuer)
            for row in session.scalars(select(AuditPatient))
        }


def test_an_entry_says_who_did_what_about_whom_and_from_where():
    first, second = (
        done.study_id
        for done in register(new_instance("1.1"), new_instance("1.2", patient=OTHER_PATIENT))
    )
    with acting_as(READER):
        written = write(
            study_ids=[first, second], outcome=AuditOutcome.REFUSED, detail="the worklist"
        )
    (entry,) = entries()
    assert entry.id == written
    assert (entry.action, entry.outcome, entry.detail) == ("VIEW", "REFUSED", "the worklist")
    assert (entry.actor_kind, entry.actor_name) == ("ACCOUNT", "ana")
    assert (entry.actor_id, entry.actor_address) == ("17", "10.0.0.7")
    assert entry.study_ids == [first, second]
    key = load_key()
    assert set(entry.patients) == {key.pseudonym("P-1", ""), key.pseudonym("P-2", "")}
    assert named() == {key.pseudonym("P-1", ""): ("P-1", ""), key.pseudonym("P-2", ""): ("P-2", "")}


def test_one_patient_has_one_pseudonym_whoever_is_asked():
    (study,) = (done.study_id for done in register(new_instance()))
    write(study_ids=[study])
    write(patient=PATIENT)
    write(patients=[PATIENT, OTHER_PATIENT], study_ids=[study])
    first, second, third = entries()
    assert first.patients == second.patients
    assert len(third.patients) == 2
    assert len(named()) == 2


def test_who_has_no_id_is_named_by_the_study_alone():
    nobody = PATIENT.__class__("", "", "PHANTOM^NOBODY")
    (study,) = (done.study_id for done in register(new_instance(patient=nobody)))
    write(study_ids=[study])
    (entry,) = entries()
    assert entry.study_ids == [study]
    assert entry.patients == []
    assert named() == {}


def test_what_is_rolled_back_has_left_no_entry():
    def look_and_break():
        with unit_of_work() as session:
            trail.record(session, AuditAction.VIEW, patient=PATIENT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        look_and_break()
    assert entries() == []
    assert named() == {}
    write(patient=PATIENT)  # and the key is not thought to be known
    assert len(entries()) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_entries SET detail = 'other'",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
        "UPDATE audit_patients SET patient_id = 'P-3'",
        "TRUNCATE audit_patients",
    ],
)
def test_rows_are_never_changed(change):
    write(patient=PATIENT)
    with pytest.raises(IntegrityError, match="written once"), engine().begin() as connection:
        connection.execute(text(change))
    assert len(entries()) == 1
    assert list(named().values()) == [("P-1", "")]


def test_a_forgotten_patient_keeps_the_pseudonym_alone():
    write(patients=[PATIENT, OTHER_PATIENT])
    before = entries()[0].patients
    with unit_of_work() as session:
        assert trail.forget_patient(session, [PATIENT]) == 1
        assert trail.forget_patient(session, [PATIENT]) == 0
    assert entries()[0].patients == before
    assert list(named().values()) == [("P-2", "")]


def test_another_key_writes_nothing(tmp_path, setting):
    write(patient=PATIENT)
    setting(trail_key_file=tmp_path / "another")
    with pytest.raises(SettingsError, match="not the one that the trail was begun with"):
        write(patient=PATIENT)
    assert len(entries()) == 1


def test_who_write_one_patient_at_a_time_write_one_row():
    barrier = threading.Barrier(4)
    failures = []

    def write_some():
        try:
            barrier.wait()
            for _ in range(10):
                write(patient=PATIENT)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=write_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(entries()) == 40
    assert len(named()) == 1
