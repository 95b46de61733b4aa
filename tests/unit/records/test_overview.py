"""The time left, from counts and a pace."""

from __future__ import annotations

import pytest

from records.operations.overview import seconds_left
from records.states import VisibleState


@pytest.mark.parametrize(
    ("counts", "per_minute", "seconds"),
    [
        ({VisibleState.WAITING: 30, VisibleState.PREPARED: 30}, 60.0, 60.0),
        ({VisibleState.WAITING: 30}, 0.0, None),
        ({VisibleState.DRAFTED: 30}, 0.0, 0.0),
        # What waits for a person takes no time of ours.
        ({VisibleState.HELD: 30, VisibleState.DRAFTING: 1}, 60.0, 1.0),
    ],
)
def test_seconds_left(
    counts: dict[VisibleState, int], per_minute: float, seconds: float | None
) -> None:
    assert seconds_left(counts, per_minute) == seconds
