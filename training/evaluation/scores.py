"""Scores a new bundle for its manifest and its model card."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.labels import load_labeller
from records.errors import CorpusError
from training.corpus.example import Corpus
from training.evaluation.evaluate import evaluate
from training.evaluation.figures import SWAPPED
from training.evaluation.scoring import ScoringConfig

NORMALISATION = "lower"


def scores_for(
    corpus: Corpus, limit: int, seed: int, device: str | None
) -> Callable[[Path], dict[str, Any]]:
    """Return a function that scores a bundle on the first studies of a corpus's test split.

    For a corpus without a test split it returns the reason instead of scores.
    """

    def score(bundle: Path) -> dict[str, Any]:
        scoring = ScoringConfig(load_labeller(None), (NORMALISATION,), seed=seed)
        try:
            evaluation = evaluate(bundle, corpus, scoring=scoring, limit=limit, device=device)
        except CorpusError as error:
            return {"none": str(error)}
        scores: dict[str, Any] = {
            "on": f"{corpus.name}, {len(evaluation.held_out.examples):,} studies of its test split",
            "normalisation": NORMALISATION,
            "labels": scoring.labeller.name,
        }
        for mode, result in evaluation.modes.items():
            for name, interval in result.scores.main.items():
                if interval.value is not None and math.isfinite(interval.value):
                    scores[f"{name}, priors {mode}"] = round(interval.value, 4)
            if result.agreement is not None and result.swapped is not None:
                scores[f"{SWAPPED}, priors {mode}"] = round(result.swapped.f1, 4)
                scores[f"all findings right, priors {mode}"] = round(result.agreement.exact, 4)
                scores[f"f1 by finding, priors {mode}"] = {
                    name: round(f1, 3)
                    for name, f1 in result.agreement.by_finding.items()
                    if result.agreement.support[name]
                }
        return scores

    return score
