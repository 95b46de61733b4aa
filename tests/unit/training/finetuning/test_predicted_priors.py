"""Priors of a training come from heads that did not learn from the study, and are no better there.

The query outputs are made up, so that it is known what can be seen in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.labels import RuleLabeller
from model.network.sizes import build_random
from model.support.calibration import Calibration, Thresholds
from records.errors import CorpusError, NotAllowed
from tests.support.listed_corpus import make_study
from training.corpus.example import Example
from training.finetuning.batches import SampleTransform
from training.finetuning.finding_head import FeatureReader, HeadConfig
from training.finetuning.predicted_priors import (
    Coverage,
    PredictedPriors,
    check_coverage,
    folds_by_patient,
    measure_coverage,
    predict_priors,
)

SICK = "There is a right pleural effusion."
WELL = "No pleural effusion."
WIDTH = 64
MODEL = build_random("tiny")
CONFIG = HeadConfig(epochs=30, rate=1e-2)


def studies(count: int, split: str, first: int = 0) -> list[Example]:
    """Studies of half as many patients, a third of them with an effusion."""
    return [
        replace(
            make_study(str(first + n), SICK if n % 6 < 2 else WELL, split=split),
            patient=str((first + n) // 2),
        )
        for n in range(count)
    ]


def predict(
    monkeypatch: pytest.MonkeyPatch, train: float, validate: float, count: int = 300
) -> PredictedPriors:
    def queries(
        _: FeatureReader, examples: Sequence[Example], *_rest: object
    ) -> Iterator[torch.Tensor]:
        """Yield query outputs whose first number shows an effusion, by the signal of the split.

        The other numbers tell the study from all others and mean nothing.
        """
        signal = {"train": train, "validate": validate}
        for example in examples:
            numbers = np.random.default_rng(int(example.key)).standard_normal((2, WIDTH))
            sign = 1.0 if example.target == SICK else -1.0
            numbers[:, 0] = 0.5 * numbers[:, 0] + signal[example.split] * sign
            yield torch.from_numpy(numbers).half()

    monkeypatch.setattr(FeatureReader, "queries", queries)
    held_out = studies(240, "validate", first=10_000)
    return predict_priors(
        MODEL, studies(count, "train"), held_out, RuleLabeller(), SampleTransform(), CONFIG
    )


def test_what_can_be_seen_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    priors = predict(monkeypatch, 2.0, 2.0)
    named = [each.present == ("Pleural Effusion",) for each in priors.training]
    denied = [each.absent == ("Pleural Effusion",) for each in priors.training]
    sick = [study.target == SICK for study in studies(300, "train")]
    assert np.mean([n for n, has in zip(named, sick, strict=True) if has]) > 0.8
    assert np.mean([d for d, has in zip(denied, sick, strict=True) if not has]) > 0.8
    assert priors.record["training"]["present right"] > 0.9
    assert priors.record["held out"]["present right"] > 0.8
    assert priors.record["coverage held out"] == pytest.approx(
        {"present": 0.9, "absent": 0.9}, abs=0.08
    )


def test_a_study_never_predicts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more numbers than a head needs to know each study, there is nothing to see: a head is
    right about all that it learnt from, and cross-fitted heads decide no more than chance."""
    priors = predict(monkeypatch, 0.0, 0.0, count=120)
    decided = np.mean([bool(each.present or each.absent) for each in priors.training])
    assert decided < 0.4
    assert priors.record["training"].get("present right", 0.0) < 0.7


def test_a_network_that_knows_the_training_studies_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(
        NotAllowed, match=r"knows the training studies: .* 90% of what is \w+ there"
    ):
        predict(monkeypatch, 3.0, 0.3)


def test_what_is_too_little_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CorpusError, match="take more studies"):
        predict(monkeypatch, 1.0, 1.0, count=15)
    monkeypatch.setattr("training.finetuning.predicted_priors.folds_by_patient", lambda _: [0])
    with pytest.raises(CorpusError, match="of one patient"):
        predict(monkeypatch, 1.0, 1.0, count=1)


def test_a_patient_is_in_one_fold_and_folds_are_of_equal_size() -> None:
    patients = [str(n // 2) for n in range(40)]
    folds = folds_by_patient(patients, 4)
    assert all(
        len({f for f, p in zip(folds, patients, strict=True) if p == who}) == 1 for who in patients
    )
    assert [folds.count(fold) for fold in range(4)] == [10] * 4


def test_coverage_is_counted_for_each_class() -> None:
    calibration = Calibration(
        {"Edema": Thresholds(0.4, 0.6, 20, 30), "Fracture": Thresholds(0.9, 0.1, 5, 6)}
    )
    scores = [{"Edema": 0.5, "Fracture": 0.5}, {"Edema": 0.3, "Fracture": 0.0}, {"Edema": 0.9}]
    presence = [
        {"Edema": True, "Fracture": True},
        {"Edema": False, "Fracture": False},
        {"Edema": None, "Fracture": True},
    ]
    assert measure_coverage(scores, presence, calibration) == {
        "present": Coverage(1, 2, 25),
        "absent": Coverage(2, 2, 36),
    }


@pytest.mark.parametrize(
    ("covered", "known", "made_from"),
    [(900, 1000, 1000), (860, 1000, 1000), (70, 100, 20), (0, 0, 10)],
)
def test_chance_and_small_gaps_are_let_through(covered: int, known: int, made_from: int) -> None:
    check_coverage({"present": Coverage(covered, known, made_from)}, 0.1)


def test_a_gap_beyond_chance_is_refused() -> None:
    with pytest.raises(NotAllowed, match=r"70% in the 1,000 held-out cases.*--predicted-by"):
        check_coverage(
            {"absent": Coverage(900, 1000, 99), "present": Coverage(700, 1000, 400)}, 0.1
        )
