"""The bench measures what it says, and leaves neither process nor folder."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from nightdraft.bench.pipeline import measure, show
from nightdraft.station import PARTS


def test_a_few_studies_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NIGHTDRAFT_QUIET_SECONDS", "3600")  # the caller's settings do not count
    before = set(Path(tempfile.gettempdir()).glob("nightdraft-bench-*"))
    said: list[str] = []
    measured = json.loads(json.dumps(measure(6, 2, said.append)))
    assert measured["ended"] == {"DRAFTED": 6}
    assert measured["films"] >= 6
    assert measured["studies_per_minute"] > 0
    assert set(measured["memory_mb"]) == {*PARTS, "postgres", "valkey"}
    assert all(part["peak"] > 0 for part in measured["memory_mb"].values())
    assert measured["curve"][-1]["ended"] == 6
    assert show(measured)
    assert set(Path(tempfile.gettempdir()).glob("nightdraft-bench-*")) == before
    assert os.environ["NIGHTDRAFT_QUIET_SECONDS"] == "3600"
