"""Counts that are dear are not made again at once."""

from __future__ import annotations

from typing import Any

import pytest

from api import studies
from api.studies import Counting


@pytest.mark.parametrize(("seconds", "made"), [(0.01, 3), (2.0, 1)])
def test_a_dear_count_serves_for_a_while(
    monkeypatch: pytest.MonkeyPatch, seconds: float, made: int
) -> None:
    clock, calls = [100.0], []

    def count(_: Any) -> Any:
        clock[0] += seconds
        calls.append(clock[0])
        return object()

    monkeypatch.setattr(studies, "count", count)
    monkeypatch.setattr(studies.time, "monotonic", lambda: clock[0])
    counting = Counting()
    for _ in range(3):
        counting.counts(None)  # type: ignore[arg-type]
        clock[0] += 2.0
    assert len(calls) == made
    clock[0] += 100.0
    counting.counts(None)  # type: ignore[arg-type]
    assert len(calls) == made + 1
