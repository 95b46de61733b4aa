"""A person decides about an order that names another patient than the study."""

import pytest
from sqlalchemy import select

from records import hold_decisions
from records.database.draft_tables import DraftRequest
from records.database.order_tables import StudyOrder
from records.database.session import unit_of_work
from records.database.tables import Hold, Study
from records.orders import effects
from records.orders.order import OrderText
from records.states import Decision, HoldReason, MatchState, OrderTextSource, Priority, RequestState
from records.workflow import holds
from tests.support.ordered_studies import complete, draft, prepare, receive
from tests.support.registered_studies import OTHER_PATIENT, claim, new_instance

PAIN = OrderText(OrderTextSource.REASON, "Chest pain.")


def decide(study_id, decision):
    with unit_of_work() as session:
        return hold_decisions.decide(session, study_id, decision, "Dr. Roe")


def states():
    with unit_of_work() as session:
        return session.execute(select(StudyOrder.state, StudyOrder.decided_by)).all()


def open_reasons():
    with unit_of_work() as session:
        return [hold.reason for hold in holds.list_open(session)]


def request_state(study_id):
    with unit_of_work() as session:
        return session.get(DraftRequest, session.get(Study, study_id).request_id).state


@pytest.mark.parametrize(
    ("decision", "state", "text", "priority"),
    [
        (Decision.PROCEED, MatchState.REFUSED, "", Priority.ROUTINE),
        (Decision.TAKE_NEW, MatchState.ACCEPTED, "Fever and cough.", Priority.STAT),
    ],
)
def test_a_decision_holds_for_later_messages_too(database, decision, state, text, priority):
    (study_id,) = complete(new_instance())
    receive(patient=OTHER_PATIENT, priority=Priority.STAT)
    assert claim() == []
    assert decide(study_id, decision) == 1
    assert states() == [(state, "Dr. Roe")]
    with unit_of_work() as session:
        assert session.get(Study, study_id).priority == priority
    assert prepare() == [text]
    receive(patient=OTHER_PATIENT, priority=Priority.STAT, texts=(PAIN,))
    assert (states(), open_reasons()) == ([(state, "Dr. Roe")], [])
    # What was decided is that an accepted order counts, so its new text does.
    assert prepare() == (["Chest pain."] if text else [])


def test_an_order_that_is_accepted_after_the_draft_makes_a_new_one(database):
    (study_id,) = complete(new_instance())
    draft()
    receive(patient=OTHER_PATIENT)
    decide(study_id, Decision.TAKE_NEW)
    with unit_of_work() as session:
        assert session.get(Study, study_id).revision == 2


def test_a_study_that_is_cancelled_refuses_the_order(database):
    (study_id,) = complete(new_instance())
    receive(patient=OTHER_PATIENT)
    decide(study_id, Decision.CANCEL)
    assert states() == [(MatchState.REFUSED, "Dr. Roe")]
    assert request_state(study_id) == RequestState.CANCELLED


def test_a_refused_order_counts_once_it_is_corrected_to_the_studys_patient(database):
    (study_id,) = complete(new_instance())
    receive(patient=OTHER_PATIENT)
    decide(study_id, Decision.PROCEED)
    assert receive().study_ids == (study_id,)
    with unit_of_work() as session:
        assert len(effects.counting_orders(session, study_id)) == 1
        (hold,) = session.scalars(select(Hold))
        assert (hold.reason, hold.decision) == (HoldReason.ORDER_MISMATCH, Decision.PROCEED)
