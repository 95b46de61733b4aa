"""Files the DICOM files of a folder campaign, as the listener files what is sent to it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import read_file_meta_info

from intake.archive.errors import PullFailed
from intake.dicom.filing import ReceivedFile
from intake.dicom.limits import OUT_OF_RESOURCES, STORE_STATUSES, RefusalReason
from intake.dicom.store_handler import StoreHandler
from records.blobs import Blobs, data_set_sha256
from records.campaigns.folders import find_allowed_folder
from records.errors import DiskFull, NotAllowed, PartError

CALLER = "FOLDER"
"""Where pages and rows name the calling AE title of what was sent."""


@dataclass(frozen=True, slots=True)
class FiledFiles:
    """What became of the files of a study.

    Attributes:
        kept: how many are kept.
        unwanted: how many are of a class that is not taken (NIGHTDRAFT_OTHER_OBJECTS).
        refused: SOP Instance UIDs of those that are refused for another reason.
    """

    kept: int
    unwanted: int
    refused: Sequence[str]


class StudyChanged(PullFailed):
    """Files are gone, or cannot be read any more, since the folder was walked."""


def check_folder(folder: str, allowed: Sequence[str]) -> Path:
    """The folder of a campaign, if campaigns may read it.

    Args:
        folder: its path.
        allowed: NIGHTDRAFT_CAMPAIGN_FOLDERS.

    Raises:
        PartError: it is not below one of them.
    """
    try:
        return find_allowed_folder(folder, allowed)
    except NotAllowed as error:
        raise PartError(str(error)) from None


def file_study(
    folder: Path,
    paths: Sequence[str],
    handler: StoreHandler,
    blobs: Blobs,
    progress: Callable[[], None],
) -> FiledFiles:
    """File the files of one study; the folder's own files stay as they are.

    Args:
        folder: of the campaign.
        paths: below the folder.
        handler: files each of them, and writes down what is refused.
        blobs: where objects are kept.
        progress: called after each file.

    Raises:
        DiskFull, PartError: nothing can be kept now; no file after this one was looked at.
        StudyChanged: a file is gone, or is no DICOM file any more.
    """
    kept, unwanted = 0, 0
    refused = []
    for path in paths:
        if not handler.has_room():
            raise DiskFull("there is less room on the disk than NIGHTDRAFT_DISK_STOP_MB")
        received = _copy(folder / path, blobs.incoming / f"{uuid.uuid4().hex}.dcm")
        reason = handler.take(received, "")
        if reason is None:
            kept += 1
        elif reason is RefusalReason.OTHER_OBJECT:
            unwanted += 1
        elif STORE_STATUSES[reason].code == OUT_OF_RESOURCES:
            raise PartError(STORE_STATUSES[reason].sentence)
        else:
            refused.append(received.sop_instance_uid)
        progress()
    return FiledFiles(kept, unwanted, refused)


def _copy(source: Path, copy: Path) -> ReceivedFile:
    """A copy on the blob volume: filing takes the file, and the archive's own is not ours."""
    try:
        meta = read_file_meta_info(source)
        shutil.copyfile(source, copy)
        digest = data_set_sha256(copy)
        size = copy.stat().st_size
    except Exception as error:
        copy.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename != str(source):
            raise PartError(f"the data folder cannot be written ({error.strerror})") from None
        raise StudyChanged(
            "files of the study are gone or changed since the folder was walked"
        ) from None
    return ReceivedFile(
        path=copy,
        sop_class_uid=str(meta.get("MediaStorageSOPClassUID", "")),
        sop_instance_uid=str(meta.get("MediaStorageSOPInstanceUID", "")),
        transfer_syntax_uid=str(meta.get("TransferSyntaxUID", "")),
        calling_ae=CALLER,
        size=size,
        sha256=digest,
    )
