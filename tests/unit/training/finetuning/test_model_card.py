"""The card says what the manifest says, and that a demonstration is one."""

from __future__ import annotations

from dataclasses import replace

from model.manifest import NULL
from training.finetuning.model_card import render_card

TRAINING = {
    "corpus": "iu_xray",
    "examples": 2668,
    "reading": {"split": "paper", "seed": 0},
    "settings": {"batch": 3, "steps": None},
    "showing": {"drop_priors": 0.25},
    "stages": {"stage1": {"steps": 10, "loss": 1.5, "validation": None}},
}


def test_a_card_says_data_settings_scores_and_limits() -> None:
    manifest = replace(
        NULL,
        name="clinicalblip",
        training=TRAINING,
        scores={"bleu_4, priors context": 0.25},
        adapters=({"name": "adapter", "rank": 16},),
    )
    text = render_card(manifest)
    for line in (
        "# clinicalblip 1",
        "**A demonstration: No model",
        "iu_xray, 2668 examples",
        "split paper; seed 0",
        "- Settings: batch 3\n",
        "- stage1: steps 10; loss 1.5\n",
        "| bleu_4, priors context | 0.25 |",
        "name adapter; rank 16",
        "before a radiologist has signed it",
    ):
        assert line in text


def test_without_scores_it_says_so() -> None:
    text = render_card(replace(NULL, demonstration=False))
    assert "None were taken" in text
    assert "demonstration" not in text
