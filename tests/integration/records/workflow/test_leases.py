"""Leases as rows of their own: what they lock, and what ends them."""

import random
import threading

import pytest
from sqlalchemy import text

from records.database.session import unit_of_work
from records.states import FailReason, Stage
from records.workflow import attempts, drafts, leases, requests, studies
from tests.support.registered_studies import (
    claim,
    complete,
    new_draft,
    new_instance,
    prepare,
    register,
)

pytestmark = pytest.mark.usefixtures("database")


def rows(query, **values):
    with unit_of_work() as session:
        return session.execute(text(query), values).all()


def live_leases():
    return rows("SELECT request_id, stage, owner, alone FROM leases ORDER BY claim")


def test_a_lease_is_there_while_a_request_is_worked_on_and_no_longer():
    complete(new_instance())
    (lease,) = claim(owner="host:1")
    assert live_leases() == [(lease.request_id, "prepare", "host:1", False)]
    prepare(lease)
    assert live_leases() == []


def test_a_claim_and_a_renewal_rewrite_no_request():
    complete(new_instance())
    place = "SELECT ctid::text, changed_at FROM draft_requests"
    before = rows(place)
    (lease,) = claim()
    with unit_of_work() as session:
        leases.renew(session, [lease], 60.0)
        leases.release(session, [lease], "on purpose")
    assert rows(place) == before


def test_whoever_ends_a_request_ends_its_lease():
    """The database itself sees to it, whatever code changes the state."""
    complete(new_instance())
    claim()
    rows("UPDATE draft_requests SET state = 'CANCELLED', reason = 'DECIDED' RETURNING id")
    assert live_leases() == []


def test_a_claim_committed_while_another_one_reads_is_not_made_twice():
    """A row that was locked and not changed is not read again, so the lease itself must say no."""
    complete(new_instance())
    (first,) = claim(owner="first")
    with unit_of_work() as session:
        # The request as a statement of before saw it: it could be claimed.
        arguments = Stage.PREPARE, "second", [first.request_id], False, 60.0
        assert leases._insert_leases(session, *arguments) == {}
    assert [row.owner for row in live_leases()] == ["first"]


def test_a_locked_lease_is_not_waited_for_and_is_not_called_lost():
    complete(new_instance("1.1"))
    complete(new_instance("1.2"))
    claimed = claim()
    expiry = "SELECT request_id, expires_at FROM leases ORDER BY claim"
    before = dict(map(tuple, rows(expiry)))
    with unit_of_work() as saving:
        leases.lock_held(saving, claimed[:1])
        with unit_of_work() as session:
            session.execute(text("SET LOCAL lock_timeout = '1s'"))
            kept = leases.renew(session, claimed, 600.0)
    assert kept == {lease.request_id for lease in claimed}
    after = dict(map(tuple, rows(expiry)))
    assert [after[lease.request_id] > before[lease.request_id] for lease in claimed] == [
        False,
        True,
    ]


def fail(lease):
    with unit_of_work() as session:
        attempts.fail(
            session,
            lease,
            FailReason.MODEL_ERROR,
            "it broke",
            max_attempts=3,
            retry_seconds=0.0,
        )


def test_an_attempt_is_given_back_only_where_it_is_still_what_happened_last():
    failed, claimed_again, cancelled, retried = [
        complete(new_instance(f"1.{n}"))[0] for n in range(4)
    ]
    held = {lease.study_id: lease for lease in claim()}
    for lease in held.values():
        fail(lease)
    with unit_of_work() as session:
        (again,) = leases.claim(session, Stage.PREPARE, "w", 1, 60.0)  # a suspect, alone
        assert again.study_id == failed
        leases.release(session, [again], "not this one")
    rows(
        "UPDATE draft_requests SET suspect = (study_id <> :study) RETURNING id",
        study=claimed_again,
    )
    with unit_of_work() as session:
        session.execute(
            text("UPDATE draft_requests SET priority = 0 WHERE study_id = :study"),
            {"study": claimed_again},
        )
    (working,) = claim(limit=1)
    assert working.study_id == claimed_again
    with unit_of_work() as session:
        requests.cancel(session, cancelled, "a reader")
        requests.cancel(session, retried, "a reader")
        requests.retry(session, study_id=retried)
        ids = [lease.request_id for lease in held.values()]
        assert attempts.restore_attempts(session, ids) == 1
    counted = dict(
        map(tuple, rows("SELECT study_id, attempts || ' ' || state FROM draft_requests"))
    )
    assert counted == {
        failed: "0 WAITING",
        claimed_again: "1 WAITING",
        cancelled: "1 CANCELLED",
        retried: "0 WAITING",
    }


def test_nothing_that_runs_at_once_waits_for_each_other_in_a_circle():
    """Groups saved in any order, renewals, late images, expiry: no transaction is a deadlock's."""
    uids = [f"1.{n}" for n in range(24)]
    for uid in uids:
        complete(new_instance(uid))
    errors, rounds = [], 12

    def run(work):
        def attempts():
            for number in range(rounds):
                try:
                    work(random.Random(number))
                except Exception as error:
                    errors.append(error)

        return threading.Thread(target=attempts)

    def draft(order):
        for lease in claim(Stage.PREPARE, limit=8):
            prepare(lease)
        claimed = claim(Stage.DRAFT, limit=8)
        renewing = threading.Thread(target=renew, args=(claimed, order))
        renewing.start()
        order.shuffle(claimed)
        with unit_of_work() as session:
            leases.lock_held(session, claimed)
            for lease in claimed:
                drafts.save(session, lease, new_draft(lease))
        renewing.join()

    def renew(claimed, order):
        for _ in range(4):
            with unit_of_work() as session:
                leases.renew(session, order.sample(claimed, len(claimed)), 60.0)

    def late_images(order):
        for uid in order.sample(uids, 8):
            register(new_instance(uid))
        with unit_of_work() as session:
            studies.close_quiet(session, 0.0)

    def lose_and_expire(order):
        claim(limit=4, seconds=0.0)
        with unit_of_work() as session:
            attempts.expire_leases(session, 100, 0.0)
        with unit_of_work() as session:
            attempts.restore_attempts(
                session, [id_ for (id_,) in session.execute(text("SELECT id FROM draft_requests"))]
            )

    threads = [run(work) for work in (draft, draft, draft, late_images, lose_and_expire)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    twice = "SELECT request_id FROM events WHERE kind = 'DRAFTED' GROUP BY 1 HAVING count(*) > 1"
    assert rows(twice) == []
