"""What every bench says of its machine, and how it summarises several runs."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

from nightdraft.bench.machine import machine_facts, summarise


def test_several_runs_are_their_median_least_and_greatest() -> None:
    assert summarise([3.0, 1.0, 2.00049]) == {"median": 2.0, "least": 1.0, "greatest": 3.0}
    assert summarise([1.0, 2.0]) == {"median": 1.5, "least": 1.0, "greatest": 2.0}
    assert summarise([0.12345]) == {"median": 0.123, "least": 0.123, "greatest": 0.123}


def test_the_machine_is_this_one() -> None:
    facts = machine_facts()
    assert facts["machine"]["cores"] == os.cpu_count()
    # At least half a GB and less than 100 TB: megabytes, neither bytes nor gigabytes.
    assert 500 < facts["machine"]["memory_mb"] < 100_000_000
    assert facts["versions"] == {
        "nightdraft": version("nightdraft"),
        "python": platform.python_version(),
    }
