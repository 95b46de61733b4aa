"""Soft locks: who reads a study, until when, and that nobody is stopped."""

import pytest

from records.database.session import unit_of_work
from records.worklist import locks
from tests.support.accounts import let_pass, make_account, run_sql
from tests.support.seeded_studies import StudySeeder


@pytest.fixture
def study(database, data_dir):
    return StudySeeder(data_dir).receive(1)


def take(study, account, name):
    with unit_of_work() as session:
        return locks.take(session, study, account.id, name)


def found(study):
    with unit_of_work() as session:
        return locks.find(session, [study]).get(study)


def test_the_first_reader_has_it_and_others_are_told(study):
    ada, ben = make_account("ada"), make_account("ben")
    first = take(study, ada, "Dr. Ada")
    assert (first.account_id, first.name) == (ada.id, "Dr. Ada")
    assert take(study, ben, "Dr. Ben") == found(study) == first
    renewed = take(study, ada, "Dr. Ada")
    assert renewed.since == first.since
    assert renewed.expires_at > first.expires_at


def test_it_ends_by_itself_and_then_another_reader_has_it(study):
    ada, ben = make_account("ada"), make_account("ben")
    first = take(study, ada, "Dr. Ada")
    let_pass("study_locks", 119, "expires_at")
    assert found(study) is not None
    let_pass("study_locks", 2, "expires_at")
    assert found(study) is None
    second = take(study, ben, "Dr. Ben")
    assert second.name == "Dr. Ben"
    assert second.since > first.since
    assert (second.expires_at - second.since).total_seconds() == pytest.approx(120)


def test_only_the_reader_ends_it(study):
    ada, ben = make_account("ada"), make_account("ben")
    take(study, ada, "Dr. Ada")
    with unit_of_work() as session:
        assert not locks.release(session, study, ben.id)
    assert found(study) is not None
    with unit_of_work() as session:
        assert locks.release(session, study, ada.id)
    assert found(study) is None


def test_what_ended_is_deleted_and_what_lives_stays(study, data_dir):
    ada = make_account("ada")
    other = StudySeeder(data_dir).receive(2)
    take(study, ada, "Dr. Ada")
    let_pass("study_locks", 121, "expires_at")
    take(other, ada, "Dr. Ada")
    with unit_of_work() as session:
        assert locks.forget_ended(session) == 1
    assert run_sql("SELECT study_id FROM study_locks") == [(other,)]
