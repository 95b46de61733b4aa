from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom.config
import pytest

from tests.support.dicom_senders import ListenerProcess, start_listener


@pytest.fixture(autouse=True)
def _senders_may_break_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)


@pytest.fixture
def listen(
    database: str, data_dir: Path, setting: Callable[..., None], tmp_path: Path
) -> Iterator[Callable[..., ListenerProcess]]:
    """`listen(disk_stop_mb=0)` starts a listener's process; it is stopped after the test."""
    processes: list[ListenerProcess] = []

    def start(**settings: object) -> ListenerProcess:
        # The disk of this machine may be nearly full; a test of a full disk sets its own limit.
        setting(**{"disk_stop_mb": 0, "disk_warn_mb": 0, **settings})
        process = start_listener(tmp_path)
        processes.append(process)
        assert process.port, process.log.read_text()
        return process

    yield start
    for process in processes:
        process.stop()
