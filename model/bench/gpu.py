"""All checks and measurements that need a GPU, in one go: `python -m model.bench.gpu --out FOLDER`.

Writes gpu.json (the checks' outcome, the measurements) and gpu.png, as docs/develop/gpu-run.md says. Knows
how to run the tests of tests/gpu and the measurement; measures nothing itself.
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

from model.bench.__main__ import Asked, run, write

CHECKS = Path(__file__).parents[2] / "tests" / "gpu"
LINES = 60
"""Of what the checks say, kept in the JSON."""


def check() -> dict[str, Any]:
    """Run the checks marked `gpu` in a process of their own; how they ended, and what they said."""
    if not CHECKS.is_dir():
        return {"ran": False, "why": f"{CHECKS} is not there: this is no checkout"}
    began = time.monotonic()
    # Their own settings: the project's name plugins that a bare GPU machine does not have.
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-c", os.devnull]
    command += ["--rootdir", str(CHECKS), "--confcutdir", str(CHECKS), str(CHECKS)]
    env = os.environ | {"PYTHONPATH": str(CHECKS.parents[1])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    return {
        "ran": True,
        "passed": done.returncode == 0,
        "seconds": round(time.monotonic() - began, 1),
        "said": [line for line in said if "[transformers]" not in line][-LINES:],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command's door; the exit status is 0 where all checks passed and all was measured."""
    parser = argparse.ArgumentParser("python -m model.bench.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    parser.add_argument("--size", default="full", help="of random weights")
    parser.add_argument("--bundle", default="", help="in place of random weights")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    if not torch.cuda.is_available() and not given.quick:
        print("gpu: there is no CUDA device here (--quick runs on the CPU)", file=sys.stderr)
        return 1
    found: dict[str, Any] = {"torch": torch.__version__, "checks": check()}
    print("\n".join(found["checks"].get("said", [])), flush=True)
    try:
        size = "" if given.bundle else given.size
        found["model"] = run(
            Asked(bundle=given.bundle, size=size, quick=given.quick),
            lambda line: print(line, flush=True),
        )
        write(found["model"], None, given.out / "gpu.png")
    except Exception as error:  # whatever happens, what the checks found is written down
        found["model"] = {"failed": f"{type(error).__name__}: {error}"}
    (given.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    well = found["checks"].get("passed", False) and "failed" not in found["model"]
    print(f"gpu: {'all well' if well else 'NOT all well'}; see {given.out / 'gpu.json'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
