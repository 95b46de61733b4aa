"""Runs every check and measurement that needs a GPU: `python -m model.bench.gpu --out FOLDER`.

It runs the tests of tests/gpu and the measurement of `model.bench`, and writes gpu.json (outcome of
the checks, measurements) and gpu.png, as docs/develop/gpu-run.md describes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from model.bench.__main__ import BenchOptions, run, write

CHECKS = Path(__file__).parents[2] / "tests" / "gpu"
_COUNT = re.compile(r"(\d+) (passed|skipped|failed)")
MAX_LINES = 60
"""Lines of the checks' output that are kept in the JSON."""


def check() -> dict[str, Any]:
    """Run the tests of tests/gpu in a process of their own.

    Returns:
        `ran`; then `passed` (none failed, and not all were skipped), `checks` that passed, those
        that were `skipped`, `seconds` and `said` (the last lines of output), or `why` not.
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
    counts = {word: int(n) for n, word in _COUNT.findall("\n".join(output[-5:]))}
    return {
        "ran": True,
        "passed": process.returncode == 0 and counts.get("passed", 0) > 0,
        "checks": counts.get("passed", 0),
        "skipped": counts.get("skipped", 0),
        "seconds": round(time.monotonic() - started, 1),
        "said": [line for line in output if "[transformers]" not in line][-MAX_LINES:],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 where the checks passed and all was measured; with --quick and without a
        GPU, 0 where nothing failed, and the last line says that nothing was checked.
    """
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
    checks, results = report["checks"], options.out / "gpu.json"
    only_skipped = not checks.get("checks") and checks.get("skipped", 0) > 0
    if only_skipped and options.quick and "failed" not in report["model"]:
        print(
            f"gpu: it runs, and NOTHING WAS CHECKED: all {checks['skipped']} checks were skipped, "
            f"because there is no GPU here; see {results}"
        )
        return 0
    passed = checks.get("passed", False) and "failed" not in report["model"]
    print(
        f"gpu: {'all well' if passed else 'NOT all well'}, {checks.get('checks', 0)} checks passed "
        f"and {checks.get('skipped', 0)} were skipped; see {results}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
