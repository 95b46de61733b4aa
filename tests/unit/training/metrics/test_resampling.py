"""Intervals and paired tests, on statistics whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.metrics.resampling import (
    CaseIndices,
    Statistic,
    bootstrap,
    combine,
    paired_test,
    restrict,
)

scores = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=30)


def mean_of(values: list[float]) -> Statistic:
    array = np.array(values)
    return lambda places: {"mean": float(array[places].mean())}


@settings(max_examples=40, deadline=None)
@given(scores, st.integers(0, 5))
def test_an_interval_lies_within_the_cases(values: list[float], seed: int) -> None:
    interval = bootstrap(mean_of(values), len(values), resamples=50, seed=seed)["mean"]
    assert interval.low is not None
    assert interval.high is not None
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert interval.value == pytest.approx(float(np.mean(values)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 0.5, width=32), min_size=4, max_size=20))
def test_of_symmetric_values_the_interval_holds_the_score(half: list[float]) -> None:
    values = [0.5 + v for v in half] + [0.5 - v for v in half]
    interval = bootstrap(mean_of(values), len(values), resamples=200)["mean"]
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low - 1e-9 <= interval.value <= interval.high + 1e-9


def test_the_interval_of_a_mean_is_that_of_the_textbook() -> None:
    values = list(np.random.default_rng(3).normal(0.5, 0.1, 400))
    interval = bootstrap(mean_of(values), 400, resamples=2000)["mean"]
    assert interval.low is not None
    assert interval.high is not None
    error = float(np.std(values)) / math.sqrt(400)
    assert interval.low == pytest.approx(interval.value - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(interval.value + 1.96 * error, abs=0.15 * error)


def test_a_seed_gives_the_same_interval_and_another_one_another() -> None:
    values = [0.1, 0.4, 0.35, 0.8, 0.2, 0.9, 0.55]
    assert bootstrap(mean_of(values), 7, seed=1) == bootstrap(mean_of(values), 7, seed=1)
    assert bootstrap(mean_of(values), 7, seed=1) != bootstrap(mean_of(values), 7, seed=2)


def test_one_case_has_no_interval_and_no_number_none_either() -> None:
    interval = bootstrap(mean_of([0.3]), 1)["mean"]
    assert (interval.value, interval.low, interval.high) == (pytest.approx(0.3), None, None)
    unknown = bootstrap(lambda _: {"f1": math.nan}, 5, resamples=10)["f1"]
    assert math.isnan(unknown.value)
    assert (unknown.low, unknown.high) == (None, None)


def test_a_group_is_scored_by_its_own_cases() -> None:
    group = restrict(mean_of([0.0, 1.0, 0.0, 1.0]), [1, 3])
    assert bootstrap(group, 2, resamples=20)["mean"].value == 1.0


def test_joined_statistics_give_all_scores() -> None:
    joined = combine(mean_of([1.0, 0.0]), lambda places: {"count": float(len(places))})
    assert joined(np.array([0, 0])) == {"mean": 1.0, "count": 2.0}


@settings(max_examples=30, deadline=None)
@given(scores)
def test_the_same_drafts_twice_differ_in_nothing(values: list[float]) -> None:
    comparison = paired_test(mean_of([*values, *values]), len(values), resamples=50)["mean"]
    assert comparison.p == 1.0
    assert (comparison.difference.value, comparison.difference.low, comparison.difference.high) == (
        0,
        0,
        0,
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 2), min_size=2, max_size=20))
def test_who_is_first_changes_the_sign_alone(pairs: list[tuple[float, float]]) -> None:
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    comparison = paired_test(mean_of(left + right), len(pairs), resamples=60)["mean"]
    swapped = paired_test(mean_of(right + left), len(pairs), resamples=60)["mean"]
    assert comparison.difference.value == pytest.approx(-swapped.difference.value, abs=1e-9)
    assert comparison.p == pytest.approx(swapped.p)
    assert 1 / 61 - 1e-12 <= comparison.p <= 1.0


def test_a_system_that_is_always_better_differs_significantly() -> None:
    rng = np.random.default_rng(0)
    worse = rng.uniform(0.2, 0.6, 40)
    comparison = paired_test(mean_of([*(worse + 0.1), *worse]), 40, resamples=500)["mean"]
    assert comparison.p == pytest.approx(1 / 501)
    assert comparison.difference.value == pytest.approx(0.1)
    assert comparison.difference.low == pytest.approx(0.1)


def test_chance_alone_is_significant_as_often_as_the_level_says() -> None:
    """Under no difference, p below .2 comes in about a fifth of the trials."""
    rng = np.random.default_rng(1)
    small = sum(
        paired_test(mean_of(list(rng.uniform(size=60))), 30, resamples=99, seed=trial)["mean"].p
        <= 0.2
        for trial in range(200)
    )
    assert 20 <= small <= 62  # the binomial's far ends: 200 trials of .2


def test_a_corpus_score_is_computed_anew_and_not_averaged() -> None:
    hits, totals = np.array([1, 0, 9, 0]), np.array([1, 1, 10, 10])

    def of(places: CaseIndices) -> dict[str, float]:
        return {"share": hits[places].sum() / totals[places].sum()}

    comparison = paired_test(of, 2, resamples=20)["share"]
    assert (comparison.first, comparison.second) == (pytest.approx(1 / 2), pytest.approx(9 / 20))


def test_a_score_that_is_no_number_has_no_p() -> None:
    assert math.isnan(paired_test(lambda _: {"f1": math.nan}, 3, resamples=5)["f1"].p)


def test_nothing_cannot_be_tested() -> None:
    with pytest.raises(ValueError, match="needs a case"):
        paired_test(mean_of([]), 0)
