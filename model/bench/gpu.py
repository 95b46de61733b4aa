"""Runs every check and measurement that needs a GPU: `python -m model.bench.gpu --out FOLDER`.

It runs the tests of tests/gpu and the measurement of `model.bench`, and writes gpu.json (outcome of
the checks, measurements) and gpu.png, as docs/develop/gpu-run.md describes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from model.bench.__main__ import BenchOptions, run, write

CHECKS = Path(__file__).parents[2] / "tests" / "gpu"
MAX_LINES = 60
"""Lines of the checks' output that are kept in the JSON."""


def check() -> dict[str, Any]:
    """Run the tests of tests/gpu in a process of their own.

    Returns:
        `ran`; then `passed`, `seconds` and `said` (the last lines of output), or `why` not.
    """
    if not CHECKS.is_dir():
        return {"ran": False, "why": f"{CHECKS} is not there: this is no checkout"}
    started = time.monotonic()
    # Without the project's settings, which name plugins that a bare GPU machine does not have.
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-c", os.devnull]
    command += ["--rootdir", str(CHECKS), "--confcutdir", str(CHECKS), str(CHECKS)]
    env = os.environ | {"PYTHONPATH": str(CHECKS.parents[1])}
    process = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    output = (process.stdout + process.stderr).splitlines()
    return {
        "ran": True,
        "passed": process.returncode == 0,
        "seconds": round(time.monotonic() - started, 1),
        "said": [line for line in output if "[transformers]" not in line][-MAX_LINES:],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0 where all checks passed and all was measured."""
    parser = argparse.ArgumentParser("python -m model.bench.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--size", default="full", help="of random weights")
    parser.add_argument("--bundle", default="", help="in place of random weights")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if not torch.cuda.is_available() and not options.quick:
        print("gpu: there is no CUDA device here (--quick runs on the CPU)", file=sys.stderr)
        return 1
    report: dict[str, Any] = {"torch": torch.__version__, "checks": check()}
    print("\n".join(report["checks"].get("said", [])), flush=True)
    try:
        size = "" if options.bundle else options.size
        report["model"] = run(
            BenchOptions(bundle=options.bundle, size=size, quick=options.quick),
            lambda line: print(line, flush=True),
        )
        write(report["model"], None, options.out / "gpu.png")
    except Exception as error:  # the outcome of the checks is written whatever happens here
        report["model"] = {"failed": f"{type(error).__name__}: {error}"}
    (options.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    passed = report["checks"].get("passed", False) and "failed" not in report["model"]
    print(f"gpu: {'all well' if passed else 'NOT all well'}; see {options.out / 'gpu.json'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
