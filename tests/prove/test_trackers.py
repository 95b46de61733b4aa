"""Weights & Biases and MLflow get numbers alone, and reach for no network.

They are no dependencies, so `make prove-extras` installs them first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import wandb  # noqa: F401  it is missed here, and not in the middle of a test

from records.errors import TrainingStopped
from tests.integration.training.finetuning.test_loop import run
from tests.integration.training.finetuning.test_trackers import (
    SHORT,
    connections,  # noqa: F401  a fixture
    holds_no_word,
    stage_folder,
)
from training.finetuning.loop import Run
from training.finetuning.metric_logging import read_log


def stop_after(step: int) -> Callable[[int], None]:
    def on_step(done: int) -> None:
        if done == step:
            raise TrainingStopped("stopped")

    return on_step


@pytest.mark.filterwarnings("default")
def test_mlflow_writes_files_and_goes_on_in_the_same_run(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = request.getfixturevalue("connections")
    folder = stage_folder(tmp_path)
    # Neither variables of another project nor a server that they name are used.
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")

    def trained(**options: Any) -> Run:
        return run(folder, config=SHORT, trackers=("mlflow",), **options)

    with pytest.raises(TrainingStopped):
        trained(on_step=stop_after(3)).train()
    trained().train(resume=True)
    store = folder.parent / "mlruns"
    client = mlflow.MlflowClient(tracking_uri=store.as_uri())
    experiment = client.get_experiment_by_name("nightdraft")
    (kept,) = client.search_runs([experiment.experiment_id])
    losses = {m.step: m.value for m in client.get_metric_history(kept.info.run_id, "loss")}
    assert losses == pytest.approx({row["step"]: row["loss"] for row in read_log(folder)})
    assert (kept.info.run_name, kept.info.status) == ("stage2", "FINISHED")
    assert kept.data.params["precision"] == "float32"
    assert "rate/T5 query and value" in kept.data.metrics
    assert holds_no_word(store)
    assert not reached


@pytest.mark.filterwarnings("default")
def test_wandb_writes_an_offline_run(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = request.getfixturevalue("connections")
    monkeypatch.setenv("WANDB_MODE", "online")  # a variable of the user does not take it to the net
    folder = stage_folder(tmp_path)
    run(folder, config=SHORT, trackers=("wandb", "tensorboard")).train()
    (offline,) = (folder.parent / "wandb").glob("offline-run-*")
    (kept,) = offline.glob("run-*.wandb")
    written = kept.read_bytes()
    assert b"rate/T5 query and value" in written
    assert b"precision" in written
    assert holds_no_word(folder.parent / "wandb")
    assert (folder / "tensorboard").exists()
    assert not reached
