"""Questions to other systems are rows: made by the sweep, claimed, ended, each once."""

import pytest
from sqlalchemy import select, text, update

from nightdraft.bench.growth_fill import fill
from records.database.order_tables import StudyQuery
from records.database.session import engine, unit_of_work
from records.database.tables import Study
from records.errors import LostLease
from records.orders import matching, queries
from records.orders.order import OrderAction, ReceivedOrder
from records.orders.receiving import receive_order
from records.settings import settings
from records.states import WARNING, Origin, QueryKind, QueryState
from records.workflow import events
from tests.support.query_plans import explained, nodes
from tests.support.registered_studies import PATIENT, complete, new_instance, register
from worker.sweep import sweep

WORKLIST = QueryKind.WORKLIST


@pytest.fixture
def asked_worklist(database, broker, setting):
    setting(worklist_host="worklist", quiet_seconds=0)


def claim(seconds=60.0):
    with unit_of_work() as session:
        return queries.claim(session, WORKLIST, seconds)


def write(function, *arguments):
    with unit_of_work() as session:
        return function(session, *arguments)


def rows():
    with unit_of_work() as session:
        return session.execute(
            select(StudyQuery.state, StudyQuery.attempts, StudyQuery.error, StudyQuery.answers)
        ).all()


def make_due():
    with unit_of_work() as session:
        session.execute(update(StudyQuery).values(not_before=text("now() - interval '1 s'")))


def open_for(*study_ids):
    with unit_of_work() as session:
        return queries.open_queries(session, study_ids, settings())


def test_the_sweep_asks_about_a_study_without_an_order_alone(asked_worklist):
    with unit_of_work() as session:
        order = ReceivedOrder(
            Origin.HL7, "RIS", OrderAction.PLACE, PATIENT, accession_numbers=("A2",)
        )
        receive_order(session, order)
    (with_order,) = register(new_instance(study="1.2.2", accession_number="A2"))
    with unit_of_work() as session:
        matching.match_study(session, session.get_one(Study, with_order.study_id))
    register(new_instance(study="1.2.1", accession_number="A1"))
    sweep()
    with unit_of_work() as session:
        asked = session.scalars(
            select(Study.accession_number).join(StudyQuery, StudyQuery.study_id == Study.id)
        ).all()
    assert asked == ["A1"]


def test_nothing_is_asked_where_no_worklist_is_named(database, setting):
    (study_id,) = complete(new_instance())
    assert open_for(study_id) == 0
    assert rows() == []


def test_a_question_is_claimed_once_until_its_claim_runs_out(asked_worklist):
    (study_id,) = complete(new_instance())
    open_for(study_id)
    query = claim()
    assert (query.study_id, query.attempt) == (study_id, 1)
    assert claim() is None
    make_due()
    again = claim()
    assert again.attempt == 2
    # Whoever has lost the claim changes nothing.
    with pytest.raises(LostLease):
        write(queries.mark_answered, query, 1)
    write(queries.mark_answered, again, 1)
    assert rows() == [(QueryState.ANSWERED, 2, "", 1)]
    make_due()
    assert claim() is None


def test_a_question_is_asked_again_later_and_then_given_up(asked_worklist):
    (study_id,) = complete(new_instance())
    open_for(study_id)
    assert write(queries.ask_again, claim(), "it is cut", 2, 60.0)
    assert claim() is None
    make_due()
    assert not write(queries.ask_again, claim(), "it is cut", 2, 60.0)
    assert rows() == [(QueryState.GIVEN_UP, 2, "it is cut", None)]
    with unit_of_work() as session:
        details = [event.detail for event in events.timeline(session, study_id)]
    assert "gave up asking the worklist: it is cut" in details


def test_an_empty_answer_is_no_error(asked_worklist):
    (study_id,) = complete(new_instance())
    open_for(study_id)
    assert not write(queries.ask_again, claim(), "", 1, 60.0)
    assert rows() == [(QueryState.ANSWERED, 1, "", 0)]


def test_the_fault_of_the_other_system_costs_no_attempt(asked_worklist):
    (study_id,) = complete(new_instance())
    open_for(study_id)
    for _ in range(5):
        write(queries.put_back, claim(), "it is away")
    assert rows() == [(QueryState.WAITING, 0, "it is away", None)]


def test_a_study_that_is_complete_again_is_asked_about_again(asked_worklist):
    (study_id,) = complete(new_instance())
    open_for(study_id)
    old = claim()
    open_for(study_id)
    with pytest.raises(LostLease):
        write(queries.mark_answered, old, 1)
    assert claim().attempt == 1


def test_a_claim_walks_its_index(database):
    with unit_of_work() as session:
        fill(session, 20_000, WARNING)
        session.execute(
            text(
                "INSERT INTO study_queries (study_id, kind, state, not_before)"
                " SELECT id, 'WORKLIST', CASE WHEN random() < 0.5 THEN 'WAITING' ELSE 'ANSWERED'"
                " END, now() - random() * interval '1 day' FROM studies"
            )
        )
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) study_queries"))
    with explained() as plans:
        query = claim()
        write(queries.put_back, query, "")
    kinds = [node["Node Type"] for _, plan in plans for node in nodes(plan)]
    assert "Index Scan" in kinds
    assert not [kind for kind in kinds if kind.endswith(("Seq Scan", "Sort"))]
