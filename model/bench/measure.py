"""All ways side by side in one run: their ratios, and how far the device's bound is.

Knows no files and no command line.
"""

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
    bound,
    measure_rates,
    operations_bound,
    parts_of,
)
from model.bench.ways import Measured, by_engine, by_generate, make_engine
from model.bench.workload import LENGTHS, Workload, make_workload
from model.inference.device_tuning import tune_for_device
from model.network.clinicalblip import ClinicalBLIP

Say = Callable[[str], None]
VIEWS = 2
INT8 = "engine, int8"


@dataclass(frozen=True)
class Plan:
    """What is run. batches: of `generate`. alone: studies that are drafted one at a time.

    batched: studies that are drafted in batches: their pace does not hang on how many batches
    there are. slots: 0 is what the engine chooses itself. int8: the engine with rounded weights as
    well.
    """

    studies: int = 96
    batched: int = 64
    alone: int = 6
    batches: Sequence[int] = (16, 32)
    slots: Sequence[int] = (16, 32)
    runs: int = 1
    longest: int = LENGTHS[-1]
    profiled: bool = True
    int8: bool = False


def measure(model: ClinicalBLIP, device: torch.device, plan: Plan, say: Say) -> dict[str, Any]:
    """Run the plan; one object of plain words and numbers, `ratio_total` and others in it."""
    workload = make_workload(model, plan.studies, VIEWS, longest=plan.longest)
    few, many = workload.some(plan.alone), workload.first(plan.batched)
    say(f"{plan.studies} studies of {VIEWS} views, {workload.tokens} tokens to write")
    served = _served(model, device)
    _warm_up(model, served, device, workload, say)
    found: dict[tuple[str, int], list[Measured]] = {}

    def keep(one: Measured) -> None:
        found.setdefault((one.name, one.together), []).append(one)
        say(
            f"{one.name}, {one.together} together: {one.studies_per_second:.3f} studies/s, "
            f"{one.decoded_per_second:.1f} tokens/s decoded, busy {one.busy:.2f}"
        )

    for run in range(plan.runs):
        if plan.runs > 1:
            say(f"run {run + 1} of {plan.runs}")
        keep(by_generate(model, device, few, 1))
        for batch in plan.batches:
            keep(by_generate(model, device, many, batch))
        for slots in plan.slots:
            engine = make_engine(served, device, workload, slots, plan.longest)
            engine.warm_up(
                lambda what, done, total: say(f"{what}: 100%") if done == total else None
            )
            keep(by_engine(engine, device, workload))
            del engine
            if device.type == "cuda":
                torch.cuda.empty_cache()
        if plan.int8:
            keep(_rounded(model, device, workload, plan))
    say("measuring the device")
    rates = measure_rates(device, model.dtype)
    parts = _parts(model, workload)
    middle = {key: _middle(runs) for key, runs in found.items()}
    told = _told(middle, parts, rates)
    if device.type == "cuda":
        best = middle["engine", told["best_slots"]]
        told["peak_over_planned"] = round(best.peak / best.planned, 3)
    if plan.profiled:
        say("looking at the steps of decoding")
        told["profile"] = profile_decoding(
            served, device, told["best_slots"], _read(model, workload)
        )
    if device.type == "cuda":
        # Last, so that no way above was compiled.
        reading = make_engine(served, device, workload, 1, 4)
        told["compiled"] = reading.compile(
            lambda what, done, total: say(f"{what}: {done / (total or 1):.0%}")
        )
    return told | _facts(model, device, plan, workload)


def _rounded(model: ClinicalBLIP, device: torch.device, workload: Workload, plan: Plan) -> Measured:
    """The engine with weights of eight bits, at the most slots; of another name than the engine."""
    served = copy.deepcopy(model)
    tune_for_device(served, device, int8=True)
    engine = make_engine(served, device, workload, max(plan.slots), plan.longest)
    return replace(by_engine(engine, device, workload), name=INT8)


def _served(model: ClinicalBLIP, device: torch.device) -> ClinicalBLIP:
    """The model as the engine serves it; `generate` keeps the one that it was given."""
    served = model if device.type == "cuda" else copy.deepcopy(model)
    tune_for_device(served, device)
    return served


def _warm_up(
    model: ClinicalBLIP,
    served: ClinicalBLIP,
    device: torch.device,
    workload: Workload,
    say: Say,
) -> None:
    """Every way once over a short study, so that no first call is measured."""
    say("warming up")
    first = workload.asked[:1]
    short = Workload(first, {first[0][0].key: 4})
    by_generate(model, device, short, 1)
    by_engine(make_engine(served, device, short, 1, 4), device, short)


def _parts(model: ClinicalBLIP, workload: Workload) -> list[Part]:
    case, instruction = workload.asked[0]
    return parts_of(
        model.config,
        len(case.views),
        len(model.qformer_tokenizer(instruction)["input_ids"]),
        _read(model, workload),
        workload.tokens / len(workload.asked),
        model.dtype.itemsize,
    )


def _read(model: ClinicalBLIP, workload: Workload) -> int:
    """Positions that T5's encoder reads."""
    case, instruction = workload.asked[0]
    words: int = len(model.language_tokenizer(instruction)["input_ids"])
    queries: int = model.config.num_query_tokens
    return len(case.views) * queries + words


def _middle(runs: list[Measured]) -> Measured:
    """The run of the median pace."""
    pace = median(one.seconds for one in runs)
    return min(runs, key=lambda one: abs(one.seconds - pace))


def _told(
    middle: dict[tuple[str, int], Measured], parts: list[Part], rates: Rates
) -> dict[str, Any]:
    alone = middle["one at a time", 1]
    static = [one for one in middle.values() if one.name == "static batch"]
    engines = [one for one in middle.values() if one.name == "engine"]
    best = max(engines, key=lambda one: one.studies_per_second)
    fastest = max(static, key=lambda one: one.studies_per_second) if static else None
    most = operations_bound(parts, rates)
    told: dict[str, Any] = {
        "bench": "model",
        "ratio_total": round(best.studies_per_second / alone.studies_per_second, 3),
        "ratio_decode": round(best.decoded_per_second / alone.decoded_per_second, 3),
        "roofline_share": round(best.studies_per_second / most, 4),
        "best_slots": best.together,
        "ways": [one.as_table() for one in middle.values()],
        "rates": {
            "tflop_per_second": round(rates.operations / 1e12, 3),
            "gb_per_second": round(rates.bytes / 1e9, 1),
        },
        "bounds": {
            "operations_studies_per_second": round(most, 4),
            **{
                f"{n}_together_studies_per_second": round(bound(parts, rates, n), 4)
                for n in sorted({1, *(one.together for one in engines)})
            },
        },
        "parts": [
            {
                "part": part.name,
                "gflop_a_study": round(part.operations / 1e9, 2),
                "weights_mb": round(part.weights / 1e6, 1),
                "moved_mb_a_study": round(part.moved / 1e6, 2),
                "bound_ms_a_study": round(1000 * part.seconds(rates, best.together), 3),
            }
            for part in parts
        ],
    }
    rounded = [one for one in middle.values() if one.name == INT8]
    if rounded:
        same = middle["engine", rounded[0].together]
        told["ratio_int8"] = round(rounded[0].studies_per_second / same.studies_per_second, 3)
    if fastest is not None:
        told["ratio_static"] = round(best.studies_per_second / fastest.studies_per_second, 3)
        told["best_batch"] = fastest.together
    return told


def _facts(
    model: ClinicalBLIP, device: torch.device, plan: Plan, workload: Workload
) -> dict[str, Any]:
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "device": named,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "studies": plan.studies,
        "studies_batched": plan.batched,
        "studies_alone": plan.alone,
        "runs": plan.runs,
        "views": VIEWS,
        "mean_tokens": round(workload.tokens / plan.studies, 1),
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
    }
