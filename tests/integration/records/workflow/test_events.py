"""The timeline's reasons, and the search for workers that died one after the other."""

from __future__ import annotations

import pytest
from sqlalchemy import event, text

from records.database.session import engine, unit_of_work
from records.states import EndReason, EventKind, FailReason, HoldReason, Stage
from records.workflow import attempts, events, holds, requests
from tests.support.registered_studies import claim, complete, draft_all, new_instance, prepare

pytestmark = pytest.mark.usefixtures("database")


def expire(max_attempts=3):
    with unit_of_work() as session:
        return attempts.expire_leases(session, max_attempts, 0.0)


def die(stage=Stage.PREPARE):
    """Let a worker claim the next requests and die; return those requests."""
    claimed = claim(stage, seconds=0.0)
    expire()
    return [lease.request_id for lease in claimed]


def fail(lease, reason, detail="it broke", *, for_good=False):
    with unit_of_work() as session:
        assert attempts.fail(
            session,
            lease,
            reason,
            detail,
            max_attempts=3,
            retry_seconds=0.0,
            for_good=for_good,
        )


def deaths(worker="prepare@w", **limits):
    with unit_of_work() as session:
        return events.consecutive_worker_deaths(session, worker, **limits)


def reasons(study_id):
    with unit_of_work() as session:
        return {
            line.kind: line.reason
            for line in events.timeline(session, study_id)
            if line.reason is not None
        }


def test_every_known_reason_is_in_its_column():
    failed, skipped, held = (complete(new_instance(f"1.{n}"))[0] for n in range(3))
    for_retry, for_hand, _ = claim()
    fail(for_retry, FailReason.UNEXPECTED)
    with unit_of_work() as session:
        requests.skip(session, for_hand, "not_chest", "a hand")
        holds.open_hold(session, held, HoldReason.AGE_UNKNOWN, "no birth date")
        requests.cancel(session, held, "by a reader")
    assert reasons(failed) == {EventKind.ATTEMPT_FAILED: FailReason.UNEXPECTED}
    fail(claim()[0], FailReason.UNREADABLE, for_good=True)
    assert reasons(failed)[EventKind.FAILED] == FailReason.UNREADABLE
    assert reasons(skipped) == {EventKind.SKIPPED: "not_chest"}
    assert reasons(held) == {
        EventKind.HELD: HoldReason.AGE_UNKNOWN,
        EventKind.CANCELLED: EndReason.DECIDED,
    }


def test_what_supersedes_and_conflicts_has_its_reason():
    (study_id,) = complete(new_instance(sop="1.1", content="a"))
    complete(new_instance(content="late"))
    complete(new_instance(sop="1.1", content="b"))
    assert reasons(study_id) == {
        EventKind.SUPERSEDED: EndReason.LATE_IMAGES,
        EventKind.CONFLICT: HoldReason.CONFLICTING_BYTES,
        EventKind.HELD: HoldReason.CONFLICTING_BYTES,
    }


def test_deaths_of_suspects_are_counted_since_the_last_success():
    for n in range(4):
        complete(new_instance(f"1.{n}"))
    assert len(die()) == 4  # they died together, so no study is suspect yet
    assert deaths() == []
    dead = [die()[0] for _ in range(3)]
    assert set(deaths()) == set(dead)
    assert deaths(limit=1) == deaths()[:1]
    assert deaths("draft@w") == deaths("prepare@another") == []
    prepare(claim()[0])
    assert deaths() == []


def test_a_death_is_no_evidence_where_the_worker_went_on():
    """Its processes were killed, and were replaced before the lease ran out."""
    for n in range(4):
        complete(new_instance(f"1.{n}"))
    die()
    claim(seconds=0.0)  # its process is killed
    (other,) = claim()
    prepare(other)
    expire()
    assert deaths() == []
    assert die() != []  # nothing went well after this one
    assert len(deaths()) == 1


def test_other_failures_are_no_deaths():
    complete(new_instance())
    fail(claim()[0], FailReason.MODEL_ERROR, "WORKER_DIED is only a word of this sentence")
    assert deaths() == []


def test_the_search_for_deaths_does_not_walk_through_arrivals():
    """EXPLAIN: among many events of other kinds the partial index is used, and is walked back."""
    (study_id,) = complete(new_instance())
    draft_all()
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO events (study_id, kind, detail) "
                "SELECT :study, 'ARRIVED', 'film' FROM generate_series(1, 20000)"
            ),
            {"study": study_id},
        )
    with (
        engine().connect() as connection,
        connection.execution_options(isolation_level="AUTOCOMMIT"),
    ):
        connection.execute(text("ANALYZE events"))
    statements = []

    def keep(_connection, cursor, statement, parameters, _context, _executemany):
        statements.append(cursor.mogrify(statement, parameters).decode())

    event.listen(engine(), "before_cursor_execute", keep)
    try:
        deaths()
    finally:
        event.remove(engine(), "before_cursor_execute", keep)
    (statement,) = (statement for statement in statements if "FROM events" in statement)
    with engine().connect() as connection:
        plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}").scalars())
    assert "Index Scan Backward using ix_events_work_ended on events" in plan
    assert "Seq Scan on events" not in plan
    assert "Sort" not in plan
