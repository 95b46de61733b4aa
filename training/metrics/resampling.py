"""Computes bootstrap intervals of scores, and a paired test of two systems.

A statistic is a function from case indices to scores by name. So a corpus score is computed anew
for every resample and never averaged over cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CaseIndices = NDArray[np.int64]
Statistic = Callable[[CaseIndices], Mapping[str, float]]
"""Returns the scores of the cases at these indices; an index may occur several times."""

RESAMPLES = 1000
LEVEL = 0.95
_EQUAL = 1e-12
"""Scores that differ by less than this are equal; it is the error of another order of sums."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A score with its interval over other cases of the same kind; None where it is not known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class PairedResult:
    """The scores of two systems on the same cases; the field names are JSON keys.

    Attributes:
        first, second: The scores.
        difference: The first less the second, with its interval.
        p: How often a difference as large occurs when chance decides which system wrote which
            draft; NaN where a score is NaN.
    """

    first: float
    second: float
    difference: Interval
    p: float


def bootstrap(
    statistic: Statistic,
    cases: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Return every score of all cases with its percentile interval over resampled cases.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. There is no interval
    for fewer than two cases, or where a resample gives NaN.
    """
    scores = statistic(np.arange(cases))
    if cases < 2 or resamples < 1:
        return {name: Interval(value) for name, value in scores.items()}
    rng = np.random.default_rng(seed)
    samples = [statistic(rng.integers(0, cases, cases)) for _ in range(resamples)]
    return {
        name: Interval(value, *_percentiles([sample[name] for sample in samples], level))
        for name, value in scores.items()
    }


def paired_test(
    statistic: Statistic,
    cases: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, PairedResult]:
    """Compare every score of two systems on the same cases, by approximate randomisation.

    Each round leaves it to a coin which system wrote which draft of a case. The two-sided p is
    (r + 1) / (n + 1) for r rounds in n that differ as much as the real drafts (Noreen,
    Computer-Intensive Methods for Testing Hypotheses, 1989; for corpus scores Riezler and Maxwell,
    ACL workshop MTSE 2005, who find it the more careful beside the bootstrap). The interval of the
    difference is a paired bootstrap's.

    Args:
        statistic: Scores drafts of both systems: indices 0 to cases - 1 are the first system's,
            and the next `cases` indices are the second's.
        cases: The number of cases.
        resamples: The number of rounds.
        seed: Of the coin and the bootstrap.
        level: Of the interval.

    Raises:
        ValueError: there is no case.
    """
    if cases < 1:
        raise ValueError("a paired test needs a case")
    rng = np.random.default_rng(seed)
    indices = np.arange(cases)
    first, second = statistic(indices), statistic(indices + cases)
    observed = {name: first[name] - second[name] for name in first}
    as_large = dict.fromkeys(observed, 0)
    differences: dict[str, list[float]] = {name: [] for name in observed}
    for _ in range(resamples):
        swapped = rng.integers(0, 2, cases) * cases
        left, right = statistic(indices + swapped), statistic(indices + cases - swapped)
        sample = rng.integers(0, cases, cases)
        first_sample, second_sample = statistic(sample), statistic(sample + cases)
        for name, difference in observed.items():
            as_large[name] += abs(left[name] - right[name]) >= abs(difference) - _EQUAL
            differences[name].append(first_sample[name] - second_sample[name])
    return {
        name: PairedResult(
            first[name],
            second[name],
            Interval(difference, *_percentiles(differences[name], level)),
            math.nan if math.isnan(difference) else (as_large[name] + 1) / (resamples + 1),
        )
        for name, difference in observed.items()
    }


def combine(*statistics: Statistic) -> Statistic:
    """Return one statistic with the scores of all."""

    def combined(indices: CaseIndices) -> dict[str, float]:
        return {
            name: value for statistic in statistics for name, value in statistic(indices).items()
        }

    return combined


def restrict(statistic: Statistic, indices: Sequence[int]) -> Statistic:
    """Return the same statistic of a group: its index n is the case `indices[n]`."""
    group = np.asarray(indices, dtype=np.int64)
    return lambda sample: statistic(group[sample])


def _percentiles(values: Sequence[float], level: float) -> tuple[float | None, float | None]:
    if not values or any(math.isnan(value) for value in values):
        return None, None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
