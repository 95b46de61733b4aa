"""A training that was begun and killed under an earlier version resumes under this one.

tests/data/training_before_rename has, for each precision, the folder of a training that was killed
in stage 1 (`stage1`), and what the same training gave when it was not killed (`unbroken`). Version
0.1.0 made both.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model.bundling.store import check_bundle
from model.manifest import Manifest, read_manifest, resolve
from nightdraft.cli.train import train
from tests.support.paths import ROOT
from training.finetuning.metric_logging import read_log

DATA = ROOT / "tests" / "data" / "training_before_rename"
OPTIONS = [
    "--base", "demo", "--corpus", "phantoms:ward", "--limit", "12", "--steps", "8", "--batch", "2",
    "--accumulation", "2", "--rank", "1", "--most-target", "60", "--device", "cpu", "--score", "0",
    "--save-every", "2", "--seed", "5",
]  # fmt: skip
WEIGHTS = "f1b76c498f5f05c5baa775710517d475c9e6ddd476a01ce4bd5098bc3af82c41"
"""SHA-256 of the demonstration's weights, with which these trainings began."""
# On one machine the losses are equal to 1e-6; another one's kernels round otherwise.
TOLERANCE = {"float32": 1e-4, "float16": 5e-3}


@pytest.mark.parametrize(
    ("precision", "command", "stages"),
    [("float32", "both", ("stage1", "stage1+stage2")), ("float16", "stage1", ("stage1",))],
)
def test_a_training_killed_by_an_earlier_version_gives_the_same_losses(
    precision: str,
    command: str,
    stages: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The demonstration bundle has since got a finding head, which no training reads: the network is
    # the one that the training began with, and only the bundle's digest is another.
    begun = json.loads((DATA / precision / "unbroken" / stages[0] / "identity.json").read_text())
    assert (
        hashlib.sha256((resolve("demo") / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS
    )
    now = read_manifest("demo").digest
    digest = Manifest.digest.fget
    assert digest is not None
    monkeypatch.setattr(
        Manifest,
        "digest",
        property(lambda self: begun["base"] if digest(self) == now else digest(self)),
    )
    out, folder = tmp_path / "made", tmp_path / "made.training"
    shutil.copytree(DATA / precision, folder, ignore=shutil.ignore_patterns("unbroken"))
    arguments = [command, *OPTIONS, "--precision", precision, "--out", str(out), "--resume"]
    result = CliRunner().invoke(train, arguments)
    if result.exception is not None:
        raise result.exception
    for stage in stages:
        unbroken = DATA / precision / "unbroken" / stage
        expected, resumed = read_log(unbroken), read_log(folder / stage)
        assert len(expected) == len(resumed) == 8
        assert [row["loss"] for row in resumed] == pytest.approx(
            [row["loss"] for row in expected], abs=TOLERANCE[precision]
        )
        for name in ("step", "rates", "scale", "skipped"):
            assert [row[name] for row in resumed] == [row[name] for row in expected]
        identity = json.loads((folder / stage / "identity.json").read_text())
        assert identity == json.loads((unbroken / "identity.json").read_text())
    # Steps 1 to 4 are those of the killed process: they were not done again.
    assert read_log(folder / "stage1")[:4] == read_log(DATA / precision / "stage1")[:4]
    check_bundle(out)
