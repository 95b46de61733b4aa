"""What an order changes of a study: priority, due time, waiting, and a new draft."""

import datetime as dt

import pytest
from sqlalchemy import select, update

from records.database.draft_tables import Draft, DraftRequest
from records.database.session import unit_of_work
from records.database.tables import Event, Hold, Study
from records.orders.order import OrderAction, OrderText
from records.reviews import signing
from records.states import (
    EventKind,
    FailReason,
    HoldReason,
    OrderTextSource,
    Origin,
    Priority,
    RequestState,
    Stage,
    StudyState,
)
from records.workflow import attempts, requests
from tests.support.ordered_studies import WHY, close, complete, draft, prepare, receive
from tests.support.registered_studies import OTHER_PATIENT, claim, new_instance, register, save

PAIN = OrderText(OrderTextSource.REASON, "Chest pain.")


def study():
    with unit_of_work() as session:
        return session.scalars(select(Study)).one()


def request():
    with unit_of_work() as session:
        return session.get(DraftRequest, session.scalars(select(Study.request_id)).one())


def current_draft():
    with unit_of_work() as session:
        return session.scalar(select(Draft).where(Draft.superseded_at.is_(None)))


def sign():
    with unit_of_work() as session:
        draft_id = session.scalar(select(Draft.id).where(Draft.superseded_at.is_(None)))
        signing.sign(session, draft_id, "Dr. Roe", findings="Clear.", impression="Normal.")


def test_an_order_before_the_film_gives_text_priority_and_due_time(database):
    due = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
    receive(priority=Priority.URGENT, due_at=due)
    complete(new_instance())
    assert (study().priority, request().priority, request().due_at) == (1, 1, due)
    assert draft(header="by the header") == ["Fever and cough."]
    kept = current_draft().indications
    assert [(text["source"], text["taken"], text["sender"]) for text in kept] == [
        ("order_reason", True, "RIS|HOSPITAL"),
        ("request_reason", False, ""),
    ]
    assert dt.datetime.fromisoformat(kept[0]["at"]).tzinfo is not None


def test_an_order_with_the_text_that_was_used_makes_no_new_draft(database):
    complete(new_instance())
    assert draft(header="Fever and cough.") == ["Fever and cough."]
    receive(priority=Priority.STAT)
    assert (study().state, study().revision, study().priority) == (StudyState.COMPLETE, 1, 0)
    # A change that changes the text does, and the draft stays until the next one is there.
    receive(texts=(PAIN,))
    assert (study().state, study().revision) == (StudyState.RECEIVING, 2)
    assert current_draft() is not None
    close()
    assert draft(header="Fever and cough.") == ["Chest pain."]
    # So does one that is cancelled: its text counts no more.
    receive(action=OrderAction.CANCEL, texts=())
    close()
    assert draft(header="Fever and cough.") == ["Fever and cough."]
    receive()
    close()
    assert draft() == []  # it is reinstated with the text of the header


def test_a_prepared_input_is_built_anew_and_what_waits_reads_the_order(database):
    complete(new_instance())
    assert prepare() == [""]
    receive()
    assert (request().state, study().revision) == (RequestState.WAITING, 1)
    assert prepare() == ["Fever and cough."]
    receive(procedure="XR CHEST")  # another field, the same text
    assert request().state == RequestState.PREPARED
    (lease,) = claim(Stage.DRAFT)
    receive(texts=(PAIN,))
    assert save(lease) is None  # the worker lost its lease
    assert prepare() == ["Chest pain."]


def test_a_signed_report_is_never_touched(database):
    complete(new_instance())
    draft()
    sign()
    receive(priority=Priority.STAT)
    receive(texts=(PAIN,))
    assert (study().state, study().revision) == (StudyState.COMPLETE, 1)
    assert current_draft() is not None


def test_a_site_may_want_no_second_draft(database, setting):
    setting(redraft_on_order=False)
    complete(new_instance())
    draft()
    receive()
    assert study().revision == 1
    assert current_draft() is not None


def test_a_draft_from_the_order_of_another_patient_is_withdrawn(database, setting):
    setting(redraft_on_order=False)
    receive()
    complete(new_instance())
    assert draft() == ["Fever and cough."]
    receive(patient=OTHER_PATIENT)
    assert current_draft() is None
    with unit_of_work() as session:
        assert session.scalars(select(Hold.reason)).all() == [HoldReason.ORDER_MISMATCH]
        kinds = session.scalars(select(Event.kind)).all()
    assert EventKind.WITHDRAWN in kinds


def test_a_draft_of_an_earlier_version_is_compared_by_its_own_text(database):
    complete(new_instance())
    prepare()
    (lease,) = claim(Stage.DRAFT)
    save(lease, indication="Fever and cough.", indication_source="reason", indications=None)
    receive()
    assert study().revision == 1
    receive(texts=(PAIN,))
    assert study().revision == 2


def test_a_priority_that_the_order_takes_back_goes_and_that_of_the_films_stays(database):
    receive(priority=Priority.STAT)
    complete(new_instance(priority=Priority.ROUTINE))
    assert (study().priority, request().priority) == (Priority.STAT, Priority.STAT)
    receive(priority=Priority.ROUTINE)
    assert (study().priority, request().priority) == (Priority.ROUTINE, Priority.ROUTINE)
    register(new_instance(priority=Priority.URGENT))
    close()
    receive(priority=Priority.BACKLOG)
    assert (study().priority, request().priority) == (Priority.URGENT, Priority.URGENT)


def test_several_orders_are_joined_and_a_worklist_gives_way(database):
    receive(placer_order_number="1", texts=(WHY,))
    receive(placer_order_number="2", texts=(PAIN, OrderText(OrderTextSource.NOTE, "Smoker.")))
    receive(
        placer_order_number="3", texts=(OrderText(OrderTextSource.REASON, "fever  and COUGH."),)
    )
    receive(origin=Origin.WORKLIST, texts=(OrderText(OrderTextSource.REASON, "Worklist's."),))
    complete(new_instance())
    assert draft(header="The header's.") == ["fever  and COUGH.; Chest pain."]


@pytest.mark.parametrize("until", ["order", "time"])
def test_a_study_waits_for_its_order_and_no_longer(database, setting, until):
    setting(order_wait_minutes="CR1=10, *=0")
    complete(new_instance("1.1", calling_ae="ELSEWHERE", accession_number="B1"))
    complete(new_instance("1.2", calling_ae="CR1", priority=Priority.STAT, accession_number="B2"))
    assert len(claim()) == 2
    (study_id,) = complete(new_instance(calling_ae="CR1"))
    with unit_of_work() as session:
        row = session.scalar(select(DraftRequest).where(DraftRequest.study_id == study_id))
        waited = row.not_before - session.get(Study, study_id).first_received_at
    assert (row.waits_for_order, waited) == (True, dt.timedelta(minutes=10))
    assert claim() == []
    if until == "order":
        receive()
    else:
        with unit_of_work() as session:
            session.execute(
                update(DraftRequest)
                .where(DraftRequest.study_id == study_id)
                .values(not_before=DraftRequest.created_at)
            )
        with unit_of_work() as session:
            assert requests.wake_due(session, 10) == 1
    (lease,) = claim()
    assert lease.study_id == study_id
    with unit_of_work() as session:
        assert not session.get(DraftRequest, lease.request_id).waits_for_order


def test_an_order_does_not_end_the_pause_after_a_failed_attempt(database):
    complete(new_instance())
    (lease,) = claim()
    with unit_of_work() as session:
        attempts.fail(session, lease, FailReason.UNEXPECTED, "x", max_attempts=3, retry_seconds=600)
    receive()
    assert request().not_before is not None
