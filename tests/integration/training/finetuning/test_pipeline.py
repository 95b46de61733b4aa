"""A base bundle and a corpus in, a bundle out: both stages by the command, stopped and taken up."""

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
from training.finetuning.checkpoints import list_checkpoints
from training.finetuning.loop import Run
from training.finetuning.metric_logging import read_log

QUICK = [
    "--base", "demo", "--corpus", "phantoms:ward", "--limit", "12", "--steps", "2", "--batch", "2",
    "--accumulation", "2", "--most-target", "60", "--precision", "float32", "--device", "cpu",
    "--score", "0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def command(*words: str) -> str:
    done = CliRunner().invoke(train, list(words))
    if done.exception is not None:
        raise done.exception
    return done.output


def test_both_stages_end_in_a_bundle_with_its_card(tmp_path: Path) -> None:
    out = tmp_path / "made"
    said = command(
        "both", *QUICK, "--score", "4", "--out", str(out), "--name", "ward", "--version", "7"
    )
    assert "stage1: 35,072 parameters train, 2 steps" in said
    manifest = check_bundle(out)
    assert (manifest.name, manifest.version) == ("ward", "7")
    assert (manifest.template, manifest.templates) == ("context", ("none",))
    assert [len(adapter["targets"]) > 0 for adapter in manifest.adapters] == [True, True]
    assert list(manifest.training["stages"]) == ["stage1", "stage1+stage2"]
    # What the base was not to be used for, this is not either.
    assert manifest.demonstration
    assert any(name.startswith("finding_f1_micro") for name in manifest.scores)
    card = (out / "card.md").read_text()
    for words in ("ward 7", "phantoms, 12 examples", "must not be used on patients", "bleu_4"):
        assert words in card
    assert {"card.md", "losses.png"} <= set(manifest.files)
    # Something was learnt, the key projection was not, and on disk it is the published network.
    before, _ = load_bundle("demo", torch.device("cpu"))
    after, _ = load_bundle(out, torch.device("cpu"))
    was, now = (dict(model.network.named_parameters()) for model in (before, after))
    assert list(was) == list(now)
    width = before.config.vision_config.hidden_size
    fused = "vision_model.encoder.layers.0.self_attn.qkv.weight"
    moved = (was[fused] != now[fused]).reshape(3, width, -1).any(dim=2).any(dim=1)
    assert moved.tolist() == [True, False, True]
    draft = next(Reporter.load(out, device="cpu").draft([phantom(HELD_OUT).case(112)]))
    assert isinstance(draft, DraftText)
    # The prepared corpus may be patients': it is gone.
    assert not list((tmp_path / "made.training").glob("shelf*"))
    assert len(read_log(tmp_path / "made.training" / "stage1")) == 2
    with pytest.raises(BundleError, match="--replace"):
        command("stage1", *QUICK, "--out", str(out))


def stop_in_stage_2(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both stages are asked for, and stop when the first is done."""
    plain = Run.train

    def stopping(self: Run, **how: Any) -> Any:
        if self.stage.name == "stage2":
            raise TrainingStopped("stopped as asked")
        return plain(self, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "train", stopping)
        with pytest.raises(TrainingStopped):
            command("both", *QUICK, "--out", str(out))


def test_a_stopped_course_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "made"
    stop_in_stage_2(out, monkeypatch)
    assert not out.exists()
    with pytest.raises(NotAllowed, match="--resume takes it up"):
        command("both", *QUICK, "--out", str(out))
    with pytest.raises(NotAllowed, match=r"stage1 was trained otherwise \(stage.lora.rank was 16"):
        command("both", *QUICK, "--out", str(out), "--resume", "--rank", "4")
    said = command("both", *QUICK, "--out", str(out), "--resume")
    # Stage 1 was done.
    assert "stage1:" not in said
    assert "stage2: loss" in said
    assert read_manifest(out).training["stages"]["stage1"]["steps"] == 2


def test_killed_on_a_corpus_in_a_folder_and_taken_up_by_another_process(tmp_path: Path) -> None:
    """Who takes it up has read the corpus for itself; and it is scored on its own test split."""
    folder, out = collection(tmp_path / "iu"), tmp_path / "made"
    words = [
        "both", *QUICK, "--corpus", f"iu_xray:{folder}", "--split", "patients", "--seed", "3",
        "--limit", "0", "--steps", "30", "--save-every", "1", "--out", str(out),
    ]  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-m", "nightdraft", "train", *words],
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
    said = command(*words, "--resume")
    assert "stage1:" not in said
    assert "stage2: loss" in said
    assert [row["step"] for row in read_log(stage2)] == list(range(1, 31))
    with pytest.raises(CorpusError, match="learnt from iu_xray with the split 'patients' and the"):
        evaluate_command(str(out), f"iu_xray:{folder}", seed=4, device="cpu")
    figures = tmp_path / "figures.json"
    evaluate_command(
        str(out), f"iu_xray:{folder}", modes=["context"], normalisation=["lower"], device="cpu",
        json_=figures,
    )  # fmt: skip
    learnt = {one.key for one in open_corpus(f"iu_xray:{folder}", PATIENTS_3).read(TRAIN)}
    held = {one.key for one in open_corpus(f"iu_xray:{folder}", PATIENTS_3).read(TEST)}
    assert learnt
    assert held
    assert not learnt & held
    assert json.loads(figures.read_text())["studies"] == len(held)


PATIENTS_3 = CorpusOptions(split="patients", seed=3)


def collection(folder: Path) -> Path:
    """Reports and films as Kaggle has IU X-ray, of phantoms."""
    folder.mkdir()
    reports: list[list[object]] = []
    films: list[list[object]] = []
    for uid in range(1, 25):
        one = phantom(uid)
        reports.append([uid, "", "", "", one.indication, "", one.findings_text, one.impression])
        name = f"{uid}_IM-{uid:04d}-1001.dcm.png"
        films.append([uid, name, "Frontal"])
        Image.fromarray(one.render("frontal", 112)).save(folder / name)
    names = ["uid", "MeSH", "Problems", "image", "indication", "comparison"]
    for file, rows in (
        ("indiana_reports.csv", [[*names, "findings", "impression"], *reports]),
        ("indiana_projections.csv", [["uid", "filename", "projection"], *films]),
    ):
        with (folder / file).open("w", newline="") as opened:
            csv.writer(opened).writerows(rows)
    return folder


def test_stage_1_alone_is_served_with_the_bare_instruction(tmp_path: Path) -> None:
    out = tmp_path / "made"
    command("stage1", *QUICK, "--out", str(out))
    assert (read_manifest(out).template, read_manifest(out).templates) == ("none", ())


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        (["--limit", "0"], SettingsError, r"has no end: say how many studies \(--limit\)"),
        (["--corpus", "nowhere"], CorpusError, "there is no corpus 'nowhere'"),
        (["--prompt", "oracle_iu"], CorpusError, "has nothing for the template 'oracle_iu'"),
        (["--prompt", "oracel_iu"], TemplateError, "there is no template 'oracel_iu'"),
        (["--prompt", "predicted"], TemplateError, "nothing fills the template 'predicted'"),
        (["--device", "cuda:9"], DeviceError, "no device 'cuda:9'"),
    ],
)
def test_what_cannot_be_trained_says_why_and_leaves_nothing(
    words: list[str], error: type[Exception], match: str, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    with pytest.raises(error, match=match):
        command("both", *QUICK, "--out", str(out), *words)
    assert not out.exists()
    assert not list(tmp_path.rglob("stage1"))  # it is found before anything is trained


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "results"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for recipe in (["both", *QUICK], ["phantoms", "--studies", "8", "--device", "cpu"]):
        with pytest.raises(BundleError, match="is no bundle: name another folder"):
            command(*recipe, "--out", str(out), "--replace")
    assert [path.name for path in tmp_path.rglob("*")] == ["results", "thesis.txt"]


def test_prompts_may_change_when_the_stage_that_is_done_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made"
    stop_in_stage_2(out, monkeypatch)
    said = command("both", *QUICK, "--out", str(out), "--resume", "--drop-priors", "0")
    assert "stage1:" not in said


def test_the_base_is_not_changed(tmp_path: Path) -> None:
    before = read_manifest("demo").digest
    command("stage1", *QUICK, "--out", str(tmp_path / "made"))
    assert check_bundle(resolve("demo")).digest == before
