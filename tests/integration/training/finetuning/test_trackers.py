"""Trackers by name: what they get, that they stay on this machine, and that none stops a run.

Weights & Biases and MLflow are no dependencies: their tests are in tests/prove/test_trackers.py.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nightdraft.cli.train import train
from records.errors import SettingsError
from tests.integration.training.finetuning.test_loop import CONFIG, EXAMPLES, run
from training.finetuning import trackers
from training.finetuning.metric_logging import read_log
from training.finetuning.trackers import flat_settings, require_trackers

SHORT = replace(CONFIG, steps=4, batch=1, accumulation=1, save_every=2)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that anything in this process tries to reach; sockets of files are no such."""
    reached: list[Any] = []

    def refuse(self: socket.socket, address: Any) -> None:
        reached.append(address)
        raise OSError(errno.ENETUNREACH, "no network in this test")

    plain = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            plain(self, address)
        else:
            refuse(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: refuse(None, arguments))
    return reached


def stage_folder(tmp_path: Path) -> Path:
    return tmp_path / "made.training" / "stage2"


def words() -> Iterator[bytes]:
    """What a tracker must never hold: the words, the patients and the studies of the corpus."""
    for example in EXAMPLES:
        yield example.target[:30].encode()
        yield example.patient.encode()
        yield example.key.encode()
        yield (example.priors.indication or example.target)[:30].encode()


def holds_no_word(folder: Path) -> bool:
    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return bool(written) and not [word for word in words() if word and word in written]


# ---- Names ----


def test_an_unknown_tracker_and_a_missing_package_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert require_trackers(("none",)) == ()
    assert require_trackers(("tensorboard", "none", "tensorboard")) == ("tensorboard",)
    with pytest.raises(SettingsError, match="there is no tracker 'wnb'; there are tensorboard, wa"):
        require_trackers(("wnb",))
    monkeypatch.setattr(trackers, "find_spec", lambda name: name == "tensorboard" or None)
    for name, package in (("wandb", "wandb"), ("mlflow", "mlflow-skinny")):
        arguments = ["stage1", "--base", "demo", "--corpus", "phantoms", "--limit", "4",
                     "--out", str(tmp_path / "made"), "--tracker", "tensorboard",
                     "--tracker", name]  # fmt: skip
        error = CliRunner().invoke(train, arguments).exception
        assert isinstance(error, SettingsError)
        assert f"the tracker {name} needs a package that is not installed: pip install " in str(
            error
        )
        assert f"pip install {package}, or leave --tracker {name} out" in str(error)
        assert not list(tmp_path.iterdir())


def test_settings_for_a_tracker_are_single_values(tmp_path: Path) -> None:
    settings = flat_settings(run(tmp_path, config=SHORT, identity={"base": "digest"}).identity)
    assert (settings["stage"], settings["base"], settings["batch"]) == ("stage2", "digest", 1)
    assert settings["templates"] == '["context"]'
    assert all(isinstance(value, bool | int | float | str) for value in settings.values())


# ---- What they get ----


def test_tensorboard_gets_the_numbers_of_the_log_and_none_writes_nothing(
    tmp_path: Path, connections: list[Any]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path / "shown", config=SHORT, validation=EXAMPLES[:2]).train()
    shown = EventAccumulator(str(tmp_path / "shown" / "tensorboard"))
    shown.Reload()
    rows = read_log(tmp_path / "shown")
    assert [e.value for e in shown.Scalars("loss")] == pytest.approx([r["loss"] for r in rows])
    assert [e.step for e in shown.Scalars("validation")] == [4]
    assert {"norm", "scale", "waited", "cut"} < set(shown.Tags()["scalars"])
    run(tmp_path / "bare", config=SHORT, trackers=()).train()
    assert not (tmp_path / "bare" / "tensorboard").exists()
    assert len(read_log(tmp_path / "bare")) == 4
    assert not connections


class FailingTracker:
    def __init__(self, error: Exception, at: int) -> None:
        self.error, self.at, self.steps = error, at, []

    def log(self, values: dict[str, float], step: int) -> None:
        if step == self.at:
            raise self.error
        self.steps.append(step)

    def finish(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RuntimeError("a report's text"),
            r"the tracker mlflow failed \(RuntimeError\) and gets no",
        ),
        (OSError(errno.ENOSPC, "full"), "no room for the log in"),
    ],
)
def test_a_tracker_that_fails_costs_its_curve_and_no_step(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, lines = FailingTracker(error, 3), []
    monkeypatch.setitem(trackers._OPENERS, "mlflow", lambda *_: failing)
    tried = run(tmp_path, config=SHORT, trackers=("mlflow", "tensorboard"), log=lines.append)
    assert tried.train().counts.step == 4
    assert failing.steps == [1, 2]
    assert len([line for line in lines if re.search(message, line)]) == 1
    assert "a report's text" not in "".join(lines)
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_tracker_that_cannot_be_opened_ends_the_run_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no store")

    monkeypatch.setitem(trackers._OPENERS, "mlflow", broken)
    with pytest.raises(SettingsError, match=r"the tracker mlflow cannot be opened .*no store"):
        run(tmp_path, config=SHORT, trackers=("mlflow",)).train()
    assert not read_log(tmp_path)
