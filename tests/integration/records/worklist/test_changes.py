"""Changes of several studies: what is done, what is left alone and why, and what stays."""

import uuid

import pytest

from records.database.session import unit_of_work
from records.database.tables import Study
from records.errors import NotAllowed
from records.orders import effects
from records.states import EventKind, HoldReason, Priority, VisibleState
from records.workflow import events, holds, worklist_rows
from records.workflow.patients import Patient
from records.workflow.site_scope import limited_to
from records.worklist import changes
from records.worklist.changes import BulkAction, Change
from tests.support.accounts import run_sql
from tests.support.received_orders import send_order
from tests.support.seeded_studies import StudySeeder


@pytest.fixture
def seeder(database, data_dir):
    return StudySeeder(data_dir)


def run(action, *ids, **options):
    change = Change(action, by="Dr. Roe", **options)
    with unit_of_work() as session:
        planned = changes.plan(session, ids, change)
    done = changes.carry_out(unit_of_work, ids, change)
    assert done == planned
    return [verdict.why_not for verdict in done]


def state_of(study):
    with unit_of_work() as session:
        return worklist_rows.read_row(session, study).state


def details(study, kind):
    with unit_of_work() as session:
        return [e.detail for e in events.timeline(session, study) if e.kind == kind]


def test_only_what_failed_or_was_skipped_is_retried(seeder):
    failed, skipped, waiting, held = seeder.complete(1, 2, 3, 4)
    seeder.fail(failed)
    seeder.skip(skipped)
    seeder.hold(held)
    drafted = seeder.draft_study(5)
    ids = (failed, skipped, waiting, held, drafted, failed)
    answers = run(BulkAction.RETRY, *ids)
    assert answers[:2] == ["", ""]
    assert all(answers[2:])
    assert len(answers) == 5
    assert state_of(failed) == state_of(skipped) == VisibleState.WAITING
    assert details(failed, EventKind.RETRIED)


def test_what_waits_is_cancelled_and_what_has_a_draft_is_not(seeder):
    (waiting,) = seeder.complete(1)
    drafted, receiving = seeder.draft_study(2), seeder.receive(3)
    answers = run(BulkAction.CANCEL, waiting, drafted, receiving)
    assert answers == [
        "",
        "It has a draft: its own page withdraws that.",
        "Its images are still coming.",
    ]
    assert state_of(waiting) is VisibleState.CANCELLED
    assert "Dr. Roe" in details(waiting, EventKind.CANCELLED)[0]
    # What a person decided is not taken back for many.
    assert run(BulkAction.RETRY, waiting) == [
        "Its draft was decided against: only its own page takes that back."
    ]


def priorities(study):
    with unit_of_work() as session:
        row = session.get_one(Study, study)
        entry = worklist_rows.read_row(session, study).priority
        return entry, row.chosen_priority


def test_a_chosen_priority_stays_whatever_comes_later(seeder):
    (study,) = seeder.complete(1)
    assert run(BulkAction.PRIORITY, study, priority=Priority.URGENT) == [""]
    assert priorities(study) == (Priority.URGENT, Priority.URGENT)
    assert details(study, EventKind.PRIORITY_CHOSEN) == [
        "URGENT in place of ROUTINE, chosen by Dr. Roe"
    ]
    with unit_of_work() as session:
        uid = session.get_one(Study, study).study_instance_uid
        number = session.get_one(Study, study).accession_number
    seeder.receive(
        2, Priority.STAT, study_instance_uid=uid, patient=_patient(study), sop_instance_uid="2.25.9"
    )
    assert priorities(study) == (Priority.URGENT, Priority.URGENT)
    assert "STAT" in details(study, EventKind.PRIORITY_CHOSEN)[1]
    send_order(accession_numbers=(number,), patient=_patient(study), priority=Priority.STAT)
    with unit_of_work() as session:
        effects.apply_to_study(session, session.get_one(Study, study, with_for_update=True))
    assert priorities(study) == (Priority.URGENT, Priority.URGENT)
    assert run(BulkAction.PRIORITY, study, priority=Priority.URGENT) == [
        "A person chose this priority already."
    ]


def _patient(study):
    with unit_of_work() as session:
        return Patient.of_study(session.get_one(Study, study))


def test_its_request_gets_the_priority_too(seeder):
    (study,) = seeder.complete(1)
    run(BulkAction.PRIORITY, study, priority=Priority.STAT)
    assert run_sql("SELECT priority FROM draft_requests") == [(0,)]


def test_studies_of_other_sites_are_neither_named_nor_changed(seeder):
    (study,) = seeder.complete(1)
    with limited_to([uuid.uuid4()]):
        assert run(BulkAction.CANCEL, study, uuid.uuid4()) == [changes.NOT_SHOWN] * 2
    assert state_of(study) is VisibleState.WAITING


def test_a_hold_that_opened_meanwhile_is_left_alone(seeder):
    (study,) = seeder.complete(1)
    change = Change(BulkAction.CANCEL)
    with unit_of_work() as session:
        assert [one.why_not for one in changes.plan(session, [study], change)] == [""]
        holds.open_hold(session, study, HoldReason.CHEST_UNKNOWN, "no body part")
    (verdict,) = changes.carry_out(unit_of_work, [study], change)
    assert verdict.why_not
    assert state_of(study) is VisibleState.HELD


@pytest.mark.parametrize(
    ("ids", "change"),
    [
        ([], Change(BulkAction.RETRY)),
        ([uuid.uuid4() for _ in range(201)], Change(BulkAction.RETRY)),
        ([uuid.uuid4()], Change(BulkAction.PRIORITY)),
        ([uuid.uuid4()], Change(BulkAction.RETRY, Priority.STAT)),
    ],
)
def test_what_cannot_be_meant_is_refused(database, ids, change):
    with pytest.raises(NotAllowed):
        changes.carry_out(unit_of_work, ids, change)
