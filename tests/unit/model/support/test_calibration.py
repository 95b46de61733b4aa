"""Split-conformal thresholds: their ranks, their coverage, and what a score says."""

from __future__ import annotations

import json
import math
import random

import pytest

from model.support.calibration import Calibration, Reading, Thresholds, calibrate, conformal_rank


@pytest.mark.parametrize(
    ("count", "rate", "rank"),
    [
        (0, 0.1, 0),
        (8, 0.1, 0),
        (9, 0.1, 1),
        (19, 0.1, 2),
        (99, 0.1, 10),
        (18, 0.05, 0),
        (19, 0.05, 1),
    ],
)
def test_the_rank_is_the_largest_that_keeps_the_error_rate(
    count: int, rate: float, rank: int
) -> None:
    assert conformal_rank(count, rate) == rank
    assert rank / (count + 1) <= rate + 1e-12
    assert (rank + 1) / (count + 1) > rate


def test_thresholds_are_the_scores_of_that_rank() -> None:
    positives = [n / 100 for n in range(50, 70)]  # 20: the second smallest
    negatives = [n / 100 for n in range(31)]  # 31: the third largest
    scores = [{"Edema": score} for score in (*positives, *negatives)]
    presence: list[dict[str, bool | None]] = [{"Edema": True}] * 20 + [{"Edema": False}] * 31
    made = calibrate(scores, presence, labeller="rules")
    assert made.thresholds == {"Edema": Thresholds(0.51, 0.28, 20, 31)}
    assert made.studies == 51


def test_uncertain_studies_and_broken_scores_set_no_threshold() -> None:
    scores = [{"Edema": 0.5}] * 9 + [{"Edema": 0.2}] * 9 + [{"Edema": 0.0}, {"Edema": math.nan}]
    presence: list[dict[str, bool | None]] = [
        *[{"Edema": True}] * 9,
        *[{"Edema": False}] * 9,
        {"Edema": None},
        {"Edema": True},
    ]
    made = calibrate(scores, presence, labeller="rules")
    assert made.thresholds["Edema"] == Thresholds(0.5, 0.2, 9, 9)


def test_too_few_studies_leave_an_observation_unassessed() -> None:
    scores = [{"Edema": n / 100} for n in range(100)]
    presence: list[dict[str, bool | None]] = [{"Edema": n >= 92} for n in range(100)]
    made = calibrate(scores, presence, labeller="rules")
    assert made.thresholds == {}
    assert made.read("Edema", 0.9) is Reading.NOT_ASSESSED
    assert made.undecided_share({"Edema": 0.9}) is None


@pytest.mark.parametrize(
    ("present", "absent", "score", "reading"),
    [
        (0.6, 0.4, 0.7, Reading.PRESENT),
        (0.6, 0.4, 0.6, Reading.PRESENT),
        (0.6, 0.4, 0.5, Reading.UNDECIDED),  # neither
        (0.6, 0.4, 0.4, Reading.ABSENT),
        (0.4, 0.6, 0.5, Reading.UNDECIDED),  # both
        (0.4, 0.6, 0.3, Reading.ABSENT),
        (0.4, 0.6, 0.7, Reading.PRESENT),
        (0.4, 0.6, math.nan, Reading.NOT_ASSESSED),
        (0.4, 0.6, None, Reading.NOT_ASSESSED),
    ],
)
def test_a_score_is_read(
    present: float, absent: float, score: float | None, reading: Reading
) -> None:
    calibration = Calibration({"Edema": Thresholds(present, absent, 9, 9)})
    assert calibration.read("Edema", score) is reading


def test_new_studies_are_covered_as_often_as_promised() -> None:
    """Both kinds by themselves, whatever their shares: 0.9, and 0.03 for chance."""
    draw = random.Random(3)

    def study(*, has: bool) -> float:
        return draw.gauss(1.0 if has else 0.0, 1.0)

    known = [n % 5 == 0 for n in range(4_000)]
    made = calibrate(
        [{"Edema": study(has=has)} for has in known],
        [{"Edema": has} for has in known],
        labeller="drawn",
    )
    thresholds = made.thresholds["Edema"]
    positives = [study(has=True) >= thresholds.present for _ in range(4_000)]
    negatives = [study(has=False) <= thresholds.absent for _ in range(4_000)]
    assert sum(positives) / 4_000 == pytest.approx(0.9, abs=0.03)
    assert sum(negatives) / 4_000 == pytest.approx(0.9, abs=0.03)


def test_a_calibration_is_read_as_it_was_written() -> None:
    made = Calibration({"Edema": Thresholds(0.4, 0.6, 9, 30)}, 0.1, 39, "rules", 0.1, 0.2)
    assert Calibration.from_json(json.loads(json.dumps(made.as_json()))) == made
    with pytest.raises(ValueError, match="not a calibration"):
        Calibration.from_json({"thresholds": {"Edema": {"present": 0.4}}})
