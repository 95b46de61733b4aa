"""The area under the receiver operating characteristic curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def roc_auc(scores: Sequence[float], is_positive: Sequence[bool]) -> float | None:
    """Return the chance that a positive scores above a negative, ties counted as a half.

    Returns:
        None where all are positive or none is.
    """
    values, positive = np.asarray(scores, float), np.asarray(is_positive, bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # equal scores share their mean rank
    rank_sum = float(ranks[positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
