"""The area under the curve, against counting all pairs."""

from __future__ import annotations

import random

import pytest

from training.metrics.ranking import roc_auc


def by_pairs(scores: list[float], positive: list[bool]) -> float:
    pairs = [
        (a > b) + 0.5 * (a == b)
        for a, is_a in zip(scores, positive, strict=True)
        if is_a
        for b, is_b in zip(scores, positive, strict=True)
        if not is_b
    ]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_share_of_pairs_in_order(seed: int) -> None:
    draw = random.Random(seed)
    scores = [draw.randrange(10) / 10 for _ in range(60)]  # many ties
    positive = [draw.random() < 0.3 for _ in scores]
    assert roc_auc(scores, positive) == pytest.approx(by_pairs(scores, positive))


def test_its_ends_and_what_has_none() -> None:
    assert roc_auc([0.1, 0.2, 0.8], [False, False, True]) == 1.0
    assert roc_auc([0.9, 0.2, 0.1], [False, False, True]) == 0.0
    assert roc_auc([0.5, 0.5], [False, True]) == 0.5
    assert roc_auc([0.5, 0.6], [True, True]) is None
    assert roc_auc([], []) is None
