from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from intake.archive.pacs_source import PacsSource
from intake.dicom.pynetdicom_setup import receive_into, set_up_pynetdicom
from intake.dicom.refusal_log import RefusalLog
from intake.dicom.store_handler import StoreHandler
from records.blobs import Blobs
from records.pacs import Pacs
from records.settings import settings
from tests.support.pacs import keep_pynetdicom


@pytest.fixture
def make_source(
    database: str,
    data_dir: Path,
    setting: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[Pacs], PacsSource]]:
    """`make_source(pacs)` is a PACS as the part `retrieve` fetches from it, in this process."""
    setting(disk_stop_mb=0, disk_warn_mb=0)
    keep_pynetdicom(monkeypatch)
    set_up_pynetdicom()
    blobs = Blobs(data_dir)
    blobs.make_folders()
    with ThreadPoolExecutor(2) as writers:

        def make(pacs: Pacs) -> PacsSource:
            config = settings()
            handler = StoreHandler(config, blobs, RefusalLog(), threading.Event())
            max_bytes = config.max_instance_mb * 1_000_000
            receive_into(blobs.incoming, max_bytes, handler.has_room, writers)
            return PacsSource(pacs, config, handler)

        yield make
