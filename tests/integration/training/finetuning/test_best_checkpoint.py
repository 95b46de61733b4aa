"""The step with the lowest validation loss is taken, also after kills; training may end early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from records.errors import NotAllowed
from tests.integration.training.finetuning.test_loop import CONFIG, EXAMPLES, losses, run
from tests.support.paths import ROOT
from training.finetuning import checkpoints
from training.finetuning.loop import Run
from training.finetuning.metric_logging import read_log

BEST = replace(CONFIG, validate_every=2, best_checkpoint=True)
VALIDATION = {2: 3.0, 4: 1.0, 6: 2.0, 8: 1.5, 10: 0.5}
"""Step -> validation loss; that of step 10 is never reached, or the patience ends before it."""


def script_losses(patch: Any, scripted: dict[int, float] = VALIDATION) -> None:
    """Give validations these losses, so that the best step is not the last one."""
    patch.setattr(Run, "validate", lambda self: scripted[self.counts.step])


def copy_of(trained: Run) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trained.trainable.named_parameters().items()}


def chosen(folder: Path, **options: Any) -> Run:
    return run(folder, config=replace(BEST, **options), validation=EXAMPLES[:3])


def test_the_weights_of_the_best_step_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_losses(monkeypatch)
    by_step: dict[int, dict[str, torch.Tensor]] = {}
    trained = chosen(tmp_path)
    trained.on_step = lambda step: by_step.update({step: copy_of(trained)})
    outcome = trained.train()
    assert (outcome.best_step, outcome.validation, outcome.counts.step) == (4, 1.0, 8)
    taken = copy_of(trained)
    assert all(torch.equal(taken[name], by_step[4][name]) for name in taken)
    assert not all(torch.equal(taken[name], by_step[8][name]) for name in taken)
    assert [row["best_step"] for row in read_log(tmp_path)] == [None, 2, 2, 4, 4, 4, 4, 4]
    # The checkpoint has both: the last weights, to go on from, and the best ones, to take.
    last = checkpoints.list_checkpoints(tmp_path)[-1]
    weights, state = checkpoints.load(last)
    best = checkpoints.load_best(last)
    assert state["best"] == {"step": 4, "loss": 1.0, "unimproved": 2}
    assert all(torch.equal(weights[name], by_step[8][name]) for name in taken)
    assert all(torch.equal(best[name], by_step[4][name]) for name in taken)


def test_without_the_setting_the_last_step_is_taken_and_nothing_else_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_losses(monkeypatch)
    trained = run(tmp_path, config=replace(BEST, best_checkpoint=False), validation=EXAMPLES[:3])
    outcome = trained.train()
    assert (outcome.best_step, outcome.validation) == (None, 1.5)
    last = checkpoints.list_checkpoints(tmp_path)[-1]
    weights, state = checkpoints.load(last)
    assert all(torch.equal(weights[name], p) for name, p in copy_of(trained).items())
    assert set(state) == {"identity", "optimizer", "scaler", "counts"}
    assert {path.name for path in last.iterdir()} == {"weights.safetensors", "state.pt"}
    assert "best_step" not in read_log(tmp_path)[-1]


def test_training_ends_early_and_stays_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_losses(monkeypatch)
    outcome = chosen(tmp_path, steps=20, early_stopping_patience=2).train()
    assert (outcome.best_step, outcome.counts.step) == (4, 8)
    assert len(losses(tmp_path)) == 8
    # Killed before its adapter was written, it is resumed: no further step is done.
    again = chosen(tmp_path, steps=20, early_stopping_patience=2)
    outcome = again.train(resume=True)
    assert (outcome.best_step, outcome.counts.step) == (4, 8)
    best = checkpoints.load_best(checkpoints.list_checkpoints(tmp_path)[-1])
    assert all(torch.equal(best[name], p) for name, p in copy_of(again).items())
    # A lower loss in time begins the count anew: 6 and 8 are no end with a patience of 3.
    outcome = chosen(tmp_path / "patient", steps=10, early_stopping_patience=3).train()
    assert (outcome.best_step, outcome.counts.step) == (10, 10)


def test_losses_that_are_not_finite_are_never_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = float("nan")
    script_losses(monkeypatch, {2: nan, 4: 2.0, 6: nan, 8: nan})
    assert chosen(tmp_path / "some").train().best_step == 4
    script_losses(monkeypatch, dict.fromkeys((2, 4, 6, 8), nan))
    trained = chosen(tmp_path / "none")
    assert trained.train().best_step is None
    weights, _ = checkpoints.load(checkpoints.list_checkpoints(tmp_path / "none")[-1])
    assert all(torch.equal(weights[name], p) for name, p in copy_of(trained).items())


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.integration.training.finetuning import test_best_checkpoint as here
from training.finetuning.loop import Run
Run.validate = lambda self: here.VALIDATION[self.counts.step]
trained = here.chosen(Path(sys.argv[1]))
def on_step(step):
    if step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
trained.on_step = on_step
trained.train(resume=True)
"""


def test_a_killed_and_resumed_run_takes_the_same_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_losses(monkeypatch)
    unbroken = chosen(tmp_path / "unbroken")
    expected = unbroken.train()
    # It is killed after the best step (4), before a checkpoint has it; then after a checkpoint (6)
    # has it, past which the loss only rises.
    for last in (5, 7):
        outcome = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(last)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
        )
        assert outcome.returncode == -signal.SIGKILL, outcome.stderr.decode()[-2000:]
    resumed = chosen(tmp_path / "killed")
    outcome = resumed.train(resume=True)
    assert (outcome.best_step, outcome.validation) == (expected.best_step, expected.validation)
    taken = copy_of(resumed)
    for name, weight in copy_of(unbroken).items():
        torch.testing.assert_close(taken[name], weight, rtol=1e-5, atol=1e-7)
    killed, whole = read_log(tmp_path / "killed"), read_log(tmp_path / "unbroken")
    for name in ("best_step", "validation"):
        assert [row[name] for row in killed] == [row[name] for row in whole]


def test_the_choice_and_its_moments_may_not_change_on_resume(tmp_path: Path) -> None:
    run(tmp_path, config=replace(CONFIG, steps=2), validation=EXAMPLES[:3]).train()
    for options, message in (
        ({"best_checkpoint": True}, r"settings.best_checkpoint was null, now true"),
        ({"best_checkpoint": True, "early_stopping_patience": 2}, "early_stopping_patience was"),
    ):
        other = replace(CONFIG, steps=2, validate_every=1, **options)
        with pytest.raises(NotAllowed, match=message):
            run(tmp_path, config=other, validation=EXAMPLES[:3]).train(resume=True)
    begun = replace(CONFIG, steps=2, best_checkpoint=True, validate_every=1)
    folder = tmp_path / "chosen"
    run(folder, config=begun, validation=EXAMPLES[:3]).train()
    with pytest.raises(NotAllowed, match=r"settings.validate_every was 1, now 2"):
        run(folder, config=replace(begun, validate_every=2), validation=EXAMPLES[:3]).train(
            resume=True
        )
