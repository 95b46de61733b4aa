from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.worker_processes import Part, start


@pytest.fixture
def night(
    database: str, broker: str, data_dir: Path, setting: Callable[..., None]
) -> Callable[..., None]:
    """Real servers, an empty night, the null reporter; `night(lease_seconds=2)` sets more."""
    setting(bundle="null", quiet_seconds=0, retry_seconds=0, sweep_seconds=0.3)
    return setting


@pytest.fixture
def run_part(night: Callable[..., None], tmp_path: Path) -> Iterator[Callable[[str], Part]]:
    """`run_part("prepare")`: a part as a process; ended with the test, whatever happened."""
    running: list[Part] = []

    def run(part: str) -> Part:
        running.append(start(part, tmp_path / f"{part}-{len(running)}.log"))
        return running[-1]

    yield run
    for part in running:
        part.signal_to_end()
    for part in running:
        part.end()
