"""The measurement of drafting: what it counts, and that all ways do the same work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from model.bench.__main__ import BenchOptions, main, run
from model.bench.roofline import Part, Rates, operations_bound, parts_of, studies_bound
from model.bench.workload import REPORT_LENGTHS, make_workload
from model.errors import ModelError
from model.network.sizes import build_random, config_of

CPU = torch.device("cpu")


def test_the_published_models_operations() -> None:
    """Two views, 114 positions read, 100 tokens written; by hand 1,686 GFLOP a study."""
    parts = {part.name: part for part in parts_of(config_of("full"), 2, 50, 114, 100, 2)}
    gflop = {name: part.operations / 1e9 for name, part in parts.items()}
    assert gflop["ViT"] == pytest.approx(1_042, rel=0.005)
    assert gflop["T5 encoder"] == pytest.approx(267, rel=0.005)
    assert gflop["cross keys and values"] == pytest.approx(46, rel=0.01)
    assert gflop["T5 decoder"] + gflop["head"] == pytest.approx(288, rel=0.02)
    assert sum(gflop.values()) == pytest.approx(1_686, rel=0.01)
    # Weights of a step in float16, `wo` in float32: 3.35 GB with the head.
    step = parts["T5 decoder"].weights + parts["head"].weights
    assert step / 1e9 == pytest.approx(3.35, rel=0.06)


def test_the_bound_is_the_larger_of_operations_and_bytes() -> None:
    rates = Rates(operations=100.0, bytes=10.0)
    heavy = Part("heavy", operations=200.0, weights=1.0, moved=0.0)
    moved = Part("moved", operations=1.0, weights=40.0, moved=10.0)
    assert heavy.seconds(rates, 1) == 2.0
    assert moved.seconds(rates, 1) == 5.0
    assert moved.seconds(rates, 4) == 2.0
    assert studies_bound([heavy, moved], rates, 4) == 0.25
    assert operations_bound([heavy, moved], rates) == pytest.approx(100 / 201)


def test_lengths_spread_as_in_life() -> None:
    model = build_random("tiny")
    workload = make_workload(model, 50)
    lengths = sorted(workload.lengths.values())
    assert lengths[0] >= REPORT_LENGTHS[0]
    assert lengths[-1] <= REPORT_LENGTHS[-1]
    assert lengths[25] == pytest.approx(REPORT_LENGTHS[5], abs=2)
    assert {len(case.views) for case, _ in workload.cases} == {2}
    few = workload.sample(5)
    assert few.tokens / 5 == pytest.approx(workload.tokens / 50, rel=0.1)
    assert [case.key for case, _ in workload.first(3).cases] == ["0", "1", "2"]


def test_all_ways_are_measured_side_by_side(tmp_path: Path) -> None:
    assert (
        main(
            [
                "--size",
                "tiny",
                "--quick",
                "--int8",
                "--json",
                str(tmp_path / "m"),
                "--plot",
                str(tmp_path / "p.png"),
            ]
        )
        == 0
    )
    measured = json.loads((tmp_path / "m").read_text())
    for key in ("ratio_total", "ratio_decode", "ratio_static", "ratio_int8", "roofline_share"):
        assert measured[key] > 0
    ways = {way["way"]: way for way in measured["ways"]}
    assert set(ways) == {"one at a time", "static batch", "engine", "engine, int8"}
    assert ways["one at a time"]["busy"] == 1.0
    assert all(0 < way["busy"] <= 1 for way in measured["ways"])
    assert ways["engine"]["studies"] == measured["studies"] == 12
    assert measured["profile"]["top"]
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width == 1000
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10


def test_what_is_not_known_is_said() -> None:
    with pytest.raises(ModelError, match="no size 'huge'"):
        run(BenchOptions(size="huge", device="cpu"), lambda _: None)
    with pytest.raises(ModelError, match="number format"):
        run(BenchOptions(size="tiny", device="cpu", dtype="int3"), lambda _: None)


def test_an_unknown_bundle_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", "/nowhere", "--device", "cpu"]) == 1
    assert "no bundle at /nowhere" in capsys.readouterr().err
