"""`nightdraft phantoms` draws studies that a listener takes, each time new ones."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread
from typer.testing import CliRunner

from nightdraft.cli.main import app


def drawn_studies(folder: Path) -> dict[str, str]:
    """Accession numbers by Study Instance UID."""
    datasets = [dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]
    assert {ds.Rows for ds in datasets} == {64}
    return {str(ds.StudyInstanceUID): str(ds.AccessionNumber) for ds in datasets}


def test_each_call_draws_new_studies_into_an_empty_folder(tmp_path: Path) -> None:
    uids: set[str] = set()
    for name in ("first", "second"):
        folder = tmp_path / name
        run = CliRunner().invoke(app, ["phantoms", str(folder), "--studies", "2", "--size", "64"])
        assert run.exit_code == 0, run.output
        assert f"nightdraft send {folder}" in run.output.replace("\n", " ")
        studies = drawn_studies(folder)
        assert len(studies) == len(set(studies.values())) == 2
        uids |= set(studies)
    assert len(uids) == 4
    before = sorted(folder.iterdir())
    refused = CliRunner().invoke(app, ["phantoms", str(folder)])
    assert refused.exit_code == 1
    assert "not an empty folder" in str(refused.exception)
    assert sorted(folder.iterdir()) == before
