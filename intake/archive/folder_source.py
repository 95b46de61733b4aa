"""Folders as a source of campaigns: walked by their headers, and filed study by study."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence

from intake.archive.errors import PacsAway
from intake.archive.folder_files import check_folder, file_study
from intake.archive.folder_walk import walk_folder
from intake.archive.source import Progress, Pulled, WalkBatch
from intake.dicom.store_handler import StoreHandler
from records.blobs import Blobs
from records.campaigns import adding, pulling
from records.campaigns.pulling import ClaimedPull
from records.campaigns.walking import ClaimedWalk
from records.database.session import unit_of_work
from records.errors import DiskFull, PartError
from records.settings import Settings
from records.states import CampaignKind


class FolderSource:
    """The folders that NIGHTDRAFT_CAMPAIGN_FOLDERS names, as `intake.archive.source.Source`."""

    name = "folders"
    pacs = ""
    kinds: Sequence[CampaignKind] = (CampaignKind.FOLDER,)
    walked: Sequence[CampaignKind] = (CampaignKind.FOLDER,)
    attempts = 3
    retry_seconds = 60.0
    offline_seconds = 3600.0

    def __init__(self, config: Settings, handler: StoreHandler, blobs: Blobs) -> None:
        self._allowed = config.campaign_folders
        self._handler = handler
        self._blobs = blobs

    def walk(self, walk: ClaimedWalk) -> Generator[WalkBatch]:
        """Walk the campaign's folder; what it has already is not read again."""
        folder = check_folder(str(walk.source["folder"]), self._allowed)

        def known(paths: Collection[str]) -> Collection[str]:
            with unit_of_work() as session:
                return adding.list_known_files(session, walk.campaign_id, list(paths))

        for batch in walk_folder(folder, known):
            yield WalkBatch((), None, batch.studies, batch.counts.sentence())

    def find(self, accession_number: str) -> Sequence[str]:
        """None: a folder's studies are known by their UID."""
        del accession_number
        return []

    def pull(self, pull: ClaimedPull, progress: Progress) -> Pulled | None:
        """File the files of a study."""
        try:
            folder = check_folder(str(pull.source["folder"]), self._allowed)
            with unit_of_work() as session:
                paths = pulling.list_files(session, pull)
            filed = file_study(folder, paths, self._handler, self._blobs, progress)
        except DiskFull:
            raise
        except PartError as error:
            raise PacsAway(str(error)) from None
        return Pulled(listed=len(paths) - filed.unwanted, missing=filed.refused)

    def check(self) -> None:
        """Nothing: a folder is looked at when a campaign needs it."""

    def wait_seconds(self, now: float) -> float:
        """No wait: the disk sets the pace, and the pipeline takes a few studies at a time."""
        del now
        return 0.0
