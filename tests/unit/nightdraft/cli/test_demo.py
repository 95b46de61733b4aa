"""What the demo says of studies that wait for a person."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from nightdraft.cli.demo import hints
from records.settings import Settings
from records.states import HoldReason, VisibleState


def row(state: VisibleState, *reasons: HoldReason) -> Any:
    return SimpleNamespace(state=state, hold_reasons=tuple(reason.value for reason in reasons))


def test_every_question_has_one_line_and_the_setting_that_answers_it() -> None:
    rows = [row(VisibleState.HELD, reason) for reason in HoldReason] * 2
    lines = hints(rows)
    assert len(lines) == len(HoldReason)
    named = [line.partition(" by NIGHTDRAFT_")[2] for line in lines if "=draft" in line]
    assert len(named) == 3
    assert all(name.removesuffix("=draft").lower() in Settings.model_fields for name in named)


def test_nothing_held_says_nothing() -> None:
    assert hints([row(VisibleState.DRAFTED), row(VisibleState.SKIPPED)]) == []
