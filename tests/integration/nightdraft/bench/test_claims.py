"""`nightdraft bench claims` lets a campaign go its whole way, and measures every table."""

from __future__ import annotations

import io
import os

import pytest
from rich.console import Console

from nightdraft.bench import claims
from records.settings import settings


@pytest.mark.slow
def test_a_campaign_goes_its_whole_way_on_a_database_of_its_own() -> None:
    environment = dict(os.environ)
    limits = []
    measured = claims.measure(60, lambda _: limits.append(settings().database_lock_seconds))
    assert dict(os.environ) == environment
    # The threads claim one after the other: a machine that stands still must not end it.
    assert min(limits) >= 600.0 > settings().database_lock_seconds
    assert (measured["claims"], measured["studies"]) == (60, 20)
    tables = measured["tables"]
    # A table that is written anew keeps its rows, and no gap is left in it.
    assert tables["drafts"]["packed_mb"] > 0
    assert all(size["packed_mb"] <= size["mb"] for size in tables.values())
    indexes = tables["worklist_entries"]["indexes"]
    assert indexes["ix_worklist_entries_drafted"]["packed_mb"] > 0
    assert all(size["packed_mb"] <= size["mb"] for size in indexes.values())
    # A claim, the end of the fetch, and the draft; the last ones may not be counted yet.
    assert 0 < tables["campaign_studies"]["updates"] <= 3 * 20


def size(mb: float, packed_mb: float, index_mb: float, packed_index_mb: float) -> dict[str, float]:
    return {
        "live_rows": 10, "updates": 4, "hot_updates": 1, "autovacuums": 2, "mb": mb,
        "packed_mb": packed_mb, "index_mb": index_mb, "packed_index_mb": packed_index_mb,
        "indexes": {},
    }  # fmt: skip


def test_the_table_compares_a_table_and_its_indexes_with_its_live_rows() -> None:
    measured = {
        "claims": 300,
        "studies": 100,
        "seconds": 10.0,
        "tables": {
            "leases": size(1.0, 0.1, 1.0, 0.1),
            "studies": size(20.0, 10.0, 10.0, 10.0)
            | {
                "indexes": {
                    "ix_half_empty": {"mb": 4.0, "packed_mb": 2.0},
                    "ix_emptier": {"mb": 5.0, "packed_mb": 1.0},
                    "ix_packed": {"mb": 2.0, "packed_mb": 1.9},
                }
            },
            "untouched": size(0.0, 0.0, 0.0, 0.0) | {"live_rows": 0, "updates": 0},
        },
    }
    page = io.StringIO()
    Console(file=page, width=200).print(claims.render(measured))
    lines = [line.split() for line in page.getvalue().splitlines()]
    found = {line[0]: line[1:] for line in lines if line[0] in ("studies", "leases", "all")}
    assert found["studies"] == ["10", "20.0", "10.0", "10.0", "10.0", "1.50", "25%", "2"]
    assert found["all"] == ["21.0", "10.1", "11.0", "10.1", "1.58"]
    assert not any(line[0] == "untouched" for line in lines)
    assert [line for line in lines if line[0].startswith("ix_")] == [
        ["ix_emptier", "5.0", "1.0"],
        ["ix_half_empty", "4.0", "2.0"],
    ]
    large, small = measured["tables"]["studies"], measured["tables"]["leases"]
    assert (claims.is_large(large), claims.is_large(small)) == (True, False)
