"""The floors: arrows only downward, held by import-linter's contracts in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT


def test_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_preparing_side_loads_no_torch():
    """What the contracts say of imports, seen in a real interpreter."""
    code = (
        "import sys, model.case, model.dicom.pixels, model.dicom.views, model.dicom.indication, model.prompting.prompt,"
        " model.manifest, model.prompting.sections, worker.preparing;"
        " sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
