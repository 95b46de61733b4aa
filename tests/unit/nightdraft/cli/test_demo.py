"""What the demo prints about studies that wait for a person."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from nightdraft.cli.demo import hold_hints
from records.settings import Settings
from records.states import HoldReason, VisibleState


def row(state: VisibleState, *reasons: HoldReason) -> Any:
    return SimpleNamespace(state=state, hold_reasons=tuple(reason.value for reason in reasons))


def test_every_hold_reason_has_one_line_and_the_setting_that_answers_it() -> None:
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


def test_without_a_hold_there_is_no_hint() -> None:
    assert hold_hints([row(VisibleState.DRAFTED), row(VisibleState.SKIPPED)]) == []
