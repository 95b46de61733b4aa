"""Scores the findings that drafts of phantoms name against the findings that were drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.corpus.example import Example
from training.corpus.phantoms import FINDINGS
from training.corpus.phantoms_words import extract_findings

F1, PRECISION, RECALL = "finding_f1_micro", "finding_precision", "finding_recall"


@dataclass(frozen=True)
class FindingAgreement:
    """How far the findings named in drafts are those of the images, all counted together.

    Attributes:
        precision, recall, f1: Micro-averaged.
        exact: The share of studies with every finding right.
        by_finding: Finding -> F1.
        support: Finding -> number of studies that have it; where it is 0, the F1 says nothing.
    """

    precision: float
    recall: float
    f1: float
    exact: float
    by_finding: dict[str, float]
    support: dict[str, int]


@dataclass(frozen=True)
class FindingCounts:
    """The findings of each draft, counted; each array is (cases,)."""

    true_positives: NDArray[np.int64]
    predicted: NDArray[np.int64]
    actual: NDArray[np.int64]

    def scores_at(self, indices: NDArray[np.int64]) -> dict[str, float]:
        """Return micro-averaged scores of some cases; an index may occur several times.

        A score is NaN where there is nothing to count, as the recall of normal studies.
        """
        true_positives, predicted, actual = (
            int(counts[indices].sum())
            for counts in (self.true_positives, self.predicted, self.actual)
        )
        return {
            F1: _ratio(2 * true_positives, predicted + actual),
            PRECISION: _ratio(true_positives, predicted),
            RECALL: _ratio(true_positives, actual),
        }

    @property
    def by_case(self) -> tuple[float, ...]:
        """F1 of each case alone; 1 where nothing was drawn and nothing is named."""
        counts = zip(
            self.true_positives.tolist(),
            self.predicted.tolist(),
            self.actual.tolist(),
            strict=True,
        )
        return tuple(_f1(t, p, a) if p + a else 1.0 for t, p, a in counts)


def count_findings(truth: Sequence[frozenset[str]], drafts: Sequence[str]) -> FindingCounts:
    """Count the findings of each draft against what was drawn."""
    named = [extract_findings(text) for text in drafts]
    return FindingCounts(
        true_positives=np.array(
            [len(t & n) for t, n in zip(truth, named, strict=True)], dtype=np.int64
        ),
        predicted=np.array([len(n) for n in named], dtype=np.int64),
        actual=np.array([len(t) for t in truth], dtype=np.int64),
    )


def score_findings(truth: Sequence[frozenset[str]], drafts: Sequence[str]) -> FindingAgreement:
    """Score the findings that drafts name against those that were drawn, micro-averaged."""
    true_positives: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    actual: Counter[str] = Counter()
    exact = 0
    for drawn, text in zip(truth, drafts, strict=True):
        named = extract_findings(text)
        true_positives.update(drawn & named)
        predicted.update(named)
        actual.update(drawn)
        exact += named == drawn
    return FindingAgreement(
        precision=true_positives.total() / max(predicted.total(), 1),
        recall=true_positives.total() / max(actual.total(), 1),
        f1=_f1(true_positives.total(), predicted.total(), actual.total()),
        exact=exact / max(len(truth), 1),
        by_finding={
            name: _f1(true_positives[name], predicted[name], actual[name]) for name in FINDINGS
        },
        support={name: actual[name] for name in FINDINGS},
    )


def swap_images(examples: Sequence[Example]) -> list[Example]:
    """Give each study the images of the next one with as many views; its texts stay.

    What a bundle still scores then is what it knows without looking.
    """
    sources = swapped_indices([len(example.images) for example in examples])
    return [
        replace(example, images=examples[source].images)
        for example, source in zip(examples, sources, strict=True)
    ]


def swapped_indices(views: Sequence[int]) -> list[int]:
    """Return for each study the index of the next one with as many views; the last takes the first.

    A study that is alone with its number of views keeps its own index.
    """
    swapped = list(range(len(views)))
    for count in set(views):
        group = [n for n, own in enumerate(views) if own == count]
        for index, following in zip(group, group[1:] + group[:1], strict=True):
            swapped[index] = following
    return swapped


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan


def _f1(true_positives: int, predicted: int, actual: int) -> float:
    return 2.0 * true_positives / max(predicted + actual, 1)
