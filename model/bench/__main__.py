"""`python -m model.bench`: the measurement where only the model floor is installed.

`nightdraft bench model` calls it, too; the options and their defaults are defined here only.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.bench.comparison import BenchPlan, compare_strategies
from model.bench.plot import draw_measurements
from model.bundling.store import choose_device, load_bundle
from model.errors import ModelError
from model.inference.device_guard import device_guard
from model.network.clinicalblip import ClinicalBLIP
from model.network.sizes import SIZES, build_random

ON_CPU = BenchPlan()
ON_GPU = BenchPlan(
    studies=768, batched=256, unbatched=6, batches=(32, 64, 128), slots=(64, 128, 192, 256)
)
QUICK = BenchPlan(studies=12, batched=8, unbatched=3, batches=(4,), slots=(4,), longest=60)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

HEADLINE = (
    *("ratio_total", "ratio_decode", "ratio_static", "ratio_int8"),
    *("roofline_share", "peak_over_planned"),
)
"""The measurements that are printed at the end."""


@dataclass(frozen=True)
class BenchOptions:
    """The options of the measurement. An empty one, or 0, is chosen by the device.

    Attributes:
        bundle: The bundle that is measured; without one, random weights of `size`.
        size: A name in `model.network.sizes.SIZES`.
        device, dtype: As the options of the same names.
        threads: Threads of the CPU.
        studies: Studies that the engine drafts.
        slots: Numbers of slots of the engine.
        batches: Batch sizes of `generate`.
        runs: How often everything is measured; the median counts.
        quick: Draft a few short studies only, to see that it runs.
        int8: Measure quantized weights, too.
    """

    bundle: str = ""
    size: str = ""
    device: str = ""
    dtype: str = ""
    threads: int = 0
    studies: int = 0
    slots: Sequence[int] = ()
    batches: Sequence[int] = ()
    runs: int = 1
    quick: bool = False
    int8: bool = False


def run(options: BenchOptions, log: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and return the measurements as JSON has them.

    Raises:
        ModelError: There is no such bundle, size, device or number format, or int8 on a GPU.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device or None)
    if options.int8 and device.type != "cpu":
        raise ModelError("rounded weights (int8) are for a CPU: leave them out on a GPU")
    model, name = _model(options, device, log)
    plan = QUICK if options.quick else ON_GPU if device.type == "cuda" else ON_CPU
    studies = options.studies or plan.studies
    plan = BenchPlan(
        studies=studies,
        batched=min(plan.batched, studies),
        unbatched=min(plan.unbatched, studies),
        batches=tuple(options.batches) or plan.batches,
        slots=tuple(options.slots) or plan.slots,
        runs=options.runs,
        longest=plan.longest,
        int8=options.int8,
    )
    with device_guard(device):
        return {"model": name, **compare_strategies(model, device, plan, log)}


def _model(
    options: BenchOptions, device: torch.device, log: Callable[[str], None]
) -> tuple[ClinicalBLIP, str]:
    if options.dtype and options.dtype not in DTYPES:
        raise ModelError(f"no number format {options.dtype!r}: {', '.join(DTYPES)}")
    default = torch.float16 if device.type == "cuda" else torch.float32
    dtype = DTYPES.get(options.dtype, default)
    if options.bundle:
        log(f"loading {options.bundle}")
        model, manifest = load_bundle(options.bundle, device, dtype)
        return model, f"{manifest.name} {manifest.version}"
    size = options.size or ("full" if device.type == "cuda" else "mid")
    if size not in SIZES:
        raise ModelError(f"no size {size!r}: {', '.join(SIZES)}")
    log(f"making random weights, size {size}")
    return build_random(size, dtype=dtype, device=device), f"{size}, random weights"


def write(measured: dict[str, Any], json_file: Path | None, plot: Path | None) -> None:
    """Write the measurements as JSON and as a picture, to the files that are given."""
    if json_file is not None:
        json_file.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    if plot is not None:
        draw_measurements(measured, plot)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser("python -m model.bench", description=__doc__)
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--bundle", default="")
    model.add_argument("--size", default="", choices=list(SIZES))
    parser.add_argument("--device", default="")
    parser.add_argument("--dtype", default="", choices=list(DTYPES))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--studies", type=int, default=0)
    parser.add_argument("--slots", type=int, nargs="*", default=())
    parser.add_argument("--batches", type=int, nargs="*", default=())
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--json", type=Path, dest="json_file")
    parser.add_argument("--plot", type=Path)
    options = vars(parser.parse_args(arguments))
    json_file, plot = options.pop("json_file"), options.pop("plot")
    try:
        measured = run(BenchOptions(**options), lambda line: print(line, flush=True))
    except ModelError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    write(measured, json_file, plot)
    print(json.dumps({key: measured[key] for key in HEADLINE if key in measured}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
