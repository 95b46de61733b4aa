"""The floors: arrows only downward, held by import-linter's contracts in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import DOCS, ROOT
from tools import draw_architecture


def test_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_preparing_side_loads_no_torch():
    """What the contracts say of imports, seen in a real interpreter."""
    code = (
        "import sys, model.case, model.manifest, worker.preparing;"
        "import model.dicom.indication, model.dicom.pixels, model.dicom.views;"
        "import model.prompting.prompt, model.prompting.sections;"
        " sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_drawing_of_the_architecture_is_current():
    assert draw_architecture.main(["--check"]) == 0


def test_an_old_drawing_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "architecture.md"
    page.write_text(draw_architecture.PAGE.read_text().replace("worker --> records", ""))
    monkeypatch.setattr(draw_architecture, "PAGE", page)
    assert draw_architecture.main(["--check"]) == 1
    assert draw_architecture.main([]) == 0
    assert page.read_text() == (DOCS / "develop/architecture.md").read_text()
