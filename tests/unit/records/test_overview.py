"""The time left, from counts and a pace."""

from __future__ import annotations

import pytest

from records.database.operation_tables import Heartbeat
from records.operations.overview import Parts, seconds_left, why_stalled
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


def test_who_waits_for_orders_is_told_so() -> None:
    running = [Heartbeat(part=part, owner="host:1", facts={}) for part in ("prepare", "draft")]
    parts = Parts(running=running, missing=(), alarms=())
    counts = {VisibleState.WAITING: 2, VisibleState.DRAFTED: 5}
    assert (
        why_stalled(counts, 0.0, parts, 2) == "All that is to do waits for its order (2 studies)."
    )
    assert why_stalled(counts, 0.0, parts, 1).startswith("None was drafted")
    assert why_stalled(counts | {VisibleState.PREPARED: 1}, 5.0, parts, 2) == ""
