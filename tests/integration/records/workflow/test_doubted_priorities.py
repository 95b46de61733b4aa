"""A priority that was doubted counts once its sender is believed, for the open request, too."""

from dataclasses import replace

import pytest
from sqlalchemy import func, select, update

from records.database.draft_tables import DraftRequest
from records.database.session import interval, unit_of_work
from records.database.tables import Event, Study
from records.states import EventKind, Priority
from tests.support.ordered_studies import receive
from tests.support.registered_studies import OTHER_PATIENT, complete, new_instance, register


@pytest.fixture(autouse=True)
def _site(database, data_dir):
    pass


def priorities():
    """The priorities of the study, of its request, and what its films gave."""
    with unit_of_work() as session:
        return session.execute(
            select(Study.priority, DraftRequest.priority, Study.received_priority).join(
                DraftRequest, DraftRequest.id == Study.request_id
            )
        ).one()


def lines():
    with unit_of_work() as session:
        return session.scalars(
            select(Event.detail).where(Event.kind == EventKind.PRIORITY).order_by(Event.id)
        ).all()


def test_the_open_request_becomes_as_urgent_and_waits_for_no_order():
    film = new_instance(doubted_priority=Priority.STAT)
    complete(film)
    believed = replace(film, priority=Priority.STAT, doubted_priority=None)
    with unit_of_work() as session:
        later = func.now() + interval(3600)
        session.execute(update(DraftRequest).values(waits_for_order=True, not_before=later))
    register(replace(believed, priority=Priority.URGENT))
    assert priorities() == (Priority.URGENT, Priority.URGENT, None)
    register(believed, believed, replace(film, priority=Priority.BACKLOG))
    assert priorities() == (Priority.STAT, Priority.STAT, None)
    assert [line.partition(":")[0] for line in lines()[1:]] == [
        "URGENT, wanted by TEST, counts now",
        "STAT, wanted by TEST, counts now",
    ]
    with unit_of_work() as session:
        request = session.scalars(select(DraftRequest)).one()
        assert (request.waits_for_order, request.not_before) == (False, None)


def test_a_late_film_of_a_sender_that_is_believed_now_says_so():
    register(new_instance(doubted_priority=Priority.STAT), new_instance(priority=Priority.STAT))
    assert len(lines()) == 2


def test_what_an_order_gave_is_kept_and_what_it_takes_back_is_not():
    film = new_instance(doubted_priority=Priority.URGENT)
    complete(film)
    receive(priority=Priority.STAT)
    register(replace(film, priority=Priority.URGENT, doubted_priority=None))
    assert priorities() == (Priority.STAT, Priority.STAT, Priority.URGENT)
    receive(priority=Priority.ROUTINE)
    assert priorities() == (Priority.URGENT, Priority.URGENT, Priority.URGENT)


def test_a_film_that_nobody_doubted_or_that_is_kept_aside_changes_nothing():
    film = new_instance()
    aside = new_instance(patient=OTHER_PATIENT, content="another image")
    complete(film)
    register(aside, replace(film, priority=Priority.STAT))
    assert (priorities()[0], lines()) == (Priority.ROUTINE, [])
    register(new_instance(doubted_priority=Priority.STAT))
    register(replace(aside, priority=Priority.STAT))
    with unit_of_work() as session:
        assert session.scalar(select(Study.priority)) == Priority.ROUTINE
