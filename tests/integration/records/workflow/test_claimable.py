"""Whether a request can be claimed is kept in its row: always true, and what a claim walks."""

import random

import pytest
from sqlalchemy import event, text

from records import hold_decisions
from records.database.session import engine, unit_of_work
from records.database.tables import Study
from records.states import Decision, FailReason, HoldReason, Stage
from records.workflow import attempts, drafts, holds, leases, requests, studies
from tests.support.registered_studies import (
    OTHER_PATIENT,
    claim,
    complete,
    new_draft,
    new_instance,
    register,
)

pytestmark = pytest.mark.usefixtures("database")

DEFINITION = """
SELECT r.id FROM draft_requests r JOIN studies s ON s.id = r.study_id
WHERE r.state IN ('WAITING', 'PREPARED') AND r.not_before IS NULL
    AND s.state = 'COMPLETE' AND s.revision = r.revision
    AND NOT EXISTS (SELECT FROM holds h WHERE h.study_id = s.id AND h.decision IS NULL)
"""
"""As the rows say it, once the sweep has cleared each `not_before` that has passed."""


def run(statement, **values):
    with unit_of_work() as session:
        return session.execute(text(statement), values).all()


def wake(limit=1000):
    with unit_of_work() as session:
        return requests.wake_due(session, limit)


@pytest.mark.parametrize("seed", range(3))
def test_it_equals_what_the_rows_say_whatever_is_done(seed):
    order = random.Random(seed)
    uids = [f"1.{n}" for n in range(6)]

    def receive(uid):
        register(new_instance(uid))

    def close(uid):
        with unit_of_work() as session:
            studies.close_quiet(session, 0.0, limit=order.randint(1, 6))

    def another_patient(uid):
        register(new_instance(uid, patient=OTHER_PATIENT, content=str(order.random())))

    def decide(uid):
        with unit_of_work() as session:
            study = studies.get_by_uid(session, uid)
            if [hold for hold in holds.list_by_study(session, study.id) if not hold.decision]:
                hold_decisions.decide(
                    session, study.id, order.choice(list(Decision)[:2]), "a reader"
                )

    def work(uid):
        stage = order.choice(list(Stage))
        with unit_of_work() as session:
            for lease in leases.claim(session, stage, "w:1", order.randint(1, 3), 60.0):
                outcome = order.randint(0, 5)
                if outcome == 0:
                    leases.release(session, [lease], "on purpose", suspect=True)
                elif outcome == 1:
                    holds.open_hold(session, lease.study_id, HoldReason.CHEST_UNKNOWN, "no")
                    leases.release(session, [lease], "a person must decide")
                elif outcome == 2:
                    attempts.fail(
                        session,
                        lease,
                        FailReason.UNEXPECTED,
                        "it broke",
                        max_attempts=3,
                        retry_seconds=order.choice([0.0, 3600.0]),
                    )
                elif stage is Stage.PREPARE:
                    requests.mark_prepared(
                        session, lease, requests.PreparedInput("x", str(lease.request_id), "p", {})
                    )
                elif outcome == 3:
                    requests.prepare_again(session, lease, "its input is gone")
                else:
                    drafts.save(session, lease, new_draft(lease))

    def retry(uid):
        with unit_of_work() as session:
            requests.retry(session, reason=order.choice([None, "UNEXPECTED"]))

    def night_comes(uid):
        run(
            "UPDATE draft_requests SET not_before = now() - interval '1 s'"
            " WHERE not_before IS NOT NULL RETURNING id"
        )
        wake()

    def wait_for_night(uid):
        run(
            "UPDATE draft_requests SET not_before = now() + interval '1 hour' WHERE study_id ="
            " (SELECT id FROM studies WHERE study_instance_uid = :uid) RETURNING id",
            uid=uid,
        )

    for uid in uids:
        receive(uid)
    operations = (
        receive,
        close,
        close,
        another_patient,
        decide,
        work,
        work,
        work,
        retry,
        night_comes,
        wait_for_night,
    )
    seen = set()
    for number in range(60):
        order.choice(operations)(order.choice(uids))
        wake()
        kept = set(run("SELECT id FROM draft_requests WHERE claimable"))
        assert kept == set(run(DEFINITION)), number
        seen.add(len(kept))
    assert len(seen) > 3  # it did move


def test_it_cannot_be_written():
    (study_id,) = complete(new_instance())
    with unit_of_work() as session:
        holds.open_hold(session, study_id, HoldReason.CHEST_UNKNOWN, "no evidence")
    assert run("UPDATE draft_requests SET claimable = true RETURNING claimable") == [(False,)]


def test_a_hold_that_was_committed_while_a_claim_read_stops_it():
    (study_id,) = complete(new_instance())
    with unit_of_work() as session:
        request_id = session.get_one(Study, study_id).request_id
        with unit_of_work() as other:
            holds.open_hold(other, study_id, HoldReason.CHEST_UNKNOWN, "no evidence")
        assert leases._insert_leases(session, Stage.PREPARE, "w:1", [request_id], False, 60.0) == {}


def test_what_waits_for_its_time_is_claimed_once_the_sweep_has_seen_that_it_passed():
    complete(new_instance("1.1"))
    complete(new_instance("1.2"))
    (lease,) = claim(limit=1)
    with unit_of_work() as session:
        attempts.fail(
            session,
            lease,
            FailReason.UNEXPECTED,
            "it broke",
            max_attempts=3,
            retry_seconds=3600.0,
        )
    assert wake() == 0
    assert lease.request_id not in {other.request_id for other in claim()}
    run("UPDATE draft_requests SET not_before = now() WHERE not_before IS NOT NULL RETURNING id")
    assert wake() == 1
    assert [other.request_id for other in claim()] == [lease.request_id]


def test_two_bundles_requests_are_merged_in_the_order_of_claims():
    ids = [complete(new_instance(f"1.{n}"))[0] for n in range(6)]
    for number, study_id in enumerate(ids):
        run(
            "UPDATE draft_requests SET bundle = :bundle, priority = :priority"
            " WHERE study_id = :study RETURNING id",
            bundle=[None, "mine", "another"][number % 3],
            priority=3 - number // 3,
            study=study_id,
        )
    with unit_of_work() as session:
        ready = leases.claimable_ids(session, Stage.PREPARE, 10)
        assert len(ready) == 6
        assert len(leases.claimable_ids(session, Stage.PREPARE, 4)) == 4
    claimed = claim(bundle="mine", limit=3)
    assert [lease.study_id for lease in claimed] == [ids[3], ids[4], ids[0]]
    assert [lease.study_id for lease in claim()] == [ids[5], ids[1], ids[2]]


# ---- What is walked ----

MANY = 10_000


def plant(count=MANY):
    """Plant many studies in one transaction, each with a request that can be claimed."""
    with engine().begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # no triggers
        connection.execute(
            text(
                "INSERT INTO studies (study_instance_uid, patient_id, patient_id_issuer,"
                " patient_name, patient_birth_date, patient_sex, accession_number, study_date,"
                " study_description, state, priority, calling_ae)"
                " SELECT '9.' || n, 'P', '', '', '', '', 'A', '', '', 'COMPLETE', 2, 'X'"
                " FROM generate_series(1, :count) n"
            ),
            {"count": count},
        )
        connection.execute(
            text(
                "INSERT INTO draft_requests (study_id, revision, priority, claimable)"
                " SELECT id, 1, 2, true FROM studies"
            )
        )


def plans(call):
    """EXPLAIN ANALYZE of each statement that reads or changes requests while `call` runs."""
    statements = []

    def keep(_connection, cursor, statement, parameters, _context, executemany):
        if not executemany and "draft_requests" in statement:
            statements.append(cursor.mogrify(statement, parameters).decode())

    event.listen(engine(), "before_cursor_execute", keep)
    try:
        call()
    finally:
        event.remove(engine(), "before_cursor_execute", keep)
    explained = []
    for statement in statements:
        with engine().connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS OFF) {statement}")
            explained.append("\n".join(rows.scalars()))
            connection.rollback()
    return explained


def ring():
    with unit_of_work() as session:
        leases.claimable_ids(session, Stage.PREPARE, 64)


BLOCKED = {
    "nothing": "claimable = true",
    "holds": "claimable = (ctid > '(100,1)')",  # the oldest are held
    "the night": "not_before = now() + interval '1 hour', claimable = false",
    "another bundle": "bundle = 'another'",
}
"""What the triggers write into the requests; one statement for all, without them."""


def write_all(values):
    with engine().begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"UPDATE draft_requests SET {values}"))


def analyse():
    with engine().begin() as connection:
        connection.execute(text("ANALYZE"))


@pytest.mark.parametrize("blocked", BLOCKED)
def test_no_claim_sorts_many_or_walks_over_what_is_blocked(blocked):
    """Whatever the planner believes of the tables."""
    plant()
    check()  # the tables were never analysed
    write_all(BLOCKED[blocked])
    check()
    analyse()
    check()
    write_all("not_before = NULL, bundle = NULL, claimable = true")
    check()  # what was blocked when the tables were analysed is not any more


def test_many_live_leases_are_read_once_for_a_claim():
    plant()
    claim(limit=400)
    check(most=450)
    analyse()
    check(most=500)


def check(most=200):
    work = (lambda: claim(bundle="mine"), ring, wake)
    for plan in [plan for call in work for plan in plans(call)]:
        assert "Seq Scan on draft_requests" not in plan, plan
        assert "Seq Scan on studies" not in plan, plan
        assert max(_numbers(plan)) <= most, plan


def _numbers(plan):
    """The rows that each step of a plan gave or threw away, over all its loops."""
    loops = 1
    for line in plan.splitlines():
        if "actual time" in line:
            loops = int(line.split("loops=")[1].rstrip(")"))
            yield float(line.split("rows=")[2].split(" ")[0]) * loops
        elif "Rows Removed" in line:
            yield float(line.split(":")[1]) * loops
