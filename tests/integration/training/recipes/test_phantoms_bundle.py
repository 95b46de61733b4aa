"""The shipped bundle looks at the image: 500 held-out phantoms, with own and swapped images."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch

from model.bundling.store import load_bundle
from model.inference.device_tuning import tune_for_device
from model.manifest import read_manifest, resolve
from model.network.clinicalblip import ClinicalBLIP
from tests.support.network_drafts import draft_cases
from training.corpus.example import TEST
from training.corpus.phantom_corpus import PhantomCorpus
from training.evaluation.scores import scores_for
from training.metrics.findings import score_findings, swap_images


def finding_f1(model: ClinicalBLIP, studies: int) -> tuple[float, float]:
    """F1 of the findings in drafts of the studies' own images, and of each other's images."""
    examples = list(islice(PhantomCorpus().read(TEST), studies))
    truth = [example.truth or frozenset() for example in examples]
    own, swapped = (
        score_findings(
            truth, draft_cases(model, [example.case(model.preprocessing) for example in variant])
        ).f1
        for variant in (examples, swap_images(examples))
    )
    return own, swapped


def test_findings_are_named_and_fall_when_images_are_swapped() -> None:
    manifest_scores = read_manifest("demo").scores
    scores = scores_for(PhantomCorpus(), 500, 0, "cpu")(Path(resolve("demo")))
    for mode in ("context", "none"):  # the findings come from the image, not from the prompt
        own, swapped = (
            f"{name}, priors {mode}"
            for name in ("finding_f1_micro", "finding_f1_micro_films_swapped")
        )
        assert scores[own] >= 0.90
        assert scores[swapped] <= 0.2
        # The manifest says what is measured.
        assert scores[own] == pytest.approx(manifest_scores[own], abs=0.01)
        assert scores[swapped] == pytest.approx(manifest_scores[swapped], abs=0.02)


def test_it_looks_in_half_precision_too() -> None:
    """As on a GPU, where weights are float16."""
    model, _ = load_bundle("demo", torch.device("cpu"), dtype=torch.float16)
    own, swapped = finding_f1(model, 40)
    assert own >= 0.90
    assert swapped <= own - 0.3


def test_rounded_weights_find_the_same() -> None:
    """Within .01, or int8 is not to be offered (docs/develop/performance.md)."""
    model, _ = load_bundle("demo", torch.device("cpu"))
    full = finding_f1(model, 200)
    tune_for_device(model, torch.device("cpu"), int8=True)
    rounded = finding_f1(model, 200)
    assert rounded[0] == pytest.approx(full[0], abs=0.01)
    assert rounded[1] == pytest.approx(full[1], abs=0.02)


def test_the_bundle_is_small_enough_to_ship() -> None:
    size = sum(path.stat().st_size for path in Path(resolve("demo")).rglob("*") if path.is_file())
    assert size < 25_000_000
