"""A training that was begun and killed under an earlier version resumes under this one.

tests/data/training_before_rename has, for each precision, the folder of a training that was killed
in stage 1 (`stage1`), and what the same training gave when it was not killed (`unbroken`). Version
0.1.0 made both, from a base of random weights that the test makes again: the demonstration bundle
changes with the product.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from model.bundling.store import check_bundle, save_bundle
from model.manifest import NULL, Manifest, read_manifest
from model.network.sizes import build_random
from nightdraft.cli.train import train
from tests.support.paths import ROOT
from training.finetuning.metric_logging import read_log

DATA = ROOT / "tests" / "data" / "training_before_rename"
# The options have the names of that version.
OPTIONS = [
    "--corpus", "phantoms:ward", "--limit", "12", "--steps", "8", "--batch", "2",
    "--accumulation", "2", "--rank", "1", "--most-target", "60", "--device", "cpu", "--score", "0",
    "--save-every", "2", "--seed", "5",
]  # fmt: skip
# On one machine the losses are equal to 1e-6; another one's kernels round otherwise.
TOLERANCE = {"float32": 1e-4, "float16": 5e-3}
WEIGHT_TOLERANCE = 0.05
"""Share of a weight's norm; an optimizer that begins anew is 0.16 away."""


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
    begun = json.loads((DATA / precision / "unbroken" / stages[0] / "identity.json").read_text())
    network, base = build_random("tiny", seed=1), tmp_path / "base"
    save_bundle(base, network, replace(NULL, name="tiny", preprocessing=network.preprocessing))
    # The weights are those of that training; the bundle's digest also covers today's manifest.
    now = read_manifest(base).digest
    digest = Manifest.digest.fget
    assert digest is not None
    monkeypatch.setattr(
        Manifest,
        "digest",
        property(lambda self: begun["base"] if digest(self) == now else digest(self)),
    )
    out, folder = tmp_path / "made", tmp_path / "made.training"
    shutil.copytree(DATA / precision, folder, ignore=shutil.ignore_patterns("unbroken"))
    arguments = [command, "--base", str(base), *OPTIONS, "--precision", precision]
    arguments += ["--out", str(out), "--resume"]
    result = CliRunner().invoke(train, arguments)
    if result.exception is not None:
        raise result.exception
    for stage in stages:
        unbroken = DATA / precision / "unbroken" / stage
        rows, resumed_rows = read_log(unbroken), read_log(folder / stage)
        assert len(rows) == len(resumed_rows) == 8
        assert [row["loss"] for row in resumed_rows] == pytest.approx(
            [row["loss"] for row in rows], abs=TOLERANCE[precision]
        )
        for name in ("step", "rates", "scale", "skipped"):
            assert [row[name] for row in resumed_rows] == [row[name] for row in rows]
        identity = json.loads((folder / stage / "identity.json").read_text())
        assert identity == json.loads((unbroken / "identity.json").read_text())
    # The losses hardly know the optimizer's moments; the weights do.
    unbroken = DATA / precision / "unbroken" / "stage1"
    expected = load_file(unbroken / "adapter_model.safetensors")
    resumed = load_file(folder / "stage1" / "adapter" / "adapter_model.safetensors")
    assert expected.keys() == resumed.keys()
    for name, weight in expected.items():
        assert (resumed[name] - weight).norm() < WEIGHT_TOLERANCE * weight.norm(), name
    # Steps 1 to 4 are those of the killed process: they were not done again.
    assert read_log(folder / "stage1")[:4] == read_log(DATA / precision / "stage1")[:4]
    check_bundle(out)
