"""Compares all batching strategies in one run, with each other and with the device's bound."""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from statistics import median
from typing import Any

import torch

from model.bench.profile import profile_decoding
from model.bench.roofline import (
    Part,
    Rates,
    measure_rates,
    operations_bound,
    parts_of,
    studies_bound,
)
from model.bench.strategies import StrategyResult, make_engine, run_engine, run_generate
from model.bench.workload import REPORT_LENGTHS, Workload, make_workload
from model.inference.device_tuning import tune_for_device
from model.network.clinicalblip import ClinicalBLIP

Log = Callable[[str], None]
VIEWS = 2
INT8 = "engine, int8"


@dataclass(frozen=True)
class BenchPlan:
    """What is measured.

    Attributes:
        studies: Studies that the engine drafts.
        batched: Studies that `generate` drafts in batches; their pace does not depend on how many
            batches there are.
        unbatched: Studies that `generate` drafts one at a time.
        batches: Batch sizes of `generate`.
        slots: Numbers of slots of the engine; 0 is what the engine chooses itself.
        runs: How often everything is measured; the median counts.
        longest: Longer texts are cut to this many tokens.
        profiled: Profile the decode steps.
        int8: Measure the engine with quantized weights, too.
    """

    studies: int = 96
    batched: int = 64
    unbatched: int = 6
    batches: Sequence[int] = (16, 32)
    slots: Sequence[int] = (16, 32)
    runs: int = 1
    longest: int = REPORT_LENGTHS[-1]
    profiled: bool = True
    int8: bool = False


def compare_strategies(
    model: ClinicalBLIP, device: torch.device, plan: BenchPlan, log: Log
) -> dict[str, Any]:
    """Measure every strategy of the plan.

    Args:
        model: The network, on the device.
        device: Where it runs.
        plan: What is measured.
        log: Is called with a line for people as the measurement goes on.

    Returns:
        The measurements as JSON has them: `ratio_total` and other ratios, `ways`, `parts` and
        facts about the run.
    """
    workload = make_workload(model, plan.studies, VIEWS, longest=plan.longest)
    unbatched, batched = workload.sample(plan.unbatched), workload.first(plan.batched)
    log(f"{plan.studies} studies of {VIEWS} views, {workload.tokens} tokens to write")
    served = _served(model, device)
    _warm_up(model, served, device, workload, log)
    results: dict[tuple[str, int], list[StrategyResult]] = {}

    def record(result: StrategyResult) -> None:
        results.setdefault((result.name, result.concurrency), []).append(result)
        log(
            f"{result.name}, {result.concurrency} together: "
            f"{result.studies_per_second:.3f} studies/s, "
            f"{result.decoded_per_second:.1f} tokens/s decoded, busy {result.occupancy:.2f}"
        )

    for run in range(plan.runs):
        if plan.runs > 1:
            log(f"run {run + 1} of {plan.runs}")
        record(run_generate(model, device, unbatched, 1))
        for batch_size in plan.batches:
            record(run_generate(model, device, batched, batch_size))
        for slots in plan.slots:
            engine = make_engine(served, device, workload, slots, plan.longest)
            engine.warm_up(
                lambda step, done, total: log(f"{step}: 100%") if done == total else None
            )
            record(run_engine(engine, device, workload))
            del engine
            if device.type == "cuda":
                torch.cuda.empty_cache()
        if plan.int8:
            record(_run_int8(model, device, workload, plan))
    log("measuring the device")
    rates = measure_rates(device, model.dtype)
    parts = _parts(model, workload)
    medians = {key: _median_run(runs) for key, runs in results.items()}
    summary = _summary(medians, parts, rates)
    if device.type == "cuda":
        best = medians["engine", summary["best_slots"]]
        summary["peak_over_planned"] = round(best.peak / best.planned, 3)
    if plan.profiled:
        log("profiling the decode steps")
        summary["profile"] = profile_decoding(
            served, device, summary["best_slots"], _source_length(model, workload)
        )
    if device.type == "cuda":
        # Compiling comes last, so that no strategy above ran compiled.
        engine = make_engine(served, device, workload, 1, 4)
        summary["compiled"] = engine.compile(
            lambda step, done, total: log(f"{step}: {done / (total or 1):.0%}")
        )
    return summary | _facts(model, device, plan, workload)


def _run_int8(
    model: ClinicalBLIP, device: torch.device, workload: Workload, plan: BenchPlan
) -> StrategyResult:
    """The engine with eight-bit weights, at the largest number of slots, under its own name."""
    served = copy.deepcopy(model)
    tune_for_device(served, device, int8=True)
    engine = make_engine(served, device, workload, max(plan.slots), plan.longest)
    return replace(run_engine(engine, device, workload), name=INT8)


def _served(model: ClinicalBLIP, device: torch.device) -> ClinicalBLIP:
    """The model as the engine serves it; `generate` keeps the model that was given."""
    served = model if device.type == "cuda" else copy.deepcopy(model)
    tune_for_device(served, device)
    return served


def _warm_up(
    model: ClinicalBLIP,
    served: ClinicalBLIP,
    device: torch.device,
    workload: Workload,
    log: Log,
) -> None:
    """Run every strategy once over a short study, so that no first call is measured."""
    log("warming up")
    first = workload.cases[:1]
    short = Workload(first, {first[0][0].key: 4})
    run_generate(model, device, short, 1)
    run_engine(make_engine(served, device, short, 1, 4), device, short)


def _parts(model: ClinicalBLIP, workload: Workload) -> list[Part]:
    case, instruction = workload.cases[0]
    return parts_of(
        model.config,
        len(case.views),
        len(model.qformer_tokenizer(instruction)["input_ids"]),
        _source_length(model, workload),
        workload.tokens / len(workload.cases),
        model.dtype.itemsize,
    )


def _source_length(model: ClinicalBLIP, workload: Workload) -> int:
    """Positions that T5's encoder reads for one study."""
    case, instruction = workload.cases[0]
    tokens: int = len(model.language_tokenizer(instruction)["input_ids"])
    queries: int = model.config.num_query_tokens
    return len(case.views) * queries + tokens


def _median_run(runs: list[StrategyResult]) -> StrategyResult:
    """The run that is nearest to the median of the seconds."""
    seconds = median(run.seconds for run in runs)
    return min(runs, key=lambda run: abs(run.seconds - seconds))


def _summary(
    medians: dict[tuple[str, int], StrategyResult], parts: list[Part], rates: Rates
) -> dict[str, Any]:
    single = medians["one at a time", 1]
    static = [result for result in medians.values() if result.name == "static batch"]
    engines = [result for result in medians.values() if result.name == "engine"]
    best = max(engines, key=lambda result: result.studies_per_second)
    fastest = max(static, key=lambda result: result.studies_per_second) if static else None
    bound = operations_bound(parts, rates)
    summary: dict[str, Any] = {
        "bench": "model",
        "ratio_total": round(best.studies_per_second / single.studies_per_second, 3),
        "ratio_decode": round(best.decoded_per_second / single.decoded_per_second, 3),
        "roofline_share": round(best.studies_per_second / bound, 4),
        "best_slots": best.concurrency,
        "ways": [result.as_json() for result in medians.values()],
        "rates": {
            "tflop_per_second": round(rates.operations / 1e12, 3),
            "gb_per_second": round(rates.bytes / 1e9, 1),
        },
        "bounds": {
            "operations_studies_per_second": round(bound, 4),
            **{
                f"{n}_together_studies_per_second": round(studies_bound(parts, rates, n), 4)
                for n in sorted({1, *(result.concurrency for result in engines)})
            },
        },
        "parts": [
            {
                "part": part.name,
                "gflop_a_study": round(part.operations / 1e9, 2),
                "weights_mb": round(part.weights / 1e6, 1),
                "moved_mb_a_study": round(part.moved / 1e6, 2),
                "bound_ms_a_study": round(1000 * part.seconds(rates, best.concurrency), 3),
            }
            for part in parts
        ],
    }
    int8 = [result for result in medians.values() if result.name == INT8]
    if int8:
        unquantized = medians["engine", int8[0].concurrency]
        summary["ratio_int8"] = round(
            int8[0].studies_per_second / unquantized.studies_per_second, 3
        )
    if fastest is not None:
        summary["ratio_static"] = round(best.studies_per_second / fastest.studies_per_second, 3)
        summary["best_batch"] = fastest.concurrency
    return summary


def _facts(
    model: ClinicalBLIP, device: torch.device, plan: BenchPlan, workload: Workload
) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "device": name,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "studies": plan.studies,
        "studies_batched": plan.batched,
        "studies_alone": plan.unbatched,
        "runs": plan.runs,
        "views": VIEWS,
        "mean_tokens": round(workload.tokens / plan.studies, 1),
        "versions": {package: version(package) for package in ("torch", "transformers", "numpy")},
    }
