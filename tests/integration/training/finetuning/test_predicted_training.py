"""A training with the template `predicted`: from priors of its studies to a bundle that serves."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from model.case import DraftText
from model.manifest import read_manifest, resolve, write_manifest
from model.prompting.prompt import Symptoms
from model.reporter import Reporter
from nightdraft.cli.evaluate import evaluate_command
from nightdraft.cli.train import train
from records.errors import NotAllowed, SettingsError, TrainingStopped
from tests.support.listed_corpus import ListedCorpus
from training.corpus.example import CorpusOptions
from training.corpus.phantoms import HELD_OUT, phantom
from training.finetuning import predicted_priors
from training.finetuning.batches import SampleTransform
from training.finetuning.config import TrainingConfig
from training.finetuning.loop import Run
from training.finetuning.pipeline import Pipeline

QUICK = [
    "stage2", "--base", "demo", "--corpus", "phantoms:ward", "--limit", "60", "--steps", "1",
    "--batch-size", "2", "--gradient-accumulation-steps", "1", "--precision", "float32",
    "--device", "cpu", "--score", "0", "--prompt", "predicted", "--prior-dropout", "0",
    "--prior-line-dropout", "0", "--predicted-by", "demo",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use one thread, few held-out studies, and heads that learn what a few studies have."""
    torch.set_num_threads(1)
    monkeypatch.setattr("training.finetuning.training_data.MAX_VALIDATION_EXAMPLES", 60)
    monkeypatch.setattr("training.finetuning.finding_head.LEAST_POSITIVES", 9)
    monkeypatch.setattr("training.metrics.meteor.shutil.which", lambda _: None)
    monkeypatch.setattr("training.evaluation.heldout.ENDLESS_TRAINING", 60)


def run_command(*arguments: str) -> str:
    result = CliRunner().invoke(train, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.output


def test_from_priors_to_a_bundle_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, shown, predicted = tmp_path / "made", [], []
    plain_train, plain_predict = Run.train, predicted_priors.predict_priors

    def stopping(self: Run, **options: Any) -> Any:
        shown.append([example.symptoms for example in self.examples])
        if len(shown) == 1:
            raise TrainingStopped("stopped")
        return plain_train(self, **options)

    def counting(*arguments: Any) -> Any:
        predicted.append(arguments)
        return plain_predict(*arguments)

    monkeypatch.setattr(Run, "train", stopping)
    monkeypatch.setattr(predicted_priors, "predict_priors", counting)
    with pytest.raises(TrainingStopped):
        run_command(*QUICK, "--out", str(out))
    output = run_command(*QUICK, "--out", str(out), "--resume")
    # The priors are predicted once, and the same ones are shown after a stop.
    assert len(predicted) == 1
    assert shown[0] == shown[1]
    assert any(symptoms.present for symptoms in shown[0])
    assert any(symptoms.absent for symptoms in shown[0])
    assert "predicted priors, training: studies 60," in output

    manifest = read_manifest(out)
    assert (manifest.template, manifest.templates) == ("predicted", ())
    record = manifest.training["predicted_priors"]
    assert record["bundle"].endswith(read_manifest("demo").digest)
    assert record["held out"]["studies"] == 60
    assert "Predicted priors: bundle phantoms" in (out / "card.md").read_text()
    # Findings of patients are removed with the prepared corpus.
    left = {path.name for path in (tmp_path / "made.training").iterdir()}
    assert left == {"config.toml", "losses.png", "stage2"}

    drafts = list(
        Reporter.load(out, "cpu").draft([phantom(HELD_OUT + n).case(112) for n in range(3)])
    )
    assert all(isinstance(draft, DraftText) for draft in drafts)
    assert any("Symptoms of" in draft.prompt for draft in drafts if isinstance(draft, DraftText))
    figures = tmp_path / "figures.json"
    evaluate_command(
        str(out), "phantoms:ward", limit=4, modes=["predicted"], normalisation=["lower"],
        device="cpu", json=figures,
    )  # fmt: skip
    evaluated = json.loads(figures.read_text())
    assert evaluated["mode"] == "predicted"
    assert evaluated["modes"]["predicted"]["failures"] == 0
    assert evaluated["modes"]["predicted"]["image_support"]["own"]["studies"] == 4


def test_another_predicting_bundle_is_another_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, out = tmp_path / "other", tmp_path / "made"
    shutil.copytree(resolve("demo"), other)
    write_manifest(other, replace(read_manifest(other), version="other"))

    def predict(
        self: predicted_priors.PriorsSource, *_: object
    ) -> predicted_priors.PredictedPriors:
        record = {"training": {}, "held out": {}}
        priors = predicted_priors.PredictedPriors(
            (Symptoms(),) * len(self.training), (Symptoms(),) * len(self.validation), record
        )
        monkeypatch.setattr(predicted_priors.PriorsSource, "read", lambda *_: priors)
        return priors

    monkeypatch.setattr(predicted_priors.PriorsSource, "predict", predict)
    monkeypatch.setattr(
        Pipeline, "build_bundle", lambda *_, **__: (_ for _ in ()).throw(TrainingStopped("stopped"))
    )
    with pytest.raises(TrainingStopped):
        run_command(*QUICK, "--out", str(out))
    with pytest.raises(NotAllowed, match="predicted_by was"):
        run_command(*QUICK, "--out", str(out), "--resume", "--predicted-by", str(other))


@pytest.mark.parametrize(
    ("validate", "size", "message"),
    [
        (0.0, 112, "needs held-out studies, .* give --validation-share a share"),
        (0.1, 56, "reads images of 56 pixels .* the base of 112"),
    ],
)
def test_what_cannot_be_predicted_is_found_before_anything_is_read(
    validate: float, size: int, message: str, tmp_path: Path
) -> None:
    predicting = tmp_path / "predicting"
    shutil.copytree(resolve("demo"), predicting)
    manifest = read_manifest(predicting)
    write_manifest(
        predicting, replace(manifest, preprocessing=replace(manifest.preprocessing, size=size))
    )
    pipeline = Pipeline(
        "demo",
        ListedCorpus([]),
        CorpusOptions(validate=validate),
        tmp_path,
        TrainingConfig(steps=1),
        SampleTransform(("predicted",)),
        predicted_by=str(predicting),
    )
    with pytest.raises(SettingsError, match=message):
        pipeline.check()
