"""Scores: counted by hand on a few drafts."""

from __future__ import annotations

import pytest

from training.corpus.phantoms import phantom
from training.evaluate_phantoms import agree, swap_films


def test_agreement_counts_each_finding() -> None:
    truth = [frozenset({"effusion_left", "cardiomegaly"}), frozenset(), frozenset({"nodule_left"})]
    drafts = ["Left pleural effusion.", "Normal chest.", "A right pulmonary nodule is seen."]
    scores = agree(truth, drafts)
    assert scores.precision == pytest.approx(1 / 2)
    assert scores.recall == pytest.approx(1 / 3)
    assert scores.f1 == pytest.approx(2 / 5)
    assert scores.exact == pytest.approx(1 / 3)
    assert scores.by_finding["effusion_left"] == 1.0
    assert scores.by_finding["nodule_right"] == 0.0


def test_saying_nothing_scores_nothing() -> None:
    assert agree([frozenset({"pacemaker"})], [""]).f1 == 0.0


def test_swapping_moves_every_film_and_no_word() -> None:
    cases = [phantom(seed).case(16) for seed in range(20)]
    swapped = swap_films(cases)
    for before, after in zip(cases, swapped, strict=True):
        assert (after.key, after.priors) == (before.key, before.priors)
        assert len(after.views) == len(before.views)
        assert after.views is not before.views
    assert sorted(id(c.views) for c in cases) == sorted(id(c.views) for c in swapped)
