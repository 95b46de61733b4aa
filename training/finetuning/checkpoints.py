"""Writes and reads the checkpoints of a run.

A checkpoint is a folder that gets its name only after all of it is on the disk, so there is never
half of one. An older checkpoint is removed after a newer one is whole. Nothing is unpickled.

<run>/checkpoint-000200/weights.safetensors   the parameters that train
<run>/checkpoint-000200/best.safetensors      the same of the best step so far, if one is chosen
<run>/checkpoint-000200/state.pt              optimizer, loss scaler, counts, identity of the run
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from model.bundling.store import fsync, fsync_tree
from records.errors import DiskFull, TrainingStopped

IDENTITY_FILE = "identity.json"
"""The identity of a finished stage, beside its adapter."""
_NAME = re.compile(r"checkpoint-(\d{6,})")
BEST_FILE = "best.safetensors"
KEPT_CHECKPOINTS = 2
"""Checkpoints that stay: the newest and the one before it."""


def save(
    run: Path,
    step: int,
    weights: Mapping[str, torch.Tensor],
    state: dict[str, Any],
    best: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Write the checkpoint of a step, then remove those that are too old.

    Args:
        run: The run's folder.
        step: Steps that were done.
        weights: What trains, by name.
        state: All else that the run goes on from.
        best: The weights of the best step so far, on the CPU; None or none where none is chosen.

    Raises:
        DiskFull: There is no room. Earlier checkpoints are still there.
    """
    final = run / f"checkpoint-{step:06d}"
    fresh = run / "checkpoint.new"
    shutil.rmtree(fresh, ignore_errors=True)
    with reporting_full_disk(fresh, "a checkpoint"):
        fresh.mkdir(parents=True)
        on_cpu = {name: w.detach().to("cpu").contiguous() for name, w in weights.items()}
        save_file(on_cpu, fresh / "weights.safetensors")
        if best:
            save_file(dict(best), fresh / BEST_FILE)
        torch.save(state, fresh / "state.pt")
        publish_folder(fresh, final)
    for old in list_checkpoints(run)[:-KEPT_CHECKPOINTS]:
        shutil.rmtree(old)
    return final


@contextmanager
def reporting_full_disk(folder: Path, content: str) -> Iterator[None]:
    """A block that writes a folder; if the block fails, the folder is removed.

    Raises:
        DiskFull: The disk is full. The message names the `content`.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if _is_full_disk(error):
            raise DiskFull(
                f"no room for {content} at {folder.parent}: make room on that disk"
            ) from error
        raise


def publish_folder(fresh: Path, final: Path) -> None:
    """Give a folder its final name after all of it is on the disk: a power cut halves nothing."""
    fsync_tree(fresh)
    shutil.rmtree(final, ignore_errors=True)
    fresh.rename(final)
    fsync(final.parent)


def list_checkpoints(run: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    folders = [path for path in run.glob("checkpoint-*") if _NAME.fullmatch(path.name)]
    return sorted(folders, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The number of steps that were done when the checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def load(checkpoint: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights and the state of a checkpoint, on the CPU.

    Raises:
        TrainingStopped: The checkpoint cannot be read.
    """
    try:
        state = torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True)
        return load_file(checkpoint / "weights.safetensors"), state
    except Exception as error:  # the libraries raise many types on a damaged file
        raise _unreadable(checkpoint) from error


def load_best(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The weights of the best step that a checkpoint has, on the CPU; none before a validation.

    Raises:
        TrainingStopped: They cannot be read.
    """
    path = checkpoint / BEST_FILE
    try:
        return load_file(path) if path.exists() else {}
    except (OSError, SafetensorError) as error:
        raise _unreadable(checkpoint) from error


def saved_identity(work_folder: Path) -> dict[str, Any] | None:
    """The identity of a stage that is finished or has a checkpoint in this folder; None without."""
    for path in sorted(work_folder.glob(f"*/{IDENTITY_FILE}")):
        identity: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return identity
    for run in sorted(work_folder.glob("*")):
        for checkpoint in reversed(list_checkpoints(run)):
            saved: dict[str, Any] = load(checkpoint)[1]["identity"]
            return saved
    return None


def remove_all(run: Path) -> None:
    """Remove all checkpoints of a run."""
    for path in list_checkpoints(run):
        shutil.rmtree(path)


def _unreadable(checkpoint: Path) -> TrainingStopped:
    return TrainingStopped(
        f"{checkpoint} cannot be read: remove that folder, the run goes on from the one before"
    )


def _is_full_disk(error: BaseException | None) -> bool:
    """Whether a full disk caused the error; C++ libraries say so only in the message."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if re.search(r"no space left|enospc|file write failed|unexpected pos", str(error), re.I):
            return True
        error = error.__cause__ or error.__context__
    return False
