"""The GPU run: whatever happens, the results are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.bench import gpu
from model.bench.__main__ import QUICK

OKAY = "def test_okay():\n    print('KL 1e-3')\n"


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one check, in place of those that need a GPU."""
    folder = tmp_path / "checks"
    folder.mkdir()
    (folder / "test_one.py").write_text(OKAY)
    monkeypatch.setattr(gpu, "CHECKS", folder)
    return folder


@pytest.mark.slow
def test_checks_and_measurements_in_one_run(checks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert gpu.main(["--quick", "--size", "tiny", "--out", str(out)]) == 0
    report = json.loads((out / "gpu.json").read_text())
    assert report["checks"]["passed"] is True
    assert any("KL 1e-3" in line for line in report["checks"]["said"])
    assert (report["model"]["model"], report["model"]["studies"]) == (
        "tiny, random weights",
        QUICK.studies,
    )
    assert (out / "gpu.png").is_file()


@pytest.mark.slow
def test_a_check_that_fails_fails_the_run(checks: Path, tmp_path: Path) -> None:
    (checks / "test_two.py").write_text("def test_two():\n    assert False\n")
    assert gpu.main(["--quick", "--size", "tiny", "--out", str(tmp_path)]) == 1
    assert json.loads((tmp_path / "gpu.json").read_text())["checks"]["passed"] is False


def test_skipped_checks_are_never_all_well(
    checks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (checks / "test_one.py").write_text(
        "import pytest\n\n\ndef test_one():\n    pytest.skip('no CUDA device here')\n"
    )
    monkeypatch.setattr(gpu, "run", lambda *_: {"model": "tiny"})
    monkeypatch.setattr(gpu, "write", lambda *_: None)
    assert gpu.main(["--quick", "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "NOTHING WAS CHECKED: all 1 checks were skipped" in output
    assert "all well" not in output
    report = json.loads((tmp_path / "gpu.json").read_text())["checks"]
    assert (report["passed"], report["checks"], report["skipped"]) == (False, 0, 1)
    # On a GPU skipped checks are a failure.
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    assert gpu.main(["--out", str(tmp_path)]) == 1
    assert "NOT all well" in capsys.readouterr().out


@pytest.mark.slow
def test_a_measurement_that_breaks_loses_no_check(
    checks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a driver")

    monkeypatch.setattr(gpu, "run", broken)
    assert gpu.main(["--quick", "--out", str(tmp_path)]) == 1
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["checks"]["passed"] is True
    assert report["model"] == {"failed": "RuntimeError: a driver"}
