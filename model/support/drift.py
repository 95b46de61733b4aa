"""Tells by undecided scores alone whether images have become unlike those of the calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model.support.calibration import Calibration

LEAST_STUDIES = 50
"""With fewer studies no drift is reported."""
LEAST_DEVIATION = 4.0
"""Standard errors above the calibration's mean. The check is made again and again over a window
that slides, so a smaller number would raise false alarms."""
LEAST_RATIO = 1.5
"""Undecided observations for each that was expected. A smaller difference is certain, too, once
there are enough drafts, but nobody needs to be called for it: the films of another detector differ
by as much. Noise and darker images gave 1.8 and 1.9 (docs/train/finding-head.md)."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How undecided some studies are, against the calibration.

    Attributes:
        studies: How many were looked at.
        mean: Their mean share of undecided observations.
        expected: That of the calibration.
        deviation: Standard errors between the two.
    """

    studies: int
    mean: float
    expected: float
    deviation: float

    @property
    def is_significant(self) -> bool:
        """Whether a person should look at it."""
        return (
            self.studies >= LEAST_STUDIES
            and self.deviation >= LEAST_DEVIATION
            and self.mean >= LEAST_RATIO * self.expected
        )


def measure_drift(shares: Sequence[float], calibration: Calibration) -> Drift:
    """Compare the undecided shares of some studies with the calibration's."""
    if not shares:
        return Drift(0, 0.0, calibration.undecided_mean, 0.0)
    mean = math.fsum(shares) / len(shares)
    # A calibration in which hardly anything was undecided would turn one odd score into an alarm.
    spread = max(calibration.undecided_spread, 0.02)
    error = spread * math.sqrt(1 / len(shares) + 1 / max(1, calibration.studies))
    deviation = (mean - calibration.undecided_mean) / error
    return Drift(len(shares), mean, calibration.undecided_mean, deviation)
