"""Runs the part `retrieve`: fetches studies for campaigns until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from intake.archive.folder_source import FolderSource
from intake.archive.pacs_source import PacsSource
from intake.archive.puller import Puller, SourceState
from intake.archive.source import Source
from intake.dicom.pynetdicom_setup import receive_into, set_up_pynetdicom
from intake.dicom.refusal_log import RefusalLog
from intake.dicom.store_handler import StoreHandler
from intake.turns import run_turns
from records.blobs import Blobs
from records.database.session import database_time, unit_of_work
from records.errors import SettingsError
from records.pacs import read_pacs_file
from records.settings import Settings

PART = "retrieve"

_WRITERS = 4


def make_sources(config: Settings, handler: StoreHandler, blobs: Blobs) -> list[tuple[Source, int]]:
    """The sources that the settings name, each with how many studies it fetches at the same time.

    Raises:
        SettingsError: none is named, or a setting cannot be used.
    """
    sources: list[tuple[Source, int]] = []
    if config.campaign_folders:
        sources.append((FolderSource(config, handler, blobs), 1))
    for pacs in read_pacs_file(config.pacs_file).values():
        # The first of them walks, too; `PacsSource` sees to the number of associations.
        sources.append((PacsSource(pacs, config, handler), max(2, pacs.associations)))
    if not sources:
        raise SettingsError(
            "there is nothing to fetch from: set NIGHTDRAFT_PACS_FILE, or "
            "NIGHTDRAFT_CAMPAIGN_FOLDERS"
        )
    return sources


def run_retrieve(config: Settings, ready: Callable[[], None] | None = None) -> None:
    """Fetch until SIGTERM or SIGINT; a study that is being fetched is ended first.

    Args:
        config: from where, and how often.
        ready: called once studies are fetched.

    Raises:
        SettingsError: as `make_sources`.
        DatabaseDown: PostgreSQL does not answer at the start. Later it is waited for.
    """
    with unit_of_work() as session:
        database_time(session)
    set_up_pynetdicom()
    ended = threading.Event()
    blobs = Blobs(config.data_dir)
    handler = StoreHandler(config, blobs, RefusalLog(), ended)
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="writer") as writers:
        receive_into(blobs.incoming, config.max_instance_mb * 1_000_000, handler.has_room, writers)
        pullers = []
        for source, at_once in make_sources(config, handler, blobs):
            state = SourceState(source, config.query_alarm_seconds)
            pullers += [
                Puller(source, state, config.campaign_ahead, walks=not number, number=number)
                for number in range(at_once)
            ]
        run_turns(PART, pullers, lambda: {"fetched": sum(one.pulled for one in pullers)}, ready)
        ended.set()
