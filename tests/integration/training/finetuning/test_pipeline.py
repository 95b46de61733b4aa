"""From a base bundle and a corpus to a bundle: both stages, stopped and resumed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from model.bundling.store import check_bundle, load_bundle
from model.case import DraftText
from model.errors import BundleError, DeviceError, TemplateError
from model.manifest import read_manifest, resolve
from model.reporter import Reporter
from nightdraft.cli.evaluate import evaluate_command
from nightdraft.cli.train import train
from records.errors import CorpusError, NotAllowed, SettingsError, TrainingStopped
from tests.support.waiting import eventually
from training.corpus.example import TEST, TRAIN, CorpusOptions
from training.corpus.phantoms import HELD_OUT, phantom
from training.corpus.registry import open_corpus
from training.finetuning.batches import SampleTransform
from training.finetuning.checkpoints import list_checkpoints
from training.finetuning.config import TrainingConfig
from training.finetuning.loop import Run
from training.finetuning.metric_logging import read_log
from training.finetuning.pipeline import Pipeline
from training.finetuning.stages import STAGE1, STAGE2, Stage

QUICK = [
    "--base", "demo", "--corpus", "phantoms:ward", "--limit", "12", "--steps", "2",
    "--batch-size", "2", "--gradient-accumulation-steps", "2", "--max-target-tokens", "60",
    "--precision", "float32", "--device", "cpu", "--score", "0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run_command(*arguments: str) -> str:
    result = CliRunner().invoke(train, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.output


def test_both_stages_end_in_a_bundle_with_its_card(tmp_path: Path) -> None:
    out = tmp_path / "made"
    output = run_command(
        "both", *QUICK, "--score", "4", "--out", str(out), "--name", "ward", "--version", "7"
    )
    assert "stage1: 35,072 parameters train, 2 steps" in output
    manifest = check_bundle(out)
    assert (manifest.name, manifest.version) == ("ward", "7")
    assert (manifest.template, manifest.templates) == ("context", ("none",))
    assert [len(adapter["targets"]) > 0 for adapter in manifest.adapters] == [True, True]
    assert list(manifest.training["stages"]) == ["stage1", "stage1+stage2"]
    # The limits of the base hold for this bundle too.
    assert manifest.demonstration
    assert any(name.startswith("finding_f1_micro") for name in manifest.scores)
    # Longer targets than 60 tokens are cut; the log, its rows and the card count them.
    cut = read_log(tmp_path / "made.training" / "stage1")[-1]["cut"]
    assert 0 < cut <= 8
    count = f"{cut} of 8 longer than 60 tokens"
    assert manifest.training["stages"]["stage1"]["targets_cut"] == count
    assert f"{cut} of 8 targets were longer than 60 tokens and were cut at their end" in output
    card = (out / "card.md").read_text()
    for arguments in (
        "ward 7",
        count,
        "phantoms, 12 examples",
        "must not be used on patients",
        "bleu_4",
    ):
        assert arguments in card
    assert {"card.md", "losses.png"} <= set(manifest.files)
    settings = tmp_path / "made.training" / "config.toml"
    assert f"its settings: {settings}" in output
    # Query and value have learnt, the key is frozen, and the parameters have their published names.
    before, _ = load_bundle("demo", torch.device("cpu"))
    after, _ = load_bundle(out, torch.device("cpu"))
    before_weights, after_weights = (
        dict(model.network.named_parameters()) for model in (before, after)
    )
    assert list(before_weights) == list(after_weights)
    width = before.config.vision_config.hidden_size
    fused = "vision_model.encoder.layers.0.self_attn.qkv.weight"
    changed = (
        (before_weights[fused] != after_weights[fused]).reshape(3, width, -1).any(dim=2).any(dim=1)
    )
    assert changed.tolist() == [True, False, True]
    draft = next(Reporter.load(out, device="cpu").draft([phantom(HELD_OUT).case(112)]))
    assert isinstance(draft, DraftText)
    # The prepared corpus may hold patients' data, so it is removed.
    assert not list((tmp_path / "made.training").glob("shelf*"))
    assert len(read_log(tmp_path / "made.training" / "stage1")) == 2
    with pytest.raises(BundleError, match="--replace"):
        run_command("stage1", *QUICK, "--out", str(out))


@pytest.mark.parametrize(
    ("stages", "prompt", "drop_priors", "templates"),
    [
        ((STAGE1,), "context", 0.25, ("none",)),
        ((STAGE1, STAGE2), "context", 0.25, ("context", "none")),
        ((STAGE1, STAGE2), "predicted", 0.25, ("predicted", "none")),
        ((STAGE1, STAGE2), "oracle_iu", 0.25, ("none", "oracle_iu")),
        # Stage 1 saw the bare instruction, and stage 2 never did.
        ((STAGE1, STAGE2), "context", 0.0, ("context",)),
        ((STAGE2, STAGE1), "context", 0.25, ("none",)),
    ],
)
def test_a_bundle_has_the_templates_of_its_last_stage(
    stages: tuple[Stage, ...],
    prompt: str,
    drop_priors: float,
    templates: tuple[str, ...],
    tmp_path: Path,
) -> None:
    options = CorpusOptions()
    pipeline = Pipeline(
        "demo",
        open_corpus("phantoms", options),
        options,
        tmp_path,
        TrainingConfig(steps=1),
        SampleTransform((prompt,), drop_priors=drop_priors),
    )
    assert pipeline.templates(stages) == templates


def stop_in_stage_2(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin both stages, and stop after the first."""
    plain = Run.train

    def stopping(self: Run, **options: Any) -> Any:
        if self.stage.name == "stage2":
            raise TrainingStopped("stopped")
        return plain(self, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "train", stopping)
        with pytest.raises(TrainingStopped):
            run_command("both", *QUICK, "--out", str(out))


def test_a_stopped_training_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "made"
    stop_in_stage_2(out, monkeypatch)
    assert not out.exists()
    with pytest.raises(NotAllowed, match="--resume resumes it"):
        run_command("both", *QUICK, "--out", str(out))
    with pytest.raises(
        NotAllowed, match=r"stage1 was trained with other settings \(stage.lora.rank was 16"
    ):
        run_command("both", *QUICK, "--out", str(out), "--resume", "--lora-rank", "4")
    output = run_command("both", *QUICK, "--out", str(out), "--resume")
    # Stage 1 was finished before.
    assert "stage1:" not in output
    assert "stage2: loss" in output
    assert read_manifest(out).training["stages"]["stage1"]["steps"] == 2


def test_killed_on_a_corpus_in_a_folder_and_resumed_by_another_process(tmp_path: Path) -> None:
    """The process that resumes reads the corpus again, and scores on the same test split."""
    folder, out = collection(tmp_path / "iu"), tmp_path / "made"
    arguments = [
        "both", *QUICK, "--corpus", f"iu_xray:{folder}", "--split", "patients", "--seed", "3",
        "--limit", "0", "--steps", "30", "--save-every", "1", "--out", str(out),
    ]  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-m", "nightdraft", "train", *arguments],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        stage2 = tmp_path / "made.training" / "stage1+stage2"
        eventually(lambda: list_checkpoints(stage2) or running.poll() is not None, 120)
    finally:
        running.kill()
        running.wait()
    assert list_checkpoints(stage2)
    assert not out.exists()
    output = run_command(*arguments, "--resume")
    assert "stage1:" not in output
    assert "stage2: loss" in output
    assert [row["step"] for row in read_log(stage2)] == list(range(1, 31))
    with pytest.raises(
        CorpusError, match="was trained on iu_xray with the split 'patients' and the"
    ):
        evaluate_command(str(out), f"iu_xray:{folder}", seed=4, device="cpu")
    figures = tmp_path / "figures.json"
    evaluate_command(
        str(out), f"iu_xray:{folder}", modes=["context"], normalisation=["lower"], device="cpu",
        json=figures,
    )  # fmt: skip
    training_keys = {
        study.key for study in open_corpus(f"iu_xray:{folder}", PATIENTS_3).read(TRAIN)
    }
    test_keys = {study.key for study in open_corpus(f"iu_xray:{folder}", PATIENTS_3).read(TEST)}
    assert training_keys
    assert test_keys
    assert not training_keys & test_keys
    assert json.loads(figures.read_text())["studies"] == len(test_keys)


PATIENTS_3 = CorpusOptions(split="patients", seed=3)


def collection(folder: Path) -> Path:
    """Phantoms in the files of Kaggle's IU X-ray."""
    folder.mkdir()
    reports: list[list[object]] = []
    images: list[list[object]] = []
    for uid in range(1, 25):
        study = phantom(uid)
        reports.append(
            [uid, "", "", "", study.indication, "", study.findings_text, study.impression]
        )
        name = f"{uid}_IM-{uid:04d}-1001.dcm.png"
        images.append([uid, name, "Frontal"])
        Image.fromarray(study.render("frontal", 112)).save(folder / name)
    names = ["uid", "MeSH", "Problems", "image", "indication", "comparison"]
    for file, rows in (
        ("indiana_reports.csv", [[*names, "findings", "impression"], *reports]),
        ("indiana_projections.csv", [["uid", "filename", "projection"], *images]),
    ):
        with (folder / file).open("w", newline="") as opened:
            csv.writer(opened).writerows(rows)
    return folder


def test_stage_1_alone_is_served_with_the_bare_instruction(tmp_path: Path) -> None:
    out = tmp_path / "made"
    run_command("stage1", *QUICK, "--out", str(out))
    assert (read_manifest(out).template, read_manifest(out).templates) == ("none", ())


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (["--limit", "0"], SettingsError, r"has no end: say how many studies \(--limit\)"),
        (["--corpus", "nowhere"], CorpusError, "there is no corpus 'nowhere'"),
        (["--prompt", "oracle_iu"], CorpusError, "has nothing for the template 'oracle_iu'"),
        (["--prompt", "oracel_iu"], TemplateError, "there is no template 'oracel_iu'"),
        (
            ["--prompt", "predicted"],
            TemplateError,
            "nothing fills the template 'predicted': give --predicted-by a bundle",
        ),
        (["--predicted-by", "demo"], SettingsError, "or ask for --prompt predicted"),
        (
            ["--prompt", "predicted", "--predicted-by", "nowhere"],
            BundleError,
            "there is no bundle at nowhere",
        ),
        (
            ["--prompt", "predicted", "--predicted-by", "demo", "--no-finding-head"],
            SettingsError,
            "leave --no-finding-head out",
        ),
        (["--device", "cuda:9"], DeviceError, "no device 'cuda:9'"),
    ],
)
def test_what_cannot_be_trained_says_why_and_leaves_nothing(
    arguments: list[str], error: type[Exception], match: str, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    with pytest.raises(error, match=match):
        run_command("both", *QUICK, "--out", str(out), *arguments)
    assert not out.exists()
    assert not list(tmp_path.rglob("stage1"))  # it is found before anything trains


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "results"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for recipe in (["both", *QUICK], ["phantoms", "--studies", "8", "--device", "cpu"]):
        with pytest.raises(BundleError, match="is not a bundle: name another folder"):
            run_command(*recipe, "--out", str(out), "--replace")
    assert [path.name for path in tmp_path.rglob("*")] == ["results", "thesis.txt"]


def test_prompts_may_change_when_the_stage_that_is_done_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made"
    stop_in_stage_2(out, monkeypatch)
    output = run_command("both", *QUICK, "--out", str(out), "--resume", "--prior-dropout", "0")
    assert "stage1:" not in output


def test_the_base_is_not_changed(tmp_path: Path) -> None:
    before = read_manifest("demo").digest
    run_command("stage1", *QUICK, "--out", str(tmp_path / "made"))
    assert check_bundle(resolve("demo")).digest == before


def test_the_saved_settings_repeat_the_training(tmp_path: Path) -> None:
    run_command("stage1", *QUICK, "--out", str(tmp_path / "made"), "--lora-rank", "2")
    settings = tmp_path / "made.training" / "config.toml"
    options = ["--config", str(settings), "--out", str(tmp_path / "again"), "--device", "cpu"]
    run_command("stage1", *options)
    first, second = (
        read_log(tmp_path / f"{name}.training" / "stage1") for name in ("made", "again")
    )
    assert [row["loss"] for row in second] == [row["loss"] for row in first]
    model = "model.safetensors"
    first_weights, second_weights = (
        read_manifest(tmp_path / name).files[model] for name in ("made", "again")
    )
    assert first_weights == second_weights


def test_a_refused_resume_leaves_the_saved_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made"
    stop_in_stage_2(out, monkeypatch)
    settings = tmp_path / "made.training" / "config.toml"
    before = settings.read_text()
    with pytest.raises(NotAllowed):
        run_command("both", *QUICK, "--out", str(out), "--resume", "--lora-rank", "4")
    assert settings.read_text() == before


def test_the_card_says_which_step_was_taken_and_that_training_ended_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = {1: 3.0, 2: 1.0, 3: 2.0, 4: 1.5}
    monkeypatch.setattr(Run, "validate", lambda self: scripted[self.counts.step])
    output = run_command(
        "stage1", *QUICK, "--out", str(tmp_path / "made"), "--steps", "9", "--validate-every", "1",
        "--early-stopping-patience", "2", "--no-finding-head",
    )  # fmt: skip
    assert "1.0000 on the validation examples; the weights of step 2 of 4 are taken" in output
    assert "stopped early, before 9 steps, because 2 validations gave no lower loss" in output
    record = read_manifest(tmp_path / "made").training["stages"]["stage1"]
    assert (record["steps"], record["step_taken"], record["steps_planned"]) == (4, 2, 9)
    assert record["validation"] == 1.0
    card = (tmp_path / "made" / "card.md").read_text()
    for words in ("step_taken 2", "steps_planned 9", "early_stopping_patience 2"):
        assert words in card
    assert read_log(tmp_path / "made.training" / "stage1")[-1]["best_step"] == 2


def test_the_best_checkpoint_needs_patients_who_are_held_out(tmp_path: Path) -> None:
    folder = collection(tmp_path / "iu")
    arguments = [
        "stage1", *QUICK, "--corpus", f"iu_xray:{folder}", "--split", "patients",
        "--out", str(tmp_path / "made"), "--best-checkpoint",
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="give --validation-share a share of the patients"):
        run_command(*arguments)
    with pytest.raises(CorpusError, match="give --validation-share a larger share"):
        run_command(*arguments, "--validation-share", "0.0001")
    assert not (tmp_path / "made").exists()


def test_a_best_checkpoint_is_looked_for_ten_times_by_default(tmp_path: Path) -> None:
    def config(**options: Any) -> TrainingConfig:
        options = {"best_checkpoint": True, **options}
        pipeline = Pipeline(
            "demo",
            open_corpus("phantoms", CorpusOptions()),
            CorpusOptions(),
            tmp_path,
            TrainingConfig(steps=0, batch=2, accumulation=2, **options),
            SampleTransform(),
        )
        return pipeline.config_for(400)

    assert (config().steps, config().validate_every) == (500, 50)
    assert config(validate_every=7).validate_every == 7
    assert config(best_checkpoint=False).validate_every == 0
