"""The budget of a PACS: its rate, and the back-off by its answer times."""

from __future__ import annotations

import threading
import uuid

import pytest

from intake.archive.budget import (
    JUDGED_FROM,
    LEAST_SHARE,
    NOTABLE_SECONDS,
    RECENT,
    Budget,
    CampaignRates,
    Places,
)


def answer(budget: Budget, seconds: float, times: int = RECENT) -> None:
    for _ in range(times):
        budget.note_answer(seconds)


def test_studies_come_at_the_rate_and_what_was_not_used_is_not_made_up_for():
    budget = Budget(per_minute=30)
    assert budget.seconds_left(now=100.0) == 0
    budget.take(now=100.0)
    assert budget.seconds_left(now=100.5) == pytest.approx(1.5)
    assert budget.seconds_left(now=102.0) == 0
    # An hour later there is room for one study, and not for 1,800.
    budget.take(now=3700.0)
    assert budget.seconds_left(now=3700.0) == pytest.approx(2.0)


def test_slow_answers_halve_the_pace_and_quick_ones_bring_it_back():
    budget = Budget(per_minute=60)
    answer(budget, 1.0)
    assert budget.pace == 60
    answer(budget, 4.0, JUDGED_FROM + RECENT)
    assert budget.pace < 60
    budget.take(now=0.0)
    assert budget.seconds_left(now=0.0) == pytest.approx(60 / budget.pace)
    answer(budget, 1.0, 10 * RECENT)
    assert budget.pace == 60


def test_the_pace_has_a_lowest_value():
    budget = Budget(per_minute=60)
    answer(budget, 1.0)
    for seconds in (10.0, 40.0, 160.0, 640.0, 2560.0):
        answer(budget, seconds)
    assert budget.share == LEAST_SHARE


def test_differences_of_a_few_milliseconds_are_no_trouble():
    budget = Budget(per_minute=60)
    answer(budget, 0.01)
    answer(budget, NOTABLE_SECONDS, 10 * RECENT)
    assert budget.share == 1.0


def test_one_slow_answer_among_many_changes_nothing():
    budget = Budget(per_minute=60)
    for _ in range(10):
        answer(budget, 1.0, RECENT - 1)
        budget.note_answer(60.0)
    assert budget.share == 1.0


def test_a_pacs_that_stays_slower_gets_its_pace_back_in_the_end():
    budget = Budget(per_minute=60)
    answer(budget, 1.0)
    answer(budget, 4.0, 2 * RECENT)
    assert budget.share < 1.0
    answer(budget, 4.0, 200)
    assert budget.share == 1.0


def test_few_answers_are_not_judged():
    budget = Budget(per_minute=60)
    answer(budget, 1.0, JUDGED_FROM - 2)
    answer(budget, 50.0, 1)
    assert budget.share == 1.0


def test_a_campaign_with_a_rate_rests_until_its_next_study_is_due():
    rates, slow, other = CampaignRates(), uuid.uuid4(), uuid.uuid4()
    assert rates.resting(100.0) == {}
    rates.take(slow, 2.0, 100.0)
    rates.take(other, None, 100.0)
    assert rates.resting(110.0) == {slow: 20.0}
    rates.take(slow, 2.0, 110.0)  # taken early: the next one is later
    assert rates.resting(110.0) == {slow: 50.0}
    assert rates.resting(160.0) == {}
    rates.take(slow, 2.0, 1000.0)  # what was not used is not made up for
    assert rates.resting(1000.0) == {slow: 30.0}


def test_a_place_is_wanted_only_while_somebody_waits_for_one():
    places = Places(1)
    assert not places.is_wanted(0.0)
    places.take()
    assert not places.is_wanted(0.0)
    taken = threading.Event()

    def take():
        with places:
            taken.set()

    other = threading.Thread(target=take)
    other.start()
    assert places.is_wanted(30.0)
    assert not taken.is_set()
    places.give_back()
    other.join(30)
    assert taken.is_set()
    assert not places.is_wanted(0.0)
