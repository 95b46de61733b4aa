"""`train --dry-run`: what it says, that it is true, and that it leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from nightdraft.cli.train import train
from records.errors import SettingsError
from tests.integration.training.finetuning.test_pipeline import collection
from training.corpus.example import SPLITS, CorpusOptions, Example
from training.corpus.registry import open_corpus
from training.estimates import dry_run
from training.estimates.machine import DeviceMemory
from training.finetuning.pipeline import Pipeline
from training.finetuning.stages import Stage
from training.memory import gpu_fit
from training.memory.plan import MemoryPlan, MemorySettings, plan_memory

QUICK = [
    "--base", "demo", "--epochs", "1", "--batch-size", "2",
    "--gradient-accumulation-steps", "2", "--max-target-tokens", "60", "--precision", "float32",
    "--device", "cpu", "--score", "0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def plan_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan each stage once for all tests of this module: it takes seconds."""

    def plan(stage: Stage, config: Any, settings: MemorySettings, **options: Any) -> MemoryPlan:
        key = (stage, settings, *options.values())
        if key not in PLANS:
            PLANS[key] = plan_memory(stage, config, settings, **options)
        return PLANS[key]

    monkeypatch.setattr(gpu_fit, "plan_memory", plan)


PLANS: dict[Any, MemoryPlan] = {}


def run_command(command: str, *arguments: str) -> Result:
    result = CliRunner().invoke(train, [command, *QUICK, *arguments])
    if result.exception is not None:
        raise result.exception
    return result


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in (folder, *folder.rglob("*"))
    }


def bytes_of(*folders: Path) -> int:
    return sum(p.stat().st_size for folder in folders for p in folder.rglob("*") if p.is_file())


@pytest.mark.slow
def test_it_says_what_the_training_then_takes_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.chdir(tmp_path)
    folder, out = collection(tmp_path / "iu"), tmp_path / "made"
    (folder / "5_IM-0005-1001.dcm.png").write_bytes(b"no film")
    arguments = [
        "--corpus", f"iu_xray:{folder}", "--split", "patients", "--validation-share", "0.2",
        "--out", str(out),
    ]  # fmt: skip
    before = contents(tmp_path)
    said = json.loads(run_command("both", *arguments, "--dry-run", "--json").stdout)
    assert contents(tmp_path) == before
    read = open_corpus(f"iu_xray:{folder}", CorpusOptions(split="patients", validate=0.2)).read()
    splits = [study.split for study in read if isinstance(study, Example)]
    assert said["examples"] == {s: splits.count(s) for s in SPLITS if splits.count(s)}
    examples = said["examples"]["train"]
    for stage in said["stages"]:
        assert (stage["examples"], stage["examples_per_step"]) == (examples, 4)
        assert stage["validation_examples"] == said["examples"]["validate"] > 0
        assert stage["steps"] == round(examples / 4)
        assert len(stage["step_seconds"]) == 10
        hours, times = stage["hours"], stage["step_seconds"]
        assert hours["fastest"] <= hours["expected"] <= hours["slowest"]
        assert hours["fastest"] >= stage["steps"] * min(times) / 3600
    assert said["memory"]["kind"] == "RAM"
    assert said["fits"]
    assert said["measured_memory_bytes"] > 50e6
    # What the training then leaves on the disk is what was said.
    run_command("both", *arguments, "--no-finding-head")
    work = tmp_path / "made.training"
    adapters = bytes_of(*work.glob("*/adapter"))
    assert said["disk"]["adapters_bytes"] == pytest.approx(adapters, rel=0.1)
    weights = sum(path.stat().st_size for path in out.glob("model*.safetensors"))
    assert said["disk"]["bundle_bytes"] == pytest.approx(weights, rel=0.02)


def test_a_person_reads_ram_and_that_hours_are_an_estimate(tmp_path: Path) -> None:
    text = run_command(
        "stage1", "--corpus", "phantoms:ward", "--limit", "40", "--out", str(tmp_path / "made"),
        "--dry-run",
    ).stdout  # fmt: skip
    assert "40 examples, 1,000 held out; 10 steps of 4 examples" in text
    assert "10 steps were timed, of " in text
    assert "an estimate, without finding head" in text
    assert "GB of free RAM as it is set" in text
    assert " of RAM at most" in text
    assert "card" not in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["RAM", "GPU memory"])
def test_what_does_not_fit_is_not_tried(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was loaded")

    memory = DeviceMemory(kind, 600_000_000, 500_000_000)
    monkeypatch.setattr(dry_run, "device_memory", lambda _: memory)
    monkeypatch.setattr(dry_run, "free_disk", lambda _: 1_000)
    monkeypatch.setattr(Pipeline, "network", refuse)
    arguments = ["--corpus", "phantoms:ward", "--limit", "40", "--out", str(tmp_path / "made")]
    text = run_command("stage1", *arguments, "--dry-run").stdout
    assert f"does not fit in 500 MB of free {kind}" in text
    assert f"of {kind} at most, 500 MB of 600 MB free: it does not fit" in text
    assert "steps are timed only where the memory is enough" in text
    assert "0 MB free at" in text
    assert "card" not in text
    said = json.loads(run_command("stage1", *arguments, "--dry-run", "--json").stdout)
    assert (said["fits"], said["memory_fits"], said["disk_fits"]) == (False, False, False)
    assert (said["hours"], said["stages"][0]["hours"]) == (None, None)


def test_json_is_for_a_dry_run_alone(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--json is for --dry-run"):
        run_command("stage1", "--corpus", "phantoms", "--out", str(tmp_path / "made"), "--json")


def test_standard_output_is_json_alone(tmp_path: Path) -> None:
    result = run_command(
        "stage1", "--corpus", "phantoms:ward", "--limit", "4", "--rate-lora", "1e-3",
        "--out", str(tmp_path / "made"), "--dry-run", "--json",
    )  # fmt: skip
    assert json.loads(result.stdout)["examples"]["train"] == 4
    assert "--rate-lora is an old name of --learning-rate-lora" in result.stderr
    assert "counting the examples of phantoms" in result.stderr
    assert not list(tmp_path.iterdir())
