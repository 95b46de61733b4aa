"""Numbers that triggers keep: holds, failures and the time to the first draft, by their rows."""

import math

import pytest
from sqlalchemy import text

import migrations
from records import hold_decisions
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.states import Decision, FailReason, HoldReason, Stage, TallyKind
from records.workflow import attempts, holds, requests, site_scope, tallies, withdrawals, worklist
from records.workflow.tallies import DRAFT_SECONDS_BOUNDS
from tests.support.accounts import run_sql
from tests.support.registered_studies import claim, complete, draft_all, new_instance
from tests.support.two_sites import make_site

pytestmark = pytest.mark.usefixtures("database")


def numbers(kind):
    with unit_of_work() as session:
        kept = tallies.read_numbers(session, kind)
    return {name: number for name, number in kept.items() if number}


def open_hold(study, reason=HoldReason.AGE_UNKNOWN):
    with unit_of_work() as session:
        holds.open_hold(session, study, reason, "no birth date")


def test_holds_are_counted_when_they_open_and_are_open_until_they_are_decided():
    first, second = complete(new_instance("1.1"), new_instance("1.2"))
    open_hold(first)
    open_hold(second)
    open_hold(second, HoldReason.CHEST_UNKNOWN)
    assert numbers(TallyKind.OPEN_HOLDS) == {"AGE_UNKNOWN": 2, "CHEST_UNKNOWN": 1}
    with unit_of_work() as session:
        hold_decisions.decide(session, second, Decision.PROCEED, "a reader")
    assert numbers(TallyKind.OPEN_HOLDS) == {"AGE_UNKNOWN": 1}
    assert numbers(TallyKind.HOLDS) == {"AGE_UNKNOWN": 2, "CHEST_UNKNOWN": 1}
    with unit_of_work() as session:
        tallies.fold(session, 0)
        session.execute(text("DELETE FROM holds"))
    assert numbers(TallyKind.OPEN_HOLDS) == {}
    assert numbers(TallyKind.HOLDS) == {"AGE_UNKNOWN": 2, "CHEST_UNKNOWN": 1}


def fail(lease, max_attempts):
    with unit_of_work() as session:
        attempts.fail(
            session,
            lease,
            FailReason.UNREADABLE,
            "The film's pixels cannot be read.",
            max_attempts=max_attempts,
            retry_seconds=0,
        )


def test_a_failure_is_counted_when_the_attempts_are_used_up():
    complete(new_instance())
    for count in (0, 1):
        (lease,) = claim()
        fail(lease, max_attempts=2)
        assert numbers(TallyKind.FAILURES) == ({"UNREADABLE": 1} if count else {})
    with unit_of_work() as session:
        requests.retry(session)
    assert numbers(TallyKind.FAILURES) == {"UNREADABLE": 1}  # a counter never falls


def age(study, seconds):
    with unit_of_work() as session:
        session.execute(
            text(
                "UPDATE studies SET first_received_at = clock_timestamp()"
                " - make_interval(secs => :seconds) WHERE id = :study"
            ),
            {"seconds": seconds, "study": study},
        )


def test_the_time_to_the_first_draft_is_counted_in_the_bucket_of_its_bound():
    # Ten seconds less than a bound, and ten more than the last one; the test itself takes time.
    waits = [bound - 10 for bound in DRAFT_SECONDS_BOUNDS] + [DRAFT_SECONDS_BOUNDS[-1] + 10]
    ids = complete(*(new_instance(f"1.{number}") for number in range(len(waits))))
    for study, seconds in zip(ids, waits, strict=True):
        age(study, seconds)
    assert len(draft_all()) == len(waits)
    with unit_of_work() as session:
        times = tallies.read_time_to_draft(session)
    bounds = [*map(float, DRAFT_SECONDS_BOUNDS), math.inf]
    assert times.counts == {bound: number + 1 for number, bound in enumerate(bounds)}
    assert sum(waits) <= times.seconds < sum(waits) + 10 * len(waits)


def test_a_second_draft_of_a_study_is_not_counted_again():
    (study,) = complete(new_instance())
    draft_all()
    with unit_of_work() as session:
        withdrawals.withdraw(session, study, "a reader", "wrong side")
        requests.retry(session, study_id=study)
    for changed in ({"settings_digest": "other"},):
        complete(new_instance())  # a late film: the request is prepared and drafted anew
        assert len(draft_all()) == 1, changed
    with unit_of_work() as session:
        assert tallies.count_saved_drafts(session) == 2
        assert tallies.read_time_to_draft(session).counts[math.inf] == 1


def test_holds_that_are_open_before_the_upgrade_are_counted():
    first, second = complete(new_instance("1.1"), new_instance("1.2"))
    migrations.downgrade(engine(), "0018")
    open_hold(first)
    open_hold(second)
    with engine().begin() as connection:
        # As the version before decides it, which knows other columns of a study.
        connection.execute(
            text("UPDATE holds SET decision = 'PROCEED', decided_at = now() WHERE study_id = :id"),
            {"id": second},
        )
    migrations.upgrade(engine())
    assert numbers(TallyKind.OPEN_HOLDS) == {"AGE_UNKNOWN": 1}
    draft_all()
    assert numbers(TallyKind.DRAFTS) == {"": 1}


def studies_at(*site_ids):
    with unit_of_work() as session, site_scope.limited_to(site_ids):
        return {str(state): n for state, n in worklist.count_by_state(session).items() if n}


def test_studies_are_counted_by_site_and_follow_one_that_moves():
    north, south = make_site("north", ["NORTH_CR"]), make_site("south")
    complete(new_instance("1.1", calling_ae="NORTH_CR"), new_instance("1.2"), new_instance("1.3"))
    draft_all()
    assert studies_at(north) == {"DRAFTED": 1}
    assert studies_at(DEFAULT_SITE_ID) == {"DRAFTED": 2}
    assert studies_at(north, DEFAULT_SITE_ID) == {"DRAFTED": 3}
    assert studies_at(south) == studies_at() == {}
    run_sql(
        "UPDATE studies SET site_id = :south WHERE study_instance_uid IN ('1.1', '1.2')",
        south=south,
    )
    counted = {DEFAULT_SITE_ID: {"DRAFTED": 1}, south: {"DRAFTED": 2}, north: {}}
    assert {site: studies_at(site) for site in counted} == counted
    with unit_of_work() as session:
        tallies.fold(session, 0)
    assert {site: studies_at(site) for site in counted} == counted
    assert numbers(TallyKind.STUDIES) == {"DRAFTED": 3}
    run_sql("DELETE FROM worklist_entries WHERE site_id = :south", south=south)
    assert studies_at(south) == {}


def test_what_somebody_works_on_is_counted_at_its_site_and_the_oldest_waits_there():
    north = make_site("north", ["NORTH_CR"])
    complete(new_instance("1.1"))
    complete(new_instance("1.2", calling_ae="NORTH_CR"))
    claim(Stage.PREPARE)
    assert studies_at(north) == studies_at(DEFAULT_SITE_ID) == {"PREPARING": 1}
    with unit_of_work() as session, site_scope.limited_to([north]):
        newer = worklist.oldest_waiting(session)
    with unit_of_work() as session:
        assert worklist.oldest_waiting(session) < newer
    with unit_of_work() as session, site_scope.limited_to([]):
        assert worklist.oldest_waiting(session) is None
