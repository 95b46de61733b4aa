"""The template `predicted` is filled with what the finding head decided, and nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.case import Case, DraftText, FailedCase, Priors, View
from model.manifest import read_manifest, resolve, write_manifest
from model.prompting.prompt import Symptoms
from model.reporter import Reporter
from model.support.calibration import Calibration, Thresholds
from model.support.predicted import PredictedInstructions, symptoms_of
from training.corpus.phantoms import HELD_OUT, phantom

HOME = Calibration(
    {
        name: Thresholds(0.6, 0.4, 50, 500)
        for name in ("Edema", "Pneumonia", "Fracture", "No Finding")
    }
)


def test_only_decided_observations_are_symptoms() -> None:
    scores = {
        "Pneumonia": 0.9,
        "Fracture": 0.1,
        "Edema": 0.5,
        "No Finding": 0.1,
        "Atelectasis": 0.9,
    }
    assert symptoms_of(scores, HOME) == Symptoms(present=("Pneumonia",), absent=("Fracture",))
    assert symptoms_of({}, HOME) == Symptoms()


def test_the_images_are_scored_with_the_order_and_prompted_with_the_symptoms() -> None:
    asked = []

    def score(case: Case, instruction: str) -> dict[str, float]:
        asked.append((case, instruction))
        return {"Edema": 0.9, "Fracture": 0.0}

    view = View(np.zeros((4, 4), np.uint8), "frontal")
    case = Case("k", (view,), Priors(indication="Cough."))
    instruct = PredictedInstructions(score, HOME, lambda _: True)
    lines = instruct(case).split(" \n ")
    assert lines[:2] == ["Symptoms of existence: Edema", "Symptoms of non-existence: Fracture"]
    assert "Indication: Cough." in lines
    ((scored, instruction),) = asked
    assert scored is case
    assert "Indication: Cough." in instruction
    assert "Symptoms" not in instruction


@pytest.fixture(scope="module")
def predicting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle, as if it had been trained with the template."""
    folder = tmp_path_factory.mktemp("bundle") / "predicting"
    shutil.copytree(resolve("demo"), folder)
    manifest = replace(read_manifest(folder), template="predicted", max_instruction_tokens=128)
    write_manifest(folder, manifest)
    return folder


def test_a_reporter_serves_it(predicting: Path) -> None:
    reporter = Reporter.load(predicting, "cpu")
    cases = [phantom(HELD_OUT + n).case(112) for n in range(3)]
    narrow = replace(cases[0], key="narrow", views=(View(np.zeros((9, 9), np.uint8), "frontal"),))
    outputs = {output.key: output for output in reporter.draft([*cases, narrow])}
    assert isinstance(outputs.pop("narrow"), FailedCase)
    for output in outputs.values():
        assert isinstance(output, DraftText)
        calibration = Calibration.from_json(reporter.manifest.finding_head["calibration"])
        present = symptoms_of(output.finding_scores, calibration).present
        named = output.prompt.partition("Symptoms of existence: ")[2].partition(" \n ")[0]
        # Scores with the symptoms in the instruction differ little from those without.
        assert not present or set(named.split(", ")) & set(present)
    assert any("Symptoms of" in output.prompt for output in outputs.values())
