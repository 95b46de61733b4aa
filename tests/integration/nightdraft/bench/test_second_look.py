"""`nightdraft bench second-look` finds what it planted, by the tables and the worker."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nightdraft.bench.second_look import Archive, measure
from nightdraft.cli.main import app


@pytest.mark.slow
def test_planted_misses_are_listed_closed_and_read(tmp_path: Path) -> None:
    environment = dict(os.environ)
    measured = measure(Archive(60, 5, 3, 0.0, 0), 4, "demo", "cpu", lambda _: None)
    assert dict(os.environ) == environment
    # Without noise the demonstration's bundle sees almost everything, and invents nothing.
    assert measured["planted_in_list"] >= 4
    assert measured["closed_as_mentioned"] >= 2
    assert measured["listed"] == measured["planted_in_list"]
    (row,) = measured["recall"]
    assert (row["reads"], row["found"], row["ranked"]) == (4, 4, 0.8)
    assert (measured["reads_made"], measured["reads_per_confirmed"]) == (4, 1.0)


@pytest.mark.slow
def test_the_command_writes_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    options = ["--studies", "20", "--misses", "2", "--mentioned", "0", "--reads", "3"]
    result = CliRunner().invoke(app, ["bench", "second-look", *options, "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "20 reports with 2 planted misses" in result.output
    assert json.loads(file.read_text())["misses"] == 2
