"""What a person sees: states, counts, pages and the search."""

import datetime as dt

import pytest
from sqlalchemy import text

from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import NotAllowed
from records.operations import alarms, heartbeats, refusals
from records.states import Priority, Stage, VisibleState
from records.workflow import worklist
from records.workflow.patients import Patient
from tests.support.registered_studies import (
    claim,
    complete,
    draft_all,
    new_instance,
    prepare,
    register,
)

pytestmark = pytest.mark.usefixtures("database")


def counts():
    with unit_of_work() as session:
        return {state: n for state, n in worklist.count_by_state(session).items() if n}


def test_a_study_is_seen_in_every_state_of_its_way():
    register(new_instance())
    assert counts() == {VisibleState.RECEIVING: 1}
    complete()
    assert counts() == {VisibleState.WAITING: 1}
    (lease,) = claim()
    assert counts() == {VisibleState.PREPARING: 1}
    prepare(lease)
    assert counts() == {VisibleState.PREPARED: 1}
    claim(Stage.DRAFT, seconds=0.0)
    assert counts() == {VisibleState.DRAFTING: 1}


def test_counts_name_every_state():
    with unit_of_work() as session:
        assert set(worklist.count_by_state(session)) == set(VisibleState)


def test_pages_show_each_study_once_newest_first():
    for n in range(7):
        register(new_instance(f"1.{n}"))
    uids, after = [], None
    while True:
        with unit_of_work() as session:
            page = worklist.read_page(session, after=after, limit=3)
        uids += [row.study_instance_uid for row in page.rows]
        after = page.next
        if after is None:
            break
    assert uids == [f"1.{n}" for n in reversed(range(7))]


def age(uid, hours):
    """Let a study have arrived so many hours earlier."""
    with unit_of_work() as session:
        for statement in (
            "UPDATE studies SET first_received_at = now() - make_interval(hours => :hours)"
            " WHERE study_instance_uid = :uid",
            "UPDATE worklist_entries SET arrived_at = studies.first_received_at FROM studies"
            " WHERE studies.id = study_id AND study_instance_uid = :uid",
        ):
            session.execute(text(statement), {"uid": uid, "hours": hours})


def all_pages(**query):
    """The study UIDs of all pages, two on each."""
    uids, after = [], None
    while True:
        with unit_of_work() as session:
            page = worklist.read_page(session, after=after, limit=2, **query)
        assert len(page.rows) <= 2
        uids += [row.study_instance_uid for row in page.rows]
        after = page.next
        if after is None:
            return uids


def test_stat_stands_on_top_for_a_day_then_priority_then_arrival():
    priorities = {
        "1.1": Priority.STAT,
        "1.2": Priority.BACKLOG,
        "1.3": Priority.ROUTINE,
        "1.4": Priority.URGENT,
        "1.5": Priority.STAT,
        "1.6": Priority.ROUTINE,
        "1.7": Priority.STAT,
        "1.8": Priority.ROUTINE,
    }
    for uid, priority in priorities.items():
        register(new_instance(uid, priority=priority))
    for uid, hours in {"1.1": 40, "1.3": 30, "1.2": 2, "1.7": 3}.items():
        age(uid, hours)
    expected = ["1.5", "1.7", "1.4", "1.8", "1.6", "1.2", "1.3", "1.1"]
    assert all_pages() == expected
    assert all_pages(state=VisibleState.RECEIVING) == expected
    assert all_pages(search="phantom") == expected
    since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=35)
    assert all_pages(since=since) == expected[:-1]
    complete()
    claim(limit=len(priorities))
    assert all_pages(state=VisibleState.PREPARING) == expected


def test_a_priority_that_rises_moves_its_study_up():
    for n in range(3):
        register(new_instance(f"1.{n}"))
    register(new_instance("1.0", sop_instance_uid="9.9", priority=Priority.STAT))
    assert all_pages() == ["1.0", "1.2", "1.1"]
    assert all_pages(state=VisibleState.RECEIVING) == ["1.0", "1.2", "1.1"]


def test_the_hours_are_a_setting(setting):
    register(new_instance("1.1", priority=Priority.STAT))
    register(new_instance("1.2"))
    assert all_pages() == ["1.1", "1.2"]
    setting(list_priority_hours=0)
    assert all_pages() == ["1.2", "1.1"]


def test_pages_by_state():
    complete(new_instance("1.1"))
    draft_all()
    register(new_instance("1.2"))
    with unit_of_work() as session:
        drafted = worklist.read_page(session, state=VisibleState.DRAFTED)
        assert [row.study_instance_uid for row in drafted.rows] == ["1.1"]
        assert drafted.rows[0].impression == "normal."
        assert worklist.read_page(session, state=VisibleState.FAILED).rows == []


@pytest.mark.parametrize(("search", "count"), [("phantom^o", 1), ("p-1", 1), ("%", 0), ("zz", 0)])
def test_the_search_takes_words_as_they_are(search, count):
    register(new_instance(patient=Patient("P-1", "", "PHANTOM^ONE")))
    with unit_of_work() as session:
        assert len(worklist.read_page(session, search=search).rows) == count


@pytest.mark.parametrize("mark", ["x", "bm8=", ""])
def test_a_mark_of_no_page_is_refused(mark):
    with unit_of_work() as session, pytest.raises(NotAllowed):
        worklist.read_page(session, after=mark)


def test_pace_and_oldest():
    with unit_of_work() as session:
        assert worklist.oldest_waiting(session) is None
    complete(new_instance())
    with unit_of_work() as session:
        assert worklist.oldest_waiting(session) is not None
    draft_all()
    with unit_of_work() as session:
        assert worklist.oldest_waiting(session) is None
        assert worklist.count_drafts(session, 60.0) == 1


def test_parts_are_seen_while_they_beat():
    with unit_of_work() as session:
        heartbeats.record_heartbeat(session, "sweep", {"count": 1})
        heartbeats.record_heartbeat(session, "sweep", {"count": 2})
    with unit_of_work() as session:
        (part,) = heartbeats.running_parts(session)
        assert (part.part, part.facts) == ("sweep", {"count": 2})
        assert heartbeats.running_parts(session, silent_seconds=0.0) == []
        heartbeats.end_heartbeat(session, "sweep")
    with unit_of_work() as session:
        assert heartbeats.running_parts(session) == []


def test_one_alarm_a_part_until_it_is_closed():
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, "draft", "three in a row")
        alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, "draft", "again")
    with unit_of_work() as session:
        assert [alarm.cause for alarm in alarms.open_alarms(session, "draft")] == ["three in a row"]
        assert alarms.close_alarms(session, "draft") == 1
        assert alarms.open_alarms(session) == []


def test_refusals_are_kept_and_counted():
    with unit_of_work() as session:
        for _ in range(2):
            refusals.record_refusal(
                session,
                calling_ae="A",
                sop_class_uid="1",
                sop_instance_uid="2",
                reason="TOO_LARGE",
                sentence="larger than 200 MB",
            )
    with unit_of_work() as session:
        assert refusals.count_by_reason(session) == {"TOO_LARGE": 2}
        assert len(refusals.list_refusals(session, 1)) == 1
