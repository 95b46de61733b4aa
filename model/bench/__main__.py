"""`python -m model.bench`: the measurement where only the model floor is installed.

The same as `nightdraft bench model`, which calls it; options and their defaults stand here alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.bench.measure import Plan, Say, measure
from model.bench.plot import draw
from model.bundling.store import choose_device, load_bundle
from model.errors import ModelError
from model.network.clinicalblip import ClinicalBLIP
from model.network.sizes import SIZES, build_random

ON_CPU = Plan()
ON_GPU = Plan(studies=768, batched=256, alone=6, batches=(32, 64, 128), slots=(64, 128, 192, 256))
QUICK = Plan(studies=12, batched=8, alone=3, batches=(4,), slots=(4,), longest=60)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


HEADLINE = (
    *("ratio_total", "ratio_decode", "ratio_static", "ratio_int8"),
    *("roofline_share", "peak_over_planned"),
)
"""Of what was measured, printed at the end."""


@dataclass(frozen=True)
class Asked:
    """What is measured. bundle or else size; empty and 0 are what suits the device."""

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


def run(asked: Asked, say: Say) -> dict[str, Any]:
    """Measure; one object of plain words and numbers.

    Raises:
        ModelError: no such bundle, size, device or number format, or int8 on a GPU.
    """
    if asked.threads:
        torch.set_num_threads(asked.threads)
    device = choose_device(asked.device or None)
    if asked.int8 and device.type != "cpu":
        raise ModelError("rounded weights (int8) are for a CPU: leave them out on a GPU")
    model, name = _model(asked, device, say)
    plan = QUICK if asked.quick else ON_GPU if device.type == "cuda" else ON_CPU
    studies = asked.studies or plan.studies
    plan = Plan(
        studies=studies,
        batched=min(plan.batched, studies),
        alone=min(plan.alone, studies),
        batches=tuple(asked.batches) or plan.batches,
        slots=tuple(asked.slots) or plan.slots,
        runs=asked.runs,
        longest=plan.longest,
        int8=asked.int8,
    )
    return {"model": name, **measure(model, device, plan, say)}


def _model(asked: Asked, device: torch.device, say: Say) -> tuple[ClinicalBLIP, str]:
    if asked.dtype and asked.dtype not in DTYPES:
        raise ModelError(f"no number format {asked.dtype!r}: {', '.join(DTYPES)}")
    usual = torch.float16 if device.type == "cuda" else torch.float32
    dtype = DTYPES.get(asked.dtype, usual)
    if asked.bundle:
        say(f"loading {asked.bundle}")
        model, manifest = load_bundle(asked.bundle, device, dtype)
        return model, f"{manifest.name} {manifest.version}"
    size = asked.size or ("full" if device.type == "cuda" else "mid")
    if size not in SIZES:
        raise ModelError(f"no size {size!r}: {', '.join(SIZES)}")
    say(f"making random weights, size {size}")
    return build_random(size, dtype=dtype, device=device), f"{size}, random weights"


def write(measured: dict[str, Any], json_file: Path | None, plot: Path | None) -> None:
    """The measurements as JSON and as a picture, where asked for."""
    if json_file is not None:
        json_file.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    if plot is not None:
        draw(measured, plot)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command's door; the exit status."""
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
    given = vars(parser.parse_args(arguments))
    json_file, plot = given.pop("json_file"), given.pop("plot")
    try:
        measured = run(Asked(**given), lambda line: print(line, flush=True))
    except ModelError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    write(measured, json_file, plot)
    print(json.dumps({key: measured[key] for key in HEADLINE if key in measured}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
