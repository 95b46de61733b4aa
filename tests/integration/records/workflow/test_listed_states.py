"""Kept lists and numbers stay equal to the rows that they are derived from, whatever happens."""

import random
import threading
from collections import Counter
from contextlib import suppress

import pytest
from sqlalchemy import select, text

from records import hold_decisions
from records.database.session import engine, unit_of_work
from records.database.tables import Hold, Study, Tally, WorklistEntry
from records.errors import NightdraftError
from records.operations import refusals
from records.operations.overview import MOVING
from records.states import Decision, FailReason, HoldReason, Stage, TallyKind, VisibleState
from records.workflow import (
    attempts,
    holds,
    leases,
    requests,
    studies,
    tallies,
    worklist,
)
from records.workflow.patients import Patient
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

DERIVED = text(
    """
    SELECT s.id, s.state AS study, r.state AS request,
        r.id IN (SELECT request_id FROM leases) AS leased,
        s.id IN (SELECT study_id FROM holds WHERE decision IS NULL) AS held
    FROM studies s LEFT JOIN draft_requests r ON r.id = s.request_id
    """
)


def visible(row):
    """The visible state as docs/use/radiologist.md has it, from the rows alone."""
    if row.held:
        return VisibleState.HELD
    if row.study == "RECEIVING":
        return VisibleState.RECEIVING
    if row.leased:
        return {"WAITING": VisibleState.PREPARING, "PREPARED": VisibleState.DRAFTING}[row.request]
    return VisibleState(row.request or "WAITING")


def check():
    """Compare lists, numbers and rows with what the tables say."""
    with unit_of_work() as session:
        expected = {row.id: visible(row) for row in session.execute(DERIVED)}
        counts = worklist.count_by_state(session)
        assert counts == dict.fromkeys(VisibleState, 0) | Counter(expected.values())
        shown = {row.id: row.state for row in worklist.read_page(session, limit=1000).rows}
        assert shown == expected
        for state in VisibleState:
            rows = worklist.read_page(session, state=state, limit=1000).rows
            assert {row.id for row in rows} == {
                id_ for id_, other in expected.items() if other is state
            }
        drafts = session.scalar(text("SELECT count(*) FROM drafts"))
        assert tallies.count_saved_drafts(session) == drafts
        open_holds = Counter(
            session.scalars(select(Hold.reason).where(Hold.decision.is_(None))).all()
        )
        assert +Counter(tallies.read_numbers(session, TallyKind.OPEN_HOLDS)) == open_holds
        waiting = [
            row.first_received_at
            for row in session.scalars(select(Study))
            if expected[row.id] in MOVING
        ]
        assert worklist.oldest_waiting(session) == min(waiting, default=None)


class Operations:
    """What can happen to studies, each by the function that does it, at random."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.leases = []

    def some_study(self):
        with unit_of_work() as session:
            ids = session.scalars(select(Study.id).order_by(Study.study_instance_uid)).all()
        return self.random.choice(ids)

    def some_lease(self):
        return self.leases.pop(self.random.randrange(len(self.leases)))

    def receive(self):
        register(new_instance(f"1.{self.random.randrange(12)}"))

    def receive_of_another_patient(self):
        register(new_instance(f"1.{self.random.randrange(12)}", patient=Patient("X", "", "OTHER")))

    def close(self):
        with unit_of_work() as session:
            studies.close_quiet(session, 0.0, self.random.choice([1, 200]))

    def claim(self):
        stage = self.random.choice(list(Stage))
        seconds = self.random.choice([0.0, 60.0])
        self.leases += claim(stage, limit=self.random.choice([1, 3]), seconds=seconds)

    def prepare(self):
        lease = self.some_lease()
        if lease.stage is Stage.PREPARE:
            prepare(lease)

    def save(self):
        lease = self.some_lease()
        if lease.stage is Stage.DRAFT:
            save(lease)

    def end(self):
        lease = self.some_lease()
        with unit_of_work() as session:
            if self.random.random() < 0.5:
                requests.skip(session, lease, "not_chest", "a hand")
            else:
                attempts.fail(
                    session,
                    lease,
                    FailReason.UNREADABLE,
                    "cut off",
                    max_attempts=self.random.choice([1, 3]),
                    retry_seconds=0.0,
                )

    def give_back(self):
        with unit_of_work() as session:
            leases.release(session, [self.some_lease()], "a shutdown")

    def expire(self):
        with unit_of_work() as session:
            attempts.expire_leases(session, 3, 0.0)

    def hold(self):
        with unit_of_work() as session:
            holds.open_hold(
                session, self.some_study(), self.random.choice(list(HoldReason)), "in question"
            )

    def decide(self):
        with unit_of_work() as session:
            open_ids = session.scalars(
                select(Hold.study_id).where(Hold.decision.is_(None)).order_by(Hold.opened_at)
            ).all()
            decision = self.random.choice(list(Decision))
            hold_decisions.decide(session, self.random.choice(open_ids), decision, "Dr. Roe")

    def retry(self):
        with unit_of_work() as session:
            requests.retry(session, study_id=self.some_study())

    def fold(self):
        with unit_of_work() as session:
            tallies.fold(session, 0)

    def roll_back(self):
        with suppress(KeyError), unit_of_work() as session:
            holds.open_hold(session, self.some_study(), HoldReason.AGE_UNKNOWN, "not kept")
            raise KeyError

    def do_something(self):
        names = [name for name in vars(Operations) if name[0] != "_" and "some" not in name]
        weights = [WEIGHTS.get(name, 1) for name in names]
        (name,) = self.random.choices(names, weights)
        with suppress(NightdraftError, IndexError, ValueError):
            getattr(self, name)()


WEIGHTS = {"receive": 3, "close": 4, "claim": 6, "prepare": 6, "save": 6, "decide": 4}


def test_whatever_happens_lists_and_numbers_are_those_of_the_rows():
    operations = Operations(seed=5)
    reached = set()
    for _ in range(70):
        operations.do_something()
        operations.do_something()
        check()
        with unit_of_work() as session:
            reached |= {state for state, n in worklist.count_by_state(session).items() if n}
    assert len(reached) >= 7  # of ten: the operations go far enough


def entry_state(study):
    with unit_of_work() as session:
        return session.scalar(select(WorklistEntry.state).where(WorklistEntry.study_id == study))


def test_the_second_of_two_commits_waits_for_the_first():
    """A hold locks the request, so that it is known whether it can be claimed; then the entry."""
    (study,) = complete(new_instance())
    (lease,) = claim()
    second = threading.Thread(target=prepare, args=(lease,))
    with unit_of_work() as session:
        holds.open_hold(session, study, HoldReason.AGE_UNKNOWN, "no birth date")
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))  # the entry is locked and derived
        second.start()

        def waits():
            with engine().connect() as connection:
                return connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        eventually(waits)
    second.join()
    assert entry_state(study) == "HELD"
    check()


def test_a_deleted_study_is_on_no_list():
    complete(new_instance("1.1"), new_instance("1.2"))
    draft_all()
    register(new_instance("1.3"))
    with unit_of_work() as session:
        session.execute(text("DELETE FROM instances"))
        session.execute(text("DELETE FROM series"))
        session.execute(text("ALTER TABLE events DISABLE TRIGGER events_written_once"))
        session.execute(text("DELETE FROM events"))
        session.execute(text("DELETE FROM studies WHERE study_instance_uid = '1.3'"))
        session.execute(text("ALTER TABLE events ENABLE TRIGGER events_written_once"))
    check()
    with unit_of_work() as session:
        assert sum(worklist.count_by_state(session).values()) == 2


def refuse(number, reason):
    with unit_of_work() as session:
        for _ in range(number):
            refusals.record_refusal(
                session,
                calling_ae="A",
                sop_class_uid="1",
                sop_instance_uid="2",
                reason=reason,
                sentence="-",
            )


def test_folding_changes_no_number_and_loses_no_row_that_is_added_meanwhile():
    refuse(3, "TOO_LARGE")
    refuse(2, "sop_class")
    complete(new_instance())
    with unit_of_work() as session:
        assert tallies.fold(session, 0) > 0
        refuse(4, "sop_class")
    check()
    with unit_of_work() as session:
        assert refusals.count_by_reason(session) == {"TOO_LARGE": 3, "sop_class": 6}
        tallies.fold(session, 0)
    with unit_of_work() as session:
        assert refusals.count_by_reason(session) == {"TOO_LARGE": 3, "sop_class": 6}
        rows = session.execute(
            select(Tally.name, Tally.number).where(Tally.kind == TallyKind.REFUSALS)
        ).all()
        assert sorted(rows) == [("TOO_LARGE", 3), ("sop_class", 6)]
        assert tallies.fold(session, 100) == 0


def test_a_counter_of_refusals_never_falls():
    refuse(3, "TOO_LARGE")
    with unit_of_work() as session:
        session.execute(text("DELETE FROM refusals"))
        assert refusals.count_by_reason(session) == {"TOO_LARGE": 3}
