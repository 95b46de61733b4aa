"""Leases, fencing, suspects and attempts: each rule broken on purpose."""

import datetime as dt
import threading

import pytest
from sqlalchemy import text

from records import hold_decisions
from records.database.session import unit_of_work
from records.errors import NotAllowed
from records.states import (
    Decision,
    EventKind,
    FailReason,
    HoldReason,
    Priority,
    Stage,
    VisibleState,
)
from records.workflow import (
    attempts,
    drafts,
    events,
    holds,
    leases,
    registrations,
    requests,
    studies,
    worklist_rows,
)
from tests.support.registered_studies import (
    claim,
    complete,
    draft_all,
    new_instance,
    prepare,
    register,
    save,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("database")


def fail(lease, max_attempts=3, **more):
    with unit_of_work() as session:
        return attempts.fail(
            session,
            lease,
            FailReason.MODEL_ERROR,
            "it broke",
            max_attempts=max_attempts,
            retry_seconds=0.0,
            **more,
        )


def take_back(max_attempts=3):
    with unit_of_work() as session:
        return len(attempts.expire_leases(session, max_attempts, 0.0))


def state(study_id):
    with unit_of_work() as session:
        return worklist_rows.read_row(session, study_id).state


def test_claims_go_by_priority_then_arrival():
    ids = [
        complete(new_instance(f"1.{n}", priority=priority))[0]
        for n, priority in enumerate(
            [Priority.BACKLOG, Priority.ROUTINE, Priority.STAT, Priority.ROUTINE]
        )
    ]
    assert [lease.study_id for lease in claim()] == [ids[2], ids[1], ids[3], ids[0]]


def test_two_workers_never_get_the_same_request():
    for n in range(30):
        complete(new_instance(f"1.{n}"))
    request_ids = []

    def take(owner):
        while claimed := claim(owner=owner, limit=3):
            request_ids.extend(lease.request_id for lease in claimed)

    threads = [threading.Thread(target=take, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(request_ids) == len(set(request_ids)) == 30


def test_a_lost_lease_cannot_write():
    """Fencing: the first worker was silent too long; the second has the request now."""
    (study_id,) = complete(new_instance())
    (old,) = claim(owner="slow", seconds=0.0)
    assert take_back() == 1
    (new,) = claim(owner="quick")
    assert new.claim_number > old.claim_number
    assert prepare(old) is False
    assert fail(old) is False
    with unit_of_work() as session:
        assert requests.skip(session, old, "NOT_CHEST", "no") is False
        assert leases.release(session, [old], "late") == 0
        assert leases.renew(session, [old, new], 60.0) == {new.request_id}
    assert state(study_id) is VisibleState.PREPARING
    assert prepare(new) is True


def test_an_expired_lease_cannot_write_even_before_it_is_taken_back():
    complete(new_instance())
    (lease,) = claim(seconds=0.0)
    assert prepare(lease) is False


def test_the_same_owner_again_is_another_claim():
    complete(new_instance())
    (first,) = claim(owner="w", seconds=0.0)
    take_back()
    (second,) = claim(owner="w")
    assert prepare(first) is False
    assert prepare(second) is True


def test_after_a_death_the_batch_are_suspects_claimed_one_at_a_time():
    for n in range(3):
        complete(new_instance(f"1.{n}"))
    batch = claim(seconds=0.0)
    assert [lease.alone for lease in batch] == [False] * 3
    take_back()
    sizes = []
    for _ in range(3):
        claimed = claim()
        sizes.append((len(claimed), claimed[0].alone))
        prepare(claimed[0])
    assert sizes == [(1, True)] * 3


def test_a_study_that_kills_its_worker_alone_ends_failed():
    (study_id,) = complete(new_instance())
    deaths = 0
    while claim(seconds=0.0):
        take_back()
        deaths += 1
        assert deaths < 10
    assert deaths == 4  # one attempt in a batch, then three alone
    assert state(study_id) is VisibleState.FAILED
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, study_id)
    assert row.reason == FailReason.WORKER_DIED


def test_only_own_errors_cost_attempts():
    (study_id,) = complete(new_instance())
    for _ in range(10):
        claimed = claim()
        with unit_of_work() as session:
            assert leases.release(session, claimed, "the disk is full") == 1
    for _ in range(3):
        fail(claim()[0])
    assert state(study_id) is VisibleState.FAILED
    assert claim() == []


def test_an_error_that_repeats_itself_ends_at_once():
    (study_id,) = complete(new_instance())
    fail(claim()[0], for_good=True)
    assert state(study_id) is VisibleState.FAILED


def test_a_failed_attempt_waits_before_the_next():
    complete(new_instance())
    with unit_of_work() as session:
        (lease,) = leases.claim(session, Stage.PREPARE, "w", 1, 60.0)
        attempts.fail(
            session,
            lease,
            FailReason.MODEL_ERROR,
            "it broke",
            max_attempts=3,
            retry_seconds=3600.0,
        )
    assert claim() == []


def test_preparing_well_gives_drafting_all_its_attempts():
    complete(new_instance())
    fail(claim()[0])
    prepare(claim()[0])
    for _ in range(2):
        fail(claim(Stage.DRAFT)[0])
    assert len(claim(Stage.DRAFT)) == 1


def test_attempts_that_a_sick_worker_cost_are_restored():
    studies = [complete(new_instance(f"1.{n}"))[0] for n in range(3)]
    claimed = claim()
    for lease in claimed:
        fail(lease, max_attempts=1)
    assert {state(study) for study in studies} == {VisibleState.FAILED}
    with unit_of_work() as session:
        attempts.restore_attempts(session, [lease.request_id for lease in claimed])
    assert {state(study) for study in studies} == {VisibleState.WAITING}


def test_an_open_hold_stops_claims_and_a_person_lets_them_go_on():
    (study_id,) = complete(new_instance())
    with unit_of_work() as session:
        holds.open_hold(session, study_id, HoldReason.CHEST_UNKNOWN, "no evidence")
        holds.open_hold(session, study_id, HoldReason.CHEST_UNKNOWN, "asked twice")
    assert claim() == []
    with unit_of_work() as session:
        assert hold_decisions.decide(session, study_id, Decision.PROCEED, "a reader") == 1
        assert holds.approved_reasons(holds.list_by_study(session, study_id)) == {
            HoldReason.CHEST_UNKNOWN
        }
    assert len(claim()) == 1


def test_a_person_cancels_a_held_study():
    (study_id,) = complete(new_instance())
    with unit_of_work() as session:
        holds.open_hold(session, study_id, HoldReason.CHEST_UNKNOWN, "no evidence")
    with unit_of_work() as session:
        hold_decisions.decide(session, study_id, Decision.CANCEL, "a reader")
    assert state(study_id) is VisibleState.CANCELLED
    assert claim() == []


def hold_and_cancel(study_id):
    with unit_of_work() as session:
        holds.open_hold(session, study_id, HoldReason.PATIENT_MISMATCH, "another patient")
        hold_decisions.decide(session, study_id, Decision.CANCEL, "a reader")


def close():
    with unit_of_work() as session:
        studies.close_quiet(session, 0.0)


def test_a_study_cancelled_while_images_come_stays_cancelled_when_complete():
    (registered,) = register(new_instance())
    hold_and_cancel(registered.study_id)
    close()
    assert state(registered.study_id) is VisibleState.CANCELLED
    assert claim() == []


def test_cancelling_withdraws_a_draft_that_is_there_and_late_images_do_not_bring_it_back():
    (study_id,) = complete(new_instance())
    draft_all()
    hold_and_cancel(study_id)
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, study_id)
        (draft,) = drafts.list_by_study(session, study_id)
    assert (row.state, row.draft_id) == (VisibleState.CANCELLED, None)
    assert draft.superseded_at is not None
    register(new_instance(content="a late image"))
    close()
    assert state(study_id) is VisibleState.CANCELLED
    assert claim() == []


def test_deciding_while_an_image_is_filed_does_not_lock_both_out():
    (study_id,) = complete(new_instance())
    mismatch = HoldReason.PATIENT_MISMATCH
    with unit_of_work() as session:
        holds.open_hold(session, study_id, mismatch, "another patient")

    def decide():
        with unit_of_work() as session:
            hold_decisions.decide(session, study_id, Decision.CANCEL, "a reader")

    def waits():
        with unit_of_work() as session:
            question = text(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return session.scalar(question)

    with unit_of_work() as session:
        registrations.register_instance(
            session, new_instance(content="a late image")
        )  # has the study now
        person = threading.Thread(target=decide)
        person.start()
        eventually(waits)
        holds.open_hold(session, study_id, mismatch, "another patient again")
    person.join(10)
    assert not person.is_alive()
    close()
    assert state(study_id) is VisibleState.CANCELLED


def test_a_person_who_thinks_again_gets_a_draft():
    (study_id,) = complete(new_instance())
    (draft_id,) = draft_all()
    hold_and_cancel(study_id)
    with unit_of_work() as session:
        assert requests.retry(session) == requests.retry(session, reason="DECIDED") == 0
        assert requests.retry(session, study_id=study_id) == 1
    assert state(study_id) is VisibleState.WAITING
    assert draft_all() == [draft_id]  # of the same inputs, so it is the same draft
    with unit_of_work() as session:
        assert worklist_rows.read_row(session, study_id).draft_id == draft_id


def test_a_hold_during_work_stops_the_next_claim_not_this_one():
    (study_id,) = complete(new_instance())
    (lease,) = claim()
    with unit_of_work() as session:
        holds.open_hold(session, study_id, HoldReason.PATIENT_MISMATCH, "another patient")
    assert prepare(lease) is True
    assert claim(Stage.DRAFT) == []


def test_retry_brings_back_what_failed_for_a_reason_and_since_a_time():
    (first,) = complete(new_instance("1.1"))
    fail(claim()[0], for_good=True)
    with unit_of_work() as session:
        assert requests.retry(session, reason="UNREADABLE") == 0
        later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        assert requests.retry(session, since=later) == 0
        assert requests.retry(session, reason="MODEL_ERROR") == 1
    assert state(first) is VisibleState.WAITING


def test_many_are_retried_in_batches():
    for n in range(5):
        complete(new_instance(f"1.{n}"))
        fail(claim()[0], for_good=True)
    batches = []
    while not batches or batches[-1] == 2:
        with unit_of_work() as session:
            batches.append(requests.retry(session, limit=2))
    assert batches == [2, 2, 1]


def test_a_skipped_study_comes_back_only_when_it_or_its_reason_is_named():
    (study_id,) = complete(new_instance())
    with unit_of_work() as session:
        requests.skip(session, claim()[0], "NOT_CHEST", "a hand")
    with unit_of_work() as session:
        assert requests.retry(session) == 0
        assert requests.retry(session, reason="NOT_CHEST") == 1
    assert state(study_id) is VisibleState.WAITING
    with unit_of_work() as session:
        requests.skip(session, claim()[0], "NOT_CHEST", "a hand")
        assert requests.retry(session, study_id=study_id) == 1


def test_a_draft_cannot_be_retried():
    (study_id,) = complete(new_instance())
    draft_all()
    with pytest.raises(NotAllowed), unit_of_work() as session:
        requests.retry(session, study_id=study_id)


def test_another_preprocessing_is_prepared_again():
    (study_id,) = complete(new_instance())
    prepare(claim()[0])
    (lease,) = claim(Stage.DRAFT)
    with unit_of_work() as session:
        assert requests.prepare_again(session, lease, "another image size")
    assert state(study_id) is VisibleState.WAITING
    assert save(lease) is None


def test_requests_for_another_bundle_are_left_alone():
    (study_id,) = complete(new_instance())
    draft_all()
    with unit_of_work() as session:
        study = studies.get_by_uid(session, str(study_id))
        requests.create_request(session, study, bundle="digest-of-another")
    assert claim(bundle="digest-of-this") == []
    assert len(claim(bundle="digest-of-another")) == 1


def test_bells_ring_for_what_could_be_claimed():
    for n in range(3):
        complete(new_instance(f"1.{n}", priority=Priority(n)))
    with unit_of_work() as session:
        ready = leases.claimable_ids(session, Stage.PREPARE, 2)
    assert ready == [lease.request_id for lease in claim(limit=2)]
    with unit_of_work() as session:
        assert len(leases.claimable_ids(session, Stage.PREPARE, 10)) == 1


def test_the_timeline_names_each_step():
    (study_id,) = complete(new_instance())
    draft_all()
    with unit_of_work() as session:
        kinds = [event.kind for event in events.timeline(session, study_id)]
    assert kinds[2:] == [
        EventKind.REQUESTED,
        EventKind.CLAIMED,
        EventKind.PREPARED,
        EventKind.CLAIMED,
        EventKind.DRAFTED,
    ]
