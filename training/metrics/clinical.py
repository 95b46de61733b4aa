"""Scores what drafts say against what reports say: F1 over CheXpert's observations.

One labeller labels drafts and reports, so a score belongs to that labeller and carries its name.
`training.metrics.text` scores the wording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.labels.base import (
    ATELECTASIS,
    CARDIOMEGALY,
    CONSOLIDATION,
    EDEMA,
    OBSERVATIONS,
    PLEURAL_EFFUSION,
    Label,
    Labeller,
    Labels,
)

FIVE = (CARDIOMEGALY, EDEMA, CONSOLIDATION, ATELECTASIS, PLEURAL_EFFUSION)
"""The five competition observations of CheXpert (Irvin et al. 2019)."""
_SETS = {"14": OBSERVATIONS, "5": FIVE}
Uncertain = Literal["negative", "positive"]


@dataclass(frozen=True)
class ObservationScore:
    """The scores of one observation; `support` is the number of reports in which it is positive."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClinicalScores:
    """The observations of drafts and reports, and how far they agree.

    Attributes:
        scores: Name -> score of all cases.
        descriptions: Name -> labeller and convention.
        hypotheses, references: The labels of each case.
        observations: Observation -> its scores.
    """

    scores: Mapping[str, float]
    descriptions: Mapping[str, str]
    hypotheses: tuple[Labels, ...]
    references: tuple[Labels, ...]
    observations: Mapping[str, ObservationScore]
    _key: str = field(repr=False)
    _counts: NDArray[np.float64] = field(repr=False)

    def scores_at(self, indices: ArrayLike) -> dict[str, float]:
        """Return the scores of some cases; every case once gives `scores`.

        Args:
            indices: The cases, at least one, of any shape. An index that occurs twice counts twice.

        Raises:
            ValueError: there is no index.
        """
        chosen = np.asarray(indices, dtype=np.intp)
        if not chosen.size:
            raise ValueError("no case is named; give at least one index")
        weights = np.bincount(chosen, minlength=len(self._counts)).astype(np.float64)
        return _scores(np.tensordot(weights, self._counts, 1), self._key)


def score_clinical(
    hypotheses: Sequence[str],
    references: Sequence[str],
    labeller: Labeller,
    *,
    uncertain: Uncertain = "negative",
) -> ClinicalScores:
    """Label drafts and reports, and score the drafts' observations.

    An observation is positive where it is present. An observation that is positive in no draft and
    no report has an F1 of 0 in the macro mean, as in scikit-learn.

    Args:
        hypotheses: The drafts.
        references: The report of each draft.
        labeller: Labels both.
        uncertain: What an uncertain observation counts as. "negative" is R2Gen's convention,
            "positive" that of the package f1chexbert.

    Raises:
        ValueError: there is nothing to score, or the lists differ in length.
    """
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise ValueError("one text is given where a list of texts is wanted; put it in a list")
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} drafts and {len(references)} reports are given; give as many of "
            "one as of the other, and at least one"
        )
    labels = labeller.label([*hypotheses, *references])
    draft_labels, report_labels = labels[: len(hypotheses)], labels[len(hypotheses) :]
    positive = {Label.PRESENT} | ({Label.UNCERTAIN} if uncertain == "positive" else set())
    predicted, actual = _positives(draft_labels, positive), _positives(report_labels, positive)
    # (cases, 3, 14): true positives, predicted, reference
    counts = np.stack([predicted & actual, predicted, actual], axis=1).astype(np.float64)
    total = counts.sum(axis=0)
    return ClinicalScores(
        scores=_scores(total, labeller.key),
        descriptions=_descriptions(labeller, uncertain),
        hypotheses=tuple(draft_labels),
        references=tuple(report_labels),
        observations={
            name: _observation_score(*total[:, n]) for n, name in enumerate(OBSERVATIONS)
        },
        _key=labeller.key,
        _counts=counts,
    )


def _positives(labels: Sequence[Labels], positive: set[Label]) -> NDArray[np.bool_]:
    return np.array([[case[name] in positive for name in OBSERVATIONS] for case in labels])


def _scores(counts: NDArray[np.float64], key: str) -> dict[str, float]:
    """Return scores from (3, 14) counts: true positives, predicted, reference.

    The labeller's key is in every name.
    """
    scores = {}
    for size, names in _SETS.items():
        columns = [OBSERVATIONS.index(name) for name in names]
        true_positives, predicted, actual = counts[:, columns]
        each = _ratio(2 * true_positives, predicted + actual)
        micro = _ratio(2 * true_positives.sum(), predicted.sum() + actual.sum())
        scores[f"{key}_f1_{size}_micro"] = float(micro)
        scores[f"{key}_f1_{size}_macro"] = float(each.mean())
    return scores


def _observation_score(true_positives: float, predicted: float, actual: float) -> ObservationScore:
    return ObservationScore(
        precision=float(_ratio(true_positives, predicted)),
        recall=float(_ratio(true_positives, actual)),
        f1=float(_ratio(2 * true_positives, predicted + actual)),
        support=int(actual),
    )


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Return numerator / denominator, and 0 where `denominator` is 0."""
    above, below = (
        np.asarray(numerator, dtype=np.float64),
        np.asarray(denominator, dtype=np.float64),
    )
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))


def _descriptions(labeller: Labeller, uncertain: Uncertain) -> dict[str, str]:
    return {
        f"{labeller.key}_f1_{size}_{mean}": (
            f"{mean} F1 of {size} observations, labelled by {labeller.name}, "
            f"uncertain as {uncertain}"
        )
        for size in _SETS
        for mean in ("micro", "macro")
    }
