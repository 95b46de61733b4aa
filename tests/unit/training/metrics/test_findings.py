"""Agreement on findings, counted by hand on a few drafts, and images swapped between studies."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus.example import TEST
from training.corpus.phantom_corpus import PhantomCorpus
from training.metrics.findings import (
    F1,
    PRECISION,
    RECALL,
    count_findings,
    score_findings,
    swap_images,
    swapped_indices,
)

TRUTH = [frozenset({"effusion_left", "cardiomegaly"}), frozenset(), frozenset({"nodule_left"})]
DRAFTS = ["Left pleural effusion.", "Normal chest.", "A right pulmonary nodule is seen."]


def test_agreement_counts_each_finding() -> None:
    scores = score_findings(TRUTH, DRAFTS)
    assert scores.precision == pytest.approx(1 / 2)
    assert scores.recall == pytest.approx(1 / 3)
    assert scores.f1 == pytest.approx(2 / 5)
    assert scores.exact == pytest.approx(1 / 3)
    assert scores.by_finding["effusion_left"] == 1.0
    assert scores.by_finding["nodule_right"] == 0.0
    assert (scores.support["nodule_left"], scores.support["nodule_right"]) == (1, 0)


def test_saying_nothing_scores_nothing() -> None:
    assert score_findings([frozenset({"pacemaker"})], [""]).f1 == 0.0


def test_counts_give_the_same_scores_of_any_cases() -> None:
    counts, scores = count_findings(TRUTH, DRAFTS), score_findings(TRUTH, DRAFTS)
    all_scores = counts.scores_at(np.arange(3))
    assert all_scores == {F1: scores.f1, PRECISION: scores.precision, RECALL: scores.recall}
    assert counts.scores_at(np.array([0, 0]))[F1] == pytest.approx(2 / 3)
    assert counts.by_case == (pytest.approx(2 / 3), 1.0, 0.0)


def test_of_normal_studies_rightly_left_alone_there_is_no_f1() -> None:
    assert all(map(math.isnan, count_findings(TRUTH, DRAFTS).scores_at(np.array([1])).values()))


def test_swapping_moves_every_image_and_no_text() -> None:
    examples = list(islice(PhantomCorpus().read(TEST), 20))
    swapped = swap_images(examples)
    for before, after in zip(examples, swapped, strict=True):
        assert replace(after, images=before.images) == before
        assert len(after.images) == len(before.images)
        assert after.images is not before.images
    assert sorted(id(example.images) for example in examples) == sorted(
        id(example.images) for example in swapped
    )


@given(st.lists(st.integers(1, 3), max_size=20))
def test_images_go_to_a_study_with_as_many_views(views: list[int]) -> None:
    places = swapped_indices(views)
    assert sorted(places) == list(range(len(views)))
    assert [views[place] for place in places] == views
    for study, source in enumerate(places):
        assert study != source or views.count(views[study]) == 1
