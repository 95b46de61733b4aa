"""What the demo prints about studies that wait for a person, and which settings it takes."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from nightdraft.cli.demo import hold_hints, settings_overrides
from nightdraft.cli.main import app
from records import config_file
from records.settings import Settings, settings
from records.states import HoldReason, VisibleState


def row(state: VisibleState, *reasons: HoldReason) -> Any:
    return SimpleNamespace(state=state, hold_reasons=tuple(reason.value for reason in reasons))


def test_every_hold_reason_has_one_line_and_the_setting_that_answers_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AGE", "CHEST", "VIEW"):
        monkeypatch.setenv(f"NIGHTDRAFT_UNKNOWN_{name}", "hold")
    settings.cache_clear()
    rows = [row(VisibleState.HELD, reason) for reason in HoldReason] * 2
    lines = hold_hints(rows)
    assert len(lines) == len(HoldReason)
    names = [
        line.partition(" by NIGHTDRAFT_")[2].removesuffix("=draft").lower()
        for line in lines
        if "=draft" in line
    ]
    assert sorted(names) == ["unknown_age", "unknown_chest", "unknown_view"]
    assert set(names) <= set(Settings.model_fields)


def test_a_setting_that_answers_nothing_is_not_offered() -> None:
    # By default an unknown age is drafted, so what is held is an age that contradicts itself.
    assert hold_hints([row(VisibleState.HELD, HoldReason.AGE_UNKNOWN)]) == [
        "HELD, AGE_UNKNOWN: decide on the study's page"
    ]


def test_without_a_hold_there_is_no_hint() -> None:
    assert hold_hints([row(VisibleState.DRAFTED), row(VisibleState.SKIPPED)]) == []


def test_the_demo_keeps_out_of_the_records_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nightdraft.toml"
    file.write_text(f'data_dir = "{tmp_path}/site"\nquiet_seconds = 300')
    monkeypatch.setattr(config_file, "DEFAULT_FILE", file)
    monkeypatch.delenv("NIGHTDRAFT_CONFIG")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    settings.cache_clear()
    seen: list[dict[str, object]] = []

    def run_demo(*_: object, **__: object) -> bool:
        seen.append(settings_overrides())
        return True

    monkeypatch.setattr("nightdraft.cli.demo.run_demo", run_demo)
    for arguments in (["demo"], ["--config", str(file), "demo"]):
        assert CliRunner().invoke(app, arguments).exit_code == 0
    without, named = seen
    assert str(without["data_dir"]).startswith("/var/tmp/nightdraft-demo-")
    assert without["quiet_seconds"] == 2.0
    # A file that is named for the demo counts.
    assert named["data_dir"] == tmp_path / "site"
    assert "quiet_seconds" not in named
