"""Drift: more undecided scores than the calibration had, in enough studies."""

from __future__ import annotations

import pytest

from model.support.calibration import Calibration
from model.support.drift import LEAST_STUDIES, measure_drift

HOME = Calibration(studies=2_000, undecided_mean=0.10, undecided_spread=0.11)


@pytest.mark.parametrize(
    ("shares", "significant"),
    [
        ([0.10] * 200, False),
        ([0.12] * 200, False),  # 2.5 standard errors: a window that slides finds that by chance
        ([0.14] * 200, False),  # certain, and too little to call somebody for
        ([0.19] * 200, True),
        ([0.40] * (LEAST_STUDIES - 1), False),
        ([0.40] * LEAST_STUDIES, True),
        ([0.0] * 200, False),  # fewer undecided scores are no harm
        ([], False),
    ],
)
def test_only_many_more_undecided_scores_are_drift(shares: list[float], significant: bool) -> None:
    assert measure_drift(shares, HOME).is_significant is significant


def test_a_calibration_without_undecided_scores_does_not_alarm_on_one() -> None:
    certain = Calibration(studies=2_000)
    assert not measure_drift([0.0] * 99 + [0.125], certain).is_significant
    assert measure_drift([0.02] * 100, certain).is_significant
