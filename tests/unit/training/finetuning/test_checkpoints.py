"""A checkpoint is complete or does not exist, and the last good one is kept."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from records.errors import DiskFull, TrainingStopped
from training.finetuning import checkpoints

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3)}


def test_what_was_saved_is_loaded_and_old_ones_go(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoints.save(tmp_path, step, {"a": WEIGHTS["a"] * step}, {"step": step, "x": [1.5]})
    saved = checkpoints.list_checkpoints(tmp_path)
    assert [checkpoints.step_of(path) for path in saved] == [10, 15]
    weights, state = checkpoints.load(saved[-1])
    assert torch.equal(weights["a"], WEIGHTS["a"] * 15)
    assert state == {"step": 15, "x": [1.5]}
    checkpoints.remove_all(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(tmp_path, 1, WEIGHTS, {"step": 1})

    def full(state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(DiskFull, match="make room"):
        checkpoints.save(tmp_path, 2, WEIGHTS, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001"]
    assert checkpoints.load(checkpoints.list_checkpoints(tmp_path)[-1])[1] == {"step": 1}


def test_a_damaged_checkpoint_says_what_to_do_and_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    path = checkpoints.save(tmp_path, 3, WEIGHTS, {})
    (path / "state.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(TrainingStopped, match="remove that folder"):
        checkpoints.load(path)
    assert not (tmp_path / "ran").exists()
