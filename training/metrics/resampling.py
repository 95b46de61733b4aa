"""How sure a score is: bootstrap intervals, and a paired test of two systems. Knows no metrics.

A statistic is a function from the places of cases to scores by name, so that a corpus score is
computed anew for every resample and never averaged over cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
Statistic = Callable[[Places], Mapping[str, float]]
"""Scores of the cases at these places; a place may come several times."""

RESAMPLES = 1000
LEVEL = 0.95
_EQUAL = 1e-12
"""Sums in another order differ by less than this, and are the same score."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A score, and between what it would lie for other cases of the same kind; None: not known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Paired:
    """Two systems on the same cases. difference: the first less the second, with its interval.

    p: how often a difference as large comes out when it is left to chance which system wrote
    which draft; not a number where a score is none.
    """

    first: float
    second: float
    difference: Interval
    p: float


def bootstrap(
    of: Statistic, cases: int, *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, Interval]:
    """Every score of all the cases, with its percentile interval over resampled cases.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Of fewer than two
    cases, or where a resample gives no number, there is no interval.
    """
    whole = of(np.arange(cases))
    if cases < 2 or resamples < 1:
        return {name: Interval(value) for name, value in whole.items()}
    rng = np.random.default_rng(seed)
    drawn = [of(rng.integers(0, cases, cases)) for _ in range(resamples)]
    return {
        name: Interval(value, *_percentiles([one[name] for one in drawn], level))
        for name, value in whole.items()
    }


def paired(
    of: Statistic, cases: int, *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, Paired]:
    """Every score of two systems on the same cases, by approximate randomisation.

    of: knows both systems' drafts: places 0 to cases - 1 are the first's, `cases` more the
    second's. Each round leaves it to a coin which system wrote which draft of a case; the
    two-sided p is (r + 1) / (n + 1) for r rounds in n that differ as much as the real ones
    (Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989; for corpus scores Riezler
    and Maxwell, ACL workshop MTSE 2005, who find it the more careful beside the bootstrap). The
    interval of the difference is a paired bootstrap's.

    Raises:
        ValueError: there is no case.
    """
    if cases < 1:
        raise ValueError("a paired test needs a case")
    rng = np.random.default_rng(seed)
    here = np.arange(cases)
    first, second = of(here), of(here + cases)
    real = {name: first[name] - second[name] for name in first}
    as_large = dict.fromkeys(real, 0)
    differences: dict[str, list[float]] = {name: [] for name in real}
    for _ in range(resamples):
        swapped = rng.integers(0, 2, cases) * cases
        one, other = of(here + swapped), of(here + cases - swapped)
        drawn = rng.integers(0, cases, cases)
        left, right = of(drawn), of(drawn + cases)
        for name, difference in real.items():
            as_large[name] += abs(one[name] - other[name]) >= abs(difference) - _EQUAL
            differences[name].append(left[name] - right[name])
    return {
        name: Paired(
            first[name],
            second[name],
            Interval(difference, *_percentiles(differences[name], level)),
            math.nan if math.isnan(difference) else (as_large[name] + 1) / (resamples + 1),
        )
        for name, difference in real.items()
    }


def joined(*statistics: Statistic) -> Statistic:
    """One statistic with the scores of all."""

    def of(places: Places) -> dict[str, float]:
        return {name: value for one in statistics for name, value in one(places).items()}

    return of


def among(of: Statistic, places: Sequence[int]) -> Statistic:
    """The same statistic of a group: its place n is the case at places[n]."""
    chosen = np.asarray(places, dtype=np.int64)
    return lambda drawn: of(chosen[drawn])


def _percentiles(values: Sequence[float], level: float) -> tuple[float | None, float | None]:
    if not values or any(math.isnan(value) for value in values):
        return None, None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
