"""Split-conformal thresholds on the finding head's scores, and what a score then means.

For each observation there are two thresholds, made from studies whose labels are known and which
the head has not learnt from. Of the studies that have the observation, at most a share `error_rate`
scores below the first; of those that have it not, at most that share scores above the second
(class-conditional split conformal prediction: Vovk, "Conditional validity of inductive conformal
predictors", 2012). A score is then one of three things: only "present" is consistent with it, only
"absent" is, or it is undecided (both are, or neither is).

This holds for studies like those of the calibration. At a site whose images are unlike them more
scores become undecided, and that needs no labels to be seen: `model.support.drift` measures it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

ERROR_RATE = 0.1
"""The share of studies for which a threshold may be wrong; coverage is 1 minus it."""


class Reading(StrEnum):
    """What the image model's score of one observation says."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDECIDED = "undecided"
    NOT_ASSESSED = "not assessed"  # too few examples of the observation to set its thresholds


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The two thresholds of one observation.

    Attributes:
        present: A score below it is not one of a study that has the observation.
        absent: A score above it is not one of a study that has it not.
        positives, negatives: Studies that each was made from.
    """

    present: float
    absent: float
    positives: int
    negatives: int

    def read(self, score: float) -> Reading:
        """Return what a score says."""
        may_be_present, may_be_absent = score >= self.present, score <= self.absent
        if may_be_present == may_be_absent:
            return Reading.UNDECIDED
        return Reading.PRESENT if may_be_present else Reading.ABSENT


@dataclass(frozen=True)
class Calibration:
    """The thresholds of all observations, and how often scores are undecided where they hold.

    Attributes:
        thresholds: By observation; one that is missing is not assessed.
        error_rate: The share of errors that the thresholds allow.
        studies: Studies that they were made from.
        labeller: What labelled those studies.
        undecided_mean, undecided_spread: Mean and standard deviation over studies of the share of
            assessed observations that are undecided.
    """

    thresholds: Mapping[str, Thresholds] = field(default_factory=dict)
    error_rate: float = ERROR_RATE
    studies: int = 0
    labeller: str = ""
    undecided_mean: float = 0.0
    undecided_spread: float = 0.0

    def read(self, observation: str, score: float | None) -> Reading:
        """Return what a score of an observation says; None is a score that is not known."""
        thresholds = self.thresholds.get(observation)
        if thresholds is None or score is None or not math.isfinite(score):
            return Reading.NOT_ASSESSED
        return thresholds.read(score)

    def undecided_share(self, scores: Mapping[str, float]) -> float | None:
        """Return the share of a study's assessed observations that are undecided; None for none."""
        readings = [self.read(name, scores.get(name)) for name in self.thresholds]
        assessed = [reading for reading in readings if reading is not Reading.NOT_ASSESSED]
        if not assessed:
            return None
        return sum(reading is Reading.UNDECIDED for reading in assessed) / len(assessed)

    def as_json(self) -> dict[str, Any]:
        """Return the calibration as JSON holds it; `from_json` gives it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Calibration:
        """Return the calibration that `as_json` wrote.

        Raises:
            ValueError: The content is not a calibration.
        """
        try:
            thresholds = {
                str(name): Thresholds(
                    float(row["present"]),
                    float(row["absent"]),
                    int(row["positives"]),
                    int(row["negatives"]),
                )
                for name, row in content["thresholds"].items()
            }
            return cls(
                thresholds,
                float(content["error_rate"]),
                int(content["studies"]),
                str(content["labeller"]),
                float(content["undecided_mean"]),
                float(content["undecided_spread"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"this is not a calibration: {error!r}") from error


def calibrate(
    scores: Sequence[Mapping[str, float]],
    presence: Sequence[Mapping[str, bool | None]],
    *,
    labeller: str,
    error_rate: float = ERROR_RATE,
) -> Calibration:
    """Make thresholds from studies whose labels are known.

    Args:
        scores: Of each study, the head's score by observation.
        presence: Of each study, whether it has each observation; None where that is uncertain.
        labeller: What labelled the studies.
        error_rate: The share of errors that the thresholds allow.

    Returns:
        A calibration. An observation with too few studies that have it, or too few that have it
        not, for any threshold at this error rate (9 for 0.1) is not assessed.
    """
    thresholds: dict[str, Thresholds] = {}
    names = dict.fromkeys(name for row in scores for name in row)
    for name in names:
        known = [
            (row[name], labels.get(name))
            for row, labels in zip(scores, presence, strict=True)
            if name in row and math.isfinite(row[name])
        ]
        positives = sorted(score for score, has in known if has is True)
        negatives = sorted((score for score, has in known if has is False), reverse=True)
        low, high = (conformal_rank(len(group), error_rate) for group in (positives, negatives))
        if low and high:
            thresholds[name] = Thresholds(
                positives[low - 1], negatives[high - 1], len(positives), len(negatives)
            )
    unfinished = Calibration(thresholds, error_rate, len(scores), labeller)
    shares = [share for row in scores if (share := unfinished.undecided_share(row)) is not None]
    mean = math.fsum(shares) / len(shares) if shares else 0.0
    variance = math.fsum((share - mean) ** 2 for share in shares) / max(1, len(shares) - 1)
    return Calibration(thresholds, error_rate, len(scores), labeller, mean, math.sqrt(variance))


def conformal_rank(count: int, error_rate: float) -> int:
    """Return which of `count` scores, from the extreme one, is the threshold; 0 where none can be.

    A new score of the same kind falls beyond the k-th of n with a probability of at most k/(n+1).
    """
    return math.floor(error_rate * (count + 1) + 1e-9)
