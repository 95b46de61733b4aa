"""Intervals and quantiles of small numbers: shares, agreement, and medians of kept histograms.

All intervals are of 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964
"""The quantile of the normal distribution for intervals of 95 %."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: the figure; None where nothing was counted.
        low, high: the bounds of its interval; None where `value` is.
        number: of how many it is.
        part: how many of them count in a share; None of a figure that is no share.
    """

    value: float | None
    low: float | None
    high: float | None
    number: int
    part: int | None = None


NOTHING = Estimate(None, None, None, 0)


def share(part: int, whole: int) -> Estimate:
    """A share with Wilson's score interval (E. B. Wilson, JASA 1927).

    Args:
        part: how many of them.
        whole: of how many.
    """
    if whole <= 0:
        return Estimate(None, None, None, 0, 0)
    low, high = wilson(part / whole, whole)
    return Estimate(part / whole, low, high, whole, part)


def wilson(rate: float, number: float) -> tuple[float, float]:
    """The bounds of Wilson's interval of a rate.

    Args:
        rate: from 0 to 1.
        number: of how many; need not be whole.
    """
    square = Z * Z
    middle = (rate + square / (2 * number)) / (1 + square / number)
    half = (
        Z
        * math.sqrt(rate * (1 - rate) / number + square / (4 * number * number))
        / (1 + square / number)
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def day_interval(part: int, whole: int, number: int) -> tuple[float, float]:
    """Between which bounds the share of a day lies when nothing has changed since a baseline.

    It is Wilson's interval around the baseline's share, as wide as chance makes the shares of both:
    the number is that whose variance is the sum of the two variances.

    Args:
        part: how many differ in the baseline.
        whole: how many the baseline has; above 0.
        number: how many the day has; above 0.
    """
    return wilson(part / whole, 1 / (1 / whole + 1 / number))


def kappa(both: int, first: int, second: int, neither: int) -> Estimate:
    """Cohen's kappa of two who answer yes or no, with the interval of its large-sample error.

    Args:
        both: how often both say yes.
        first: how often only the first does.
        second: how often only the second does.
        neither: how often none does.

    Returns:
        No value where both always say the same one answer, for chance alone would agree as much.
    """
    number = both + first + second + neither
    if not number:
        return NOTHING
    agreed = (both + neither) / number
    yes = (both + first) * (both + second) / number**2
    no = (second + neither) * (first + neither) / number**2
    expected = yes + no
    if expected >= 1:
        return Estimate(None, None, None, number)
    value = (agreed - expected) / (1 - expected)
    error = math.sqrt(agreed * (1 - agreed) / (number * (1 - expected) ** 2))
    return Estimate(value, max(-1.0, value - Z * error), min(1.0, value + Z * error), number)


def quantile(counts: Sequence[int], bounds: Sequence[float], share_below: float) -> float | None:
    """A quantile of what was counted in classes, as if each class were filled evenly.

    Args:
        counts: how many are in each class.
        bounds: the lower bound of each class, and the upper bound of the last one.
        share_below: which quantile, from 0 to 1.

    Returns:
        None where nothing was counted.
    """
    number = sum(counts)
    if number <= 0:
        return None
    wanted, below = min(1.0, max(0.0, share_below)) * number, 0
    for place, count in enumerate(counts):
        if count and below + count >= wanted:
            low, high = bounds[place], bounds[place + 1]
            return low + (high - low) * max(0.0, wanted - below) / count
        below += max(0, count)
    return bounds[-1]


def median(counts: Sequence[int], bounds: Sequence[float]) -> Estimate:
    """The median of what was counted in classes, with the interval of its rank.

    The rank of the median is binomial, so its bounds are quantiles, whatever the distribution is.
    """
    number = sum(counts)
    if number <= 0:
        return NOTHING
    off = Z / (2 * math.sqrt(number))
    low, middle, high = (quantile(counts, bounds, at) for at in (0.5 - off, 0.5, 0.5 + off))
    return Estimate(middle, low, high, number)
