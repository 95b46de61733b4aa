"""The loop: the same losses however often it is killed, and an end when losses are not finite."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from model.errors import DeviceError
from model.network.sizes import build_random
from records.errors import DiskFull, NotAllowed, SettingsError, TrainingStopped
from tests.support.paths import ROOT
from training.corpus.example import TRAIN, Example
from training.corpus.phantom_corpus import PhantomCorpus
from training.finetuning import checkpoints, metric_logging, processes
from training.finetuning.batches import SampleTransform
from training.finetuning.config import TrainingConfig
from training.finetuning.loop import Run
from training.finetuning.metric_logging import read_log
from training.finetuning.objectives import Objective
from training.finetuning.processes import process_state
from training.finetuning.stages import STAGE1, STAGE2, Stage

EXAMPLES = list(islice(PhantomCorpus().read(TRAIN), 24))
CONFIG = TrainingConfig(
    steps=8, batch=2, accumulation=2, precision="float32", save_every=3, most_target=40, seed=5
)


def run(
    folder: Path, stage: Stage = STAGE2, config: TrainingConfig = CONFIG, **arguments: Any
) -> Run:
    arguments.setdefault("log", lambda _: None)
    return Run(
        folder,
        build_random("tiny"),
        stage,
        EXAMPLES,
        SampleTransform(),
        config,
        device="cpu",
        **arguments,
    )


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_log(folder)]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.integration.training.finetuning.test_loop import STAGE1, STAGE2, run
folder, stage, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def on_step(step):
    if step == last:
        os.kill(os.getpid(), signal.SIGKILL)
stages = {"stage1": STAGE1, "stage2": STAGE2}
run(folder, stages[stage], on_step=on_step).train(resume=True)
"""


@pytest.mark.parametrize("stage", [STAGE1, STAGE2], ids=lambda stage: stage.name)
def test_a_killed_and_resumed_run_gives_the_losses_of_an_unbroken_one(
    stage: Stage, tmp_path: Path
) -> None:
    run(tmp_path / "unbroken", stage).train()
    # Killed after step 5, it has a checkpoint of step 3 and does two steps again. Then it is killed
    # after step 6, before the checkpoint of that step.
    for last in (5, 6):
        outcome = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "killed"), stage.name, str(last)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
        )
        assert outcome.returncode == -signal.SIGKILL, outcome.stderr.decode()[-2000:]
    resumed = run(tmp_path / "killed", stage)
    resumed.train(resume=True)
    unbroken, killed = losses(tmp_path / "unbroken"), losses(tmp_path / "killed")
    assert len(unbroken) == len(killed) == CONFIG.steps
    # Another process may round the last bits of a float32 sum otherwise; a step that was left out
    # or done twice changes the loss by far more.
    assert killed == pytest.approx(unbroken, rel=1e-6)
    steps = sorted(unbroken)
    assert min(after - before for before, after in pairwise(steps)) > 1e-3
    assert len(set(unbroken)) == CONFIG.steps


def test_a_run_is_resumed_only_with_the_option_and_the_same_settings(tmp_path: Path) -> None:
    def stop(step: int) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingStopped, match=r"after step 5 of 8; .*--resume"):
        # The signal came after step 4; all processes see it in the next step.
        run(tmp_path, on_step=stop).train()
    assert checkpoints.step_of(checkpoints.list_checkpoints(tmp_path)[-1]) == 5
    with pytest.raises(NotAllowed, match=r"stopped after step 5: --resume"):
        run(tmp_path).train()
    other = replace(CONFIG, batch=3)
    with pytest.raises(NotAllowed, match=r"settings.batch was 2, now 3"):
        run(tmp_path, config=other).train(resume=True)
    # The interval of checkpoints may change.
    often = replace(CONFIG, save_every=1)
    assert run(tmp_path, config=often).train(resume=True).counts.step == 8
    assert len(losses(tmp_path)) == 8


def poison(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Make the loss of these steps NaN; step 0 is the first."""
    plain, calls = Objective.forward, iter(range(10_000))

    def forward(self: Objective, batch: Any) -> torch.Tensor:
        loss = plain(self, batch)
        return loss * float("nan") if next(calls) // CONFIG.accumulation in steps else loss

    monkeypatch.setattr(Objective, "forward", forward)


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 2, 3)
    outcome = run(tmp_path).train()
    assert outcome.counts.skipped == 2
    rows = read_log(tmp_path)
    assert [row["skipped"] for row in rows] == [0, 0, 1, 2, 2, 2, 2, 2]
    weights, _ = checkpoints.load(checkpoints.list_checkpoints(tmp_path)[-1])
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_ten_such_steps_in_a_row_end_the_run_and_keep_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, *range(4, 40))
    config = replace(CONFIG, steps=40, save_every=4)
    with pytest.raises(TrainingStopped, match=r"10 steps in a row, up to step 14.*lower the rates"):
        run(tmp_path, config=config).train()
    weights, state = checkpoints.load(checkpoints.list_checkpoints(tmp_path)[-1])
    assert state["counts"]["step"] == 12
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_a_full_disk_stops_nothing_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    save = checkpoints.save

    def sometimes(folder: Path, step: int, *rest: Any) -> Path:
        if step in (6, 8):
            raise DiskFull("no room for a checkpoint")
        return save(folder, step, *rest)

    monkeypatch.setattr(checkpoints, "save", sometimes)
    with pytest.raises(DiskFull):
        run(tmp_path, log=lines.append).train()
    assert [line for line in lines if "last good checkpoint is kept" in line]
    assert checkpoints.step_of(checkpoints.list_checkpoints(tmp_path)[-1]) == 3
    monkeypatch.setattr(checkpoints, "save", save)
    assert run(tmp_path).train(resume=True).counts.step == 8


def test_a_log_without_room_costs_lines_and_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    append, calls = metric_logging.append_line, iter(range(1, 100))

    def sometimes(path: Path, line: str) -> None:
        if next(calls) in (3, 4):
            raise OSError(errno.ENOSPC, "no room")
        append(path, line)

    monkeypatch.setattr(metric_logging, "append_line", sometimes)
    assert run(tmp_path, log=lines.append).train().counts.step == 8
    assert len([line for line in lines if "make room; the run goes on" in line]) == 1
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2, 5, 6, 7, 8]


def test_one_gpu_is_not_for_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="no device 'cuda:3'"):
        process_state("cuda:3")
    monkeypatch.setattr(processes, "choose_device", torch.device)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="cuda:3, and several processes"):
        process_state("cuda:3")


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("stage", [STAGE1, STAGE2], ids=lambda stage: stage.name)
def test_half_precision_learns_the_same(stage: Stage, precision: Any, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=4)
    unbroken = run(tmp_path / "unbroken", stage, config).train()
    half = run(tmp_path / "half", stage, replace(config, precision=precision)).train()
    assert half.counts.skipped == 0
    assert half.loss == pytest.approx(unbroken.loss, rel=0.02)


def test_an_overflow_of_the_scaled_loss_halves_the_scale_and_changes_nothing(
    tmp_path: Path,
) -> None:
    stage = run(tmp_path, config=replace(CONFIG, precision="float16", steps=3))
    before = [weight.detach().clone() for weight in stage.trainable.parameters()]
    scaler = stage.accelerator.scaler
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**60})
    counts = stage.train().counts
    assert (counts.scaled, counts.skipped) == (3, 0)
    assert [row["scale"] for row in read_log(tmp_path)] == [2.0**59, 2.0**58, 2.0**57]
    assert all(map(torch.equal, stage.trainable.parameters(), before))


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """torchrun with two processes of batch 1 is one process of batch 2, without other code."""
    script = tmp_path / "spread.py"
    script.write_text(
        "import sys, torch\n"
        "from pathlib import Path\n"
        "torch.set_num_threads(1)\n"
        "from tests.integration.training.finetuning.test_loop import STAGE2, run, short_config\n"
        "stage = run(Path(sys.argv[1]), STAGE2, short_config(int(sys.argv[2])))\n"
        # Each process drops other units; without dropout they compute the same.
        "for module in stage.objective.modules():\n"
        "    if isinstance(module, torch.nn.Dropout):\n"
        "        module.p = 0.0\n"
        "    elif isinstance(getattr(module, 'dropout', None), float):\n"
        "        module.dropout = 0.0\n"
        "stage.train()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    for start, name, batch in (([sys.executable], "one", 2), (torchrun, "two", 1)):
        outcome = subprocess.run(
            [*start, str(script), str(tmp_path / name), str(batch)],
            cwd=ROOT, env=env, check=False, capture_output=True, timeout=240,
        )  # fmt: skip
        assert outcome.returncode == 0, outcome.stderr.decode()[-3000:]
    single, double = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(double) == 3
    # The mean of two batches' means is near the mean over all tokens, but not equal to it.
    assert double == pytest.approx(single, rel=0.02)


def short_config(batch: int) -> TrainingConfig:
    return replace(CONFIG, steps=3, batch=batch, save_every=0)


def test_what_is_logged_holds_no_word_of_the_corpus(tmp_path: Path) -> None:
    example: Example = EXAMPLES[0]
    run(tmp_path, validation=EXAMPLES[:3]).train()
    rows = read_log(tmp_path)
    assert rows[-1]["validation"] > 0
    assert set(rows[0]) == {
        "step", "loss", "rates", "norm", "scale", "skipped", "studies_per_second", "waited",
        "memory", "validation", "cut",
    }  # fmt: skip
    assert list((tmp_path / "tensorboard").glob("events.*"))
    written_bytes = json.dumps(rows).encode() + b"".join(
        path.read_bytes() for path in (tmp_path / "tensorboard").iterdir()
    )
    assert example.target[:30].encode() not in written_bytes
