"""A count that was slow is used again for a while."""

from __future__ import annotations

from typing import Any

import pytest

from api.studies import CountsCache


@pytest.mark.parametrize(("seconds", "expected_reads"), [(0.01, 3), (2.0, 1)])
def test_a_slow_count_is_used_again_for_a_while(seconds: float, expected_reads: int) -> None:
    now = 100.0
    reads = []

    def read_counts(_: Any) -> Any:
        nonlocal now
        now += seconds
        reads.append(now)
        return object()

    cache = CountsCache(read_counts, clock=lambda: now)
    for _ in range(3):
        cache.get(None)  # type: ignore[arg-type]
        now += 2.0
    assert len(reads) == expected_reads
    now += 100.0
    cache.get(None)  # type: ignore[arg-type]
    assert len(reads) == expected_reads + 1
