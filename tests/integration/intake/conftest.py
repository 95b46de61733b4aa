from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom.config
import pytest

from tests.support.dicom_senders import Running, start_listener


@pytest.fixture(autouse=True)
def _senders_may_break_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.config.settings, "_writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)


@pytest.fixture
def listen(
    database: str, data_dir: Path, setting: Callable[..., None], tmp_path: Path
) -> Iterator[Callable[..., Running]]:
    """`listen(disk_stop_mb=0)`: start a listener's process with settings; ended with the test."""
    running: list[Running] = []

    def start(**settings: object) -> Running:
        # The disk of whoever runs the tests may be nearly full; tests of that say so themselves.
        setting(**{"disk_stop_mb": 0, "disk_warn_mb": 0, **settings})
        running.append(start_listener(tmp_path))
        assert running[-1].port, running[-1].log.read_text()
        return running[-1]

    yield start
    for one in running:
        one.end()
