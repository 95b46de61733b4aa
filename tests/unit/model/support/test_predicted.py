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
from model.support.predicted import PredictedInstructions, head_template, symptoms_of
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
    prompt, scores = instruct(case)
    assert scores == {"Edema": 0.9, "Fracture": 0.0}
    lines = prompt.split(" \n ")
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
        # The scores that are kept are those that filled the prompt.
        calibration = Calibration.from_json(reporter.manifest.finding_head["calibration"])
        present = symptoms_of(output.finding_scores, calibration).present
        assert named_in(output) == set(present)
    assert any(named_in(output) for output in outputs.values())


def named_in(draft: DraftText) -> set[str]:
    """The findings that the prompt of a draft says are there."""
    _, _, listed = draft.prompt.partition("Symptoms of existence: ")
    return set(listed.partition(" \n ")[0].split(", ")) - {""}


def test_other_thresholds_are_taken_into_use_and_are_settings(predicting: Path) -> None:
    reporter = Reporter.load(predicting, "cpu")
    own = reporter.settings_digest
    # By these, everything is present.
    everything = {
        name: Thresholds(-1.0, -0.5, 50, 50)
        for name in reporter.manifest.finding_head["observations"]
    }
    reporter.use_calibration(Calibration(everything))
    changed = reporter.settings_digest
    assert changed != own
    (draft,) = reporter.draft([phantom(HELD_OUT).case(112)])
    assert isinstance(draft, DraftText)
    assert named_in(draft) == set(everything) - {"No Finding"}
    reporter.use_calibration(Calibration.from_json(reporter.manifest.finding_head["calibration"]))
    assert reporter.settings_digest == own


def test_thresholds_shape_no_text_of_another_template() -> None:
    reporter = Reporter.load("demo", "cpu")
    before = reporter.settings_digest
    reporter.use_calibration(Calibration())
    assert reporter.settings_digest == before


def test_a_head_reads_images_with_what_an_order_holds() -> None:
    assert [head_template(t) for t in ("context", "none", "predicted", "oracle_iu")] == [
        "context",
        "none",
        "context",
        "context",
    ]
