"""Whether drafts say what the reports say: F1 over CheXpert's observations. Knows no words.

The labels are a labeller's, of draft and report alike, so a score is of one labeller and carries
its name. Wording is another matter (`metrics`).
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
"""Those that CheXpert's readers competed on (Irvin et al. 2019)."""
_SETS = {"14": OBSERVATIONS, "5": FIVE}
Uncertain = Literal["negative", "positive"]


@dataclass(frozen=True)
class Agreement:
    """Of one observation. support: in how many reports it is positive."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Clinical:
    """The observations of drafts and of reports, and how far they agree.

    named: name of a score -> labeller and convention. hypotheses, references: labels of each case.
    """

    scores: Mapping[str, float]
    named: Mapping[str, str]
    hypotheses: tuple[Labels, ...]
    references: tuple[Labels, ...]
    observations: Mapping[str, Agreement]
    _key: str = field(repr=False)
    _counts: NDArray[np.float64] = field(repr=False)

    def of(self, indices: ArrayLike) -> dict[str, float]:
        """The scores of these cases; one that is named twice counts twice.

        indices: places in the order of the cases, shape (any,), at least one. `of` every case once
        is `scores`.
        """
        taken = np.asarray(indices, dtype=np.intp)
        if not taken.size:
            raise ValueError("no case is named; give at least one index")
        times = np.bincount(taken, minlength=len(self._counts)).astype(np.float64)
        return _scores(np.tensordot(times, self._counts, 1), self._key)


def clinical(
    hypotheses: Sequence[str],
    references: Sequence[str],
    labeller: Labeller,
    *,
    uncertain: Uncertain = "negative",
) -> Clinical:
    """Label drafts and reports, and score the drafts' observations.

    An observation is positive where it is present. uncertain: what an uncertain one counts as;
    "negative" is R2Gen's convention, "positive" that of the package f1chexbert. An observation
    that is positive nowhere, in drafts or reports, has an F1 of 0 in the macro mean, as in
    scikit-learn.

    Raises:
        ValueError: nothing to score, or lists of other lengths.
    """
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise ValueError("one text is given where a list of texts is wanted; put it in a list")
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} drafts and {len(references)} reports are given; give as many of "
            "one as of the other, and at least one"
        )
    labels = labeller.label([*hypotheses, *references])
    drafted, reported = labels[: len(hypotheses)], labels[len(hypotheses) :]
    positive = {Label.PRESENT} | ({Label.UNCERTAIN} if uncertain == "positive" else set())
    said, there = _positives(drafted, positive), _positives(reported, positive)
    counts = np.stack([said & there, said, there], axis=1).astype(np.float64)  # (cases, 3, 14)
    whole = counts.sum(axis=0)
    return Clinical(
        scores=_scores(whole, labeller.key),
        named=_named(labeller, uncertain),
        hypotheses=tuple(drafted),
        references=tuple(reported),
        observations={name: _agreement(*whole[:, n]) for n, name in enumerate(OBSERVATIONS)},
        _key=labeller.key,
        _counts=counts,
    )


def _positives(labels: Sequence[Labels], positive: set[Label]) -> NDArray[np.bool_]:
    return np.array([[one[name] in positive for name in OBSERVATIONS] for one in labels])


def _scores(counts: NDArray[np.float64], key: str) -> dict[str, float]:
    """Of (3, 14): hit, said, there. The labeller's key stands in every name."""
    found = {}
    for size, names in _SETS.items():
        hit, said, there = counts[:, [OBSERVATIONS.index(name) for name in names]]
        each = _ratio(2 * hit, said + there)
        found[f"{key}_f1_{size}_micro"] = float(_ratio(2 * hit.sum(), said.sum() + there.sum()))
        found[f"{key}_f1_{size}_macro"] = float(each.mean())
    return found


def _agreement(hit: float, said: float, there: float) -> Agreement:
    return Agreement(
        precision=float(_ratio(hit, said)),
        recall=float(_ratio(hit, there)),
        f1=float(_ratio(2 * hit, said + there)),
        support=int(there),
    )


def _ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    above, below = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))


def _named(labeller: Labeller, uncertain: Uncertain) -> dict[str, str]:
    return {
        f"{labeller.key}_f1_{size}_{mean}": (
            f"{mean} F1 of {size} observations, labelled by {labeller.name}, "
            f"uncertain as {uncertain}"
        )
        for size in _SETS
        for mean in ("micro", "macro")
    }
