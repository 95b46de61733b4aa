"""Fills the template `predicted` with what the finding head sees in the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model.case import Case
from model.labels.base import NO_FINDING, OBSERVATIONS
from model.manifest import Manifest
from model.prompting.prompt import Fits, PriorSource, Symptoms, build_instruction, get_template
from model.support.calibration import Calibration, Reading

PREDICTED = "predicted"
"""The template that a finding head fills."""
HEAD_TEMPLATE = "context"
"""The template with whose instruction the images are scored first."""

ScoreFunction = Callable[[Case, str], Mapping[str, float]]
"""Returns the finding head's probability by observation for a case and an instruction."""


@dataclass(frozen=True)
class PredictedInstructions:
    """Builds the instruction of a case with the findings that its images show.

    The images are read twice: once for the scores, and again with the finished instruction. Only
    the first scores mean anything: they are of the kind that the thresholds were made from, while
    the second reading has the symptoms before it.

    Attributes:
        score: Scores a case.
        calibration: The thresholds.
        fits: As in `model.prompting.prompt.fill_template`.
    """

    score: ScoreFunction
    calibration: Calibration
    fits: Fits

    @classmethod
    def of(cls, manifest: Manifest, score: ScoreFunction, fits: Fits) -> PredictedInstructions:
        """Return the instructions of a bundle with a finding head, by its own calibration."""
        calibration = Calibration.from_json(manifest.finding_head["calibration"])
        return cls(score, calibration, fits)

    def __call__(self, case: Case) -> tuple[str, Mapping[str, float]]:
        """Return the instruction of a case, and the scores that it was filled by."""
        scores = self.score(case, build_instruction(case, HEAD_TEMPLATE, self.fits))
        symptoms = symptoms_of(scores, self.calibration)
        return build_instruction(case, PREDICTED, self.fits, symptoms), scores


def head_template(served: str) -> str:
    """Return the template with whose instruction a finding head reads images.

    Args:
        served: The template that the bundle is served with.

    Returns:
        That template where it is filled from the order. Otherwise `context`: a head must not see
        its own findings in the instruction, nor those of the report.
    """
    return served if get_template(served).source is PriorSource.ORDER else HEAD_TEMPLATE


def symptoms_of(scores: Mapping[str, float], calibration: Calibration) -> Symptoms:
    """Return the observations that are decided, as the template lists them.

    An undecided observation is in neither list, and "No Finding" is no symptom.
    """

    def read_as(reading: Reading) -> tuple[str, ...]:
        return tuple(
            name
            for name in OBSERVATIONS
            if name != NO_FINDING and calibration.read(name, scores.get(name)) is reading
        )

    return Symptoms(present=read_as(Reading.PRESENT), absent=read_as(Reading.ABSENT))
