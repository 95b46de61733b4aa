"""Programs of Node with packages of npm, which `make prove-peers` installs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def require_package(name: str) -> None:
    """Skip the test where Node or a package in NODE_PATH is missing."""
    folder = os.environ.get("NODE_PATH", "")
    if shutil.which("node") is None or not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"{name} is not installed: `make prove-peers` installs it")


def run_script(script: str, *arguments: object) -> Any:
    """Run a script of JavaScript and return what its last line says, as JSON."""
    ran = subprocess.run(
        ["node", "-e", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-1000:]
    return json.loads(ran.stdout.strip().splitlines()[-1])
