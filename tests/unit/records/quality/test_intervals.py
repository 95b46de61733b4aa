"""Intervals and quantiles against figures that others have published, and against samples."""

import random
import statistics

import pytest

from records.quality import intervals


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_a_share_has_wilsons_interval(part, whole, low, high):
    found = intervals.share(part, whole)
    assert found.value == part / whole
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_nothing_has_no_share_and_no_median():
    assert intervals.share(0, 0).value is None
    assert intervals.median([0, 0], [0, 1, 2]) == intervals.NOTHING
    assert intervals.kappa(0, 0, 0, 0) == intervals.NOTHING


def test_kappa_is_that_of_the_textbook():
    # Two readers of 50 proposals: both yes 20, both no 15, each alone 5 and 10.
    found = intervals.kappa(20, 5, 10, 15)
    assert found.value == pytest.approx(0.4)
    # The error is the root of 0.7 times 0.3 by 50 and by the square of 0.5.
    assert (found.low, found.high) == pytest.approx((0.146, 0.654), abs=0.001)
    assert intervals.kappa(7, 0, 0, 3).value == 1
    assert intervals.kappa(0, 0, 0, 9).value is None


def test_quantiles_of_classes_are_those_of_the_sample():
    drawn = random.Random(3)
    sample = [drawn.gammavariate(2, 3) for _ in range(4000)]
    bounds = [place / 2 for place in range(101)]
    counts = [sum(low <= value < low + 0.5 for value in sample) for low in bounds[:-1]]
    lower, middle, upper = statistics.quantiles(sample, n=4)
    for at, wanted in ((0.25, lower), (0.5, middle), (0.75, upper)):
        assert intervals.quantile(counts, bounds, at) == pytest.approx(wanted, abs=0.05)


def test_the_interval_of_a_median_holds_it_about_as_often_as_it_says():
    drawn = random.Random(5)
    bounds = [place / 100 for place in range(101)]
    held = 0
    for _ in range(1000):
        counts = [0] * 100
        for _ in range(61):
            counts[int(drawn.random() * 100)] += 1
        found = intervals.median(counts, bounds)
        held += found.low <= 0.5 <= found.high
    assert 0.92 < held / 1000 < 0.98


def test_the_interval_of_a_day_is_wider_than_that_of_the_baseline_and_holds_most_days():
    baseline = (40, 200)
    low, high = intervals.day_interval(*baseline, 20)
    around = intervals.wilson(0.2, 200)
    assert low < around[0] < around[1] < high
    drawn = random.Random(11)
    outside = 0
    for _ in range(2000):
        differing = sum(drawn.random() < 0.2 for _ in range(20))
        outside += not low <= differing / 20 <= high
    assert outside / 2000 < 0.07
