"""A new bundle's scores, for its manifest and its card. Knows no training."""

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
    """How a bundle is scored on the first studies of a corpus's test split, as it is served.

    A corpus without a test split gives no scores, and says so among them.
    """

    def score(bundle: Path) -> dict[str, Any]:
        how = ScoringConfig(load_labeller(None), (NORMALISATION,), seed=seed)
        try:
            found = evaluate(bundle, corpus, how=how, limit=limit, device=device)
        except CorpusError as error:
            return {"none": str(error)}
        said: dict[str, Any] = {
            "on": f"{corpus.name}, {len(found.held.examples):,} studies of its test split",
            "normalisation": NORMALISATION,
            "labels": how.labeller.name,
        }
        for mode, came in found.modes.items():
            for name, one in came.scored.main.items():
                if one.value is not None and math.isfinite(one.value):
                    said[f"{name}, priors {mode}"] = round(one.value, 4)
            if came.agreement is not None and came.swapped is not None:
                said[f"{SWAPPED}, priors {mode}"] = round(came.swapped.f1, 4)
                said[f"all findings right, priors {mode}"] = round(came.agreement.exact, 4)
                said[f"f1 by finding, priors {mode}"] = {
                    name: round(f1, 3)
                    for name, f1 in came.agreement.by_finding.items()
                    if came.agreement.there[name]
                }
        return said

    return score
