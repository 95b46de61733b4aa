"""The measurement of drafting: what it counts, and how its numbers follow from each other."""

from __future__ import annotations

import heapq
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageColor

from model.bench.__main__ import QUICK, BenchOptions, main, run
from model.bench.plot import COLOURS, WIDTH
from model.bench.profile import ROUNDS
from model.bench.roofline import Part, Rates, operations_bound, parts_of, studies_bound
from model.bench.workload import REPORT_LENGTHS, Workload, make_workload
from model.errors import ModelError
from model.network.sizes import build_random, config_of

STRATEGY_KEYS = {
    *("way", "together", "studies", "tokens", "seconds", "encode_seconds", "decode_seconds"),
    *("studies_per_second", "tokens_per_second", "decoded_tokens_per_second"),
    *("busy", "peak_mb", "planned_mb"),
}
KEYS = {
    *("bench", "model", "ratio_total", "ratio_decode", "ratio_static", "ratio_int8"),
    *("roofline_share", "best_slots", "best_batch", "ways", "rates", "bounds", "parts", "profile"),
    *("parameters", "device", "dtype", "threads", "studies", "studies_batched", "studies_alone"),
    *("runs", "views", "mean_tokens", "versions"),
}


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


def test_lengths_spread_as_in_real_reports() -> None:
    model = build_random("tiny")
    workload = make_workload(model, 50)
    lengths = sorted(workload.lengths.values())
    assert lengths[0] >= REPORT_LENGTHS[0]
    assert lengths[-1] <= REPORT_LENGTHS[-1]
    assert lengths[25] == pytest.approx(REPORT_LENGTHS[5], abs=2)
    assert {len(case.views) for case, _ in workload.cases} == {2}
    sample = workload.sample(5)
    assert sample.tokens / 5 == pytest.approx(workload.tokens / 50, rel=0.1)
    assert [case.key for case, _ in workload.first(3).cases] == ["0", "1", "2"]


@pytest.fixture(scope="module")
def measurements(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The JSON of a short measurement of all strategies, and the file of its picture."""
    folder = tmp_path_factory.mktemp("bench")
    json_file, plot = folder / "bench.json", folder / "bench.png"
    options = ["--size", "tiny", "--device", "cpu", "--quick", "--int8"]
    assert main([*options, "--json", str(json_file), "--plot", str(plot)]) == 0
    return json.loads(json_file.read_text()), plot


@pytest.fixture(scope="module")
def workload() -> Workload:
    """The studies that the short measurement drafts."""
    return make_workload(build_random("tiny"), QUICK.studies, longest=QUICK.longest)


def strategies_of(measured: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {strategy["way"]: strategy for strategy in measured["ways"]}


def half_unit(decimals: int) -> float:
    """The most by which rounding to so many decimals changes a number."""
    return 0.5 * 10.0**-decimals


def assert_quotient(
    quotient: float, dividend: float, divisor: float, decimals: tuple[int, int, int]
) -> None:
    """The quotient is that of the other two numbers, as far as the rounding of all three allows.

    Args:
        quotient, dividend, divisor: The rounded numbers.
        decimals: The decimals to which each of them is rounded.
    """
    error, dividend_error, divisor_error = map(half_unit, decimals)
    assert divisor > divisor_error
    lower = (dividend - dividend_error) / (divisor + divisor_error)
    upper = (dividend + dividend_error) / (divisor - divisor_error)
    assert lower - error - 1e-9 <= quotient <= upper + error + 1e-9


@pytest.mark.slow
def test_every_strategy_drafts_its_studies_to_their_lengths(
    measurements: tuple[dict[str, Any], Path], workload: Workload
) -> None:
    measured, _ = measurements
    strategies = strategies_of(measured)
    assert len(measured["ways"]) == len(strategies)
    drafted = {
        "one at a time": workload.sample(QUICK.unbatched),
        "static batch": workload.first(QUICK.batched),
        "engine": workload,
        "engine, int8": workload,
    }
    assert {name: (row["studies"], row["tokens"]) for name, row in strategies.items()} == {
        name: (len(part.cases), part.tokens) for name, part in drafted.items()
    }
    assert {name: row["together"] for name, row in strategies.items()} == {
        "one at a time": 1,
        "static batch": QUICK.batches[0],
        "engine": QUICK.slots[0],
        "engine, int8": QUICK.slots[0],
    }
    assert (measured["studies"], measured["studies_batched"], measured["studies_alone"]) == (
        QUICK.studies,
        QUICK.batched,
        QUICK.unbatched,
    )
    assert measured["mean_tokens"] == round(workload.tokens / QUICK.studies, 1)


def test_the_paces_are_counts_by_seconds(measurements: tuple[dict[str, Any], Path]) -> None:
    measured, _ = measurements
    for row in measured["ways"]:
        assert_quotient(row["studies_per_second"], row["studies"], row["seconds"], (4, 9, 3))
        assert_quotient(row["tokens_per_second"], row["tokens"], row["seconds"], (2, 9, 3))
        decode_pace = row["decoded_tokens_per_second"]
        assert_quotient(decode_pace, row["tokens"], row["decode_seconds"], (2, 9, 3))
        # Encoding and decoding are parts of the time; each of the three numbers is rounded.
        parts = row["encode_seconds"] + row["decode_seconds"]
        assert parts <= row["seconds"] + 3 * half_unit(3)


def test_the_busy_share_is_the_part_of_rows_that_wrote_a_token(
    measurements: tuple[dict[str, Any], Path], workload: Workload
) -> None:
    measured, _ = measurements
    strategies = strategies_of(measured)
    assert strategies["one at a time"]["busy"] == 1
    size = QUICK.batches[0]
    batched = workload.first(QUICK.batched)
    lengths = [batched.lengths[case.key] for case, _ in batched.cases]
    batches = [lengths[start : start + size] for start in range(0, len(lengths), size)]
    rows = sum(max(batch) * len(batch) for batch in batches)
    assert strategies["static batch"]["busy"] == round(sum(lengths) / rows, 3)
    # A free slot takes the next study at once, so the steps are those of greedy scheduling.
    slots = QUICK.slots[0]
    ends = [0] * slots
    for case, _ in workload.cases:
        heapq.heappush(ends, heapq.heappop(ends) + workload.lengths[case.key])
    busy = round(workload.tokens / (slots * max(ends)), 3)
    assert strategies["engine"]["busy"] == strategies["engine, int8"]["busy"] == busy


def test_the_ratios_are_those_of_the_numbers_beside_them(
    measurements: tuple[dict[str, Any], Path],
) -> None:
    measured, _ = measurements
    strategies = strategies_of(measured)
    engine, single = strategies["engine"], strategies["one at a time"]
    pace, decode_pace = "studies_per_second", "decoded_tokens_per_second"
    bounds = measured["bounds"]
    for ratio, dividend, divisor, decimals in (
        ("ratio_total", engine[pace], single[pace], (3, 4, 4)),
        ("ratio_decode", engine[decode_pace], single[decode_pace], (3, 2, 2)),
        ("ratio_static", engine[pace], strategies["static batch"][pace], (3, 4, 4)),
        ("ratio_int8", strategies["engine, int8"][pace], engine[pace], (3, 4, 4)),
        ("roofline_share", engine[pace], bounds["operations_studies_per_second"], (4, 4, 4)),
    ):
        assert_quotient(measured[ratio], dividend, divisor, decimals)
    assert measured["best_slots"] == engine["together"]
    assert measured["best_batch"] == strategies["static batch"]["together"]


def test_the_bounds_are_those_of_the_parts(measurements: tuple[dict[str, Any], Path]) -> None:
    measured, _ = measurements
    bounds, parts = measured["bounds"], measured["parts"]
    assert [part["part"] for part in parts] == [
        part.name for part in parts_of(config_of("tiny"), 2, 50, 114, 100, 4)
    ]
    slots = measured["best_slots"]
    seconds = sum(part["bound_ms_a_study"] for part in parts) / 1000
    rounding = len(parts) * half_unit(3) / 1000
    assert 1 / bounds[f"{slots}_together_studies_per_second"] == pytest.approx(
        seconds, abs=rounding + 1e-6
    )
    # Sharing the reading of the weights costs no time, and neither does leaving out all bytes.
    single_bound = bounds["1_together_studies_per_second"]
    shared_bound = bounds[f"{slots}_together_studies_per_second"]
    assert 0 < single_bound <= shared_bound <= bounds["operations_studies_per_second"]
    rates = measured["rates"]
    for part in parts:
        operations_ms = (part["gflop_a_study"] - half_unit(2)) / (
            rates["tflop_per_second"] + half_unit(3)
        )
        bytes_ms = (part["moved_mb_a_study"] - half_unit(2)) / (
            rates["gb_per_second"] + half_unit(1)
        )
        assert part["bound_ms_a_study"] + half_unit(3) >= max(operations_ms, bytes_ms), part["part"]


def test_the_json_and_the_picture_are_whole(measurements: tuple[dict[str, Any], Path]) -> None:
    measured, plot = measurements
    assert set(measured) == KEYS
    assert all(set(row) == STRATEGY_KEYS for row in measured["ways"])
    assert (measured["bench"], measured["model"]) == ("model", "tiny, random weights")
    assert (measured["runs"], measured["views"], measured["dtype"]) == (1, 2, "float32")
    parameters = build_random("tiny").network.parameters()
    assert measured["parameters"] == sum(weight.numel() for weight in parameters)
    profile = measured["profile"]
    assert (profile["slots"], profile["steps"]) == (measured["best_slots"], ROUNDS)
    shares = list(profile["top"].values())
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1 + len(shares) * half_unit(3)
    with Image.open(plot) as picture:
        assert picture.width == WIDTH
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {ImageColor.getrgb(COLOURS[name]) for name in strategies_of(measured)} <= colours


def test_an_unknown_size_or_number_format_is_an_error() -> None:
    with pytest.raises(ModelError, match="no size 'huge'"):
        run(BenchOptions(size="huge", device="cpu"), lambda _: None)
    with pytest.raises(ModelError, match="number format"):
        run(BenchOptions(size="tiny", device="cpu", dtype="int3"), lambda _: None)


def test_an_unknown_bundle_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", "/nowhere", "--device", "cpu"]) == 1
    assert "no bundle at /nowhere" in capsys.readouterr().err
