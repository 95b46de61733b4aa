"""Walks a folder for a campaign: which files are of which study, by their headers alone.

The walk is a stream: nothing of it grows with the number of files. Links are not followed, so that
it ends and stays within the folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from intake.dicom.filing import ObjectRefused, element_text, read_header
from intake.dicom.limits import is_valid_uid
from records.errors import PartError

BATCH_FILES = 1000
"""Files of one batch."""


@dataclass(slots=True)
class WalkCounts:
    """What a walk has come by.

    Attributes:
        files: all files.
        dicom: files with a study UID.
        other: files that are no DICOM file, or belong to no study, as a DICOMDIR.
        unreadable: files and folders that cannot be read, are damaged, or whose name is no text.
        bytes: of the DICOM files.
    """

    files: int = 0
    dicom: int = 0
    other: int = 0
    unreadable: int = 0
    bytes: int = 0

    def sentence(self) -> str:
        """The counts for a person; it names no file, for names of files may name patients."""
        text = f"{self.files:,} files, {self.dicom:,} of them DICOM"
        if self.other:
            text += f", {self.other:,} other files were left out"
        if self.unreadable:
            text += f", {self.unreadable:,} could not be read"
        return text


@dataclass(slots=True)
class FolderBatch:
    """Files of one part of a walk.

    Attributes:
        studies: by Study Instance UID, the size in bytes of each file by its path below the folder.
        counts: of the whole walk up to here.
    """

    counts: WalkCounts
    studies: dict[str, dict[str, int]] = field(default_factory=dict)


def walk_folder(
    folder: Path,
    known: Callable[[Collection[str]], Collection[str]] = lambda _: (),
    batch_files: int = BATCH_FILES,
) -> Iterator[FolderBatch]:
    """Walk a folder and all below it.

    Args:
        folder: where to begin.
        known: which of some paths are known already; their headers are not read again. So a walk
            that was broken off begins again, and is at its place within a short time.
        batch_files: files of one batch.

    Yields:
        A batch for each `batch_files` files, also where nothing of it is DICOM.

    Raises:
        PartError: the folder itself cannot be read.
    """
    counts = WalkCounts()
    batch: list[tuple[str, int]] = []
    for path, size in _list_files(folder, counts):
        batch.append((path, size))
        if len(batch) >= batch_files:
            yield _read_batch(folder, batch, known, counts)
            batch.clear()
    yield _read_batch(folder, batch, known, counts)


def _list_files(folder: Path, counts: WalkCounts) -> Iterator[tuple[str, int]]:
    """The path below the folder, and the size, of each regular file; depth first, as a stream."""
    try:
        open_folders = [os.scandir(folder)]
    except OSError as error:
        raise PartError(
            f"the folder of the campaign cannot be read ({error.strerror}): make it readable for "
            "the user of this program, or mount it"
        ) from None
    try:
        while open_folders:
            try:
                entry = next(open_folders[-1], None)
            except OSError:
                counts.unreadable += 1
                entry = None
            if entry is None:
                open_folders.pop().close()
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    open_folders.append(os.scandir(entry.path))
                    continue
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    continue
                path = os.path.relpath(entry.path, folder)
                counts.files += 1
                path.encode("utf-8")  # PostgreSQL keeps no other names
                if "\0" in path:
                    raise ValueError
            except (OSError, ValueError):
                counts.unreadable += 1
                continue
            yield path, status.st_size
    finally:
        for scanned in open_folders:
            scanned.close()


def _read_batch(
    folder: Path,
    batch: list[tuple[str, int]],
    known: Callable[[Collection[str]], Collection[str]],
    counts: WalkCounts,
) -> FolderBatch:
    found = FolderBatch(counts)
    known_paths = set(known([path for path, _ in batch])) if batch else set()
    for path, size in batch:
        if path in known_paths:
            counts.dicom += 1
            counts.bytes += size
            continue
        try:
            uid = read_study_uid(folder / path)
        except (OSError, ObjectRefused):
            counts.unreadable += 1
            continue
        if uid is None:
            counts.other += 1
            continue
        counts.dicom += 1
        counts.bytes += size
        found.studies.setdefault(uid, {})[path] = size
    return found


def read_study_uid(path: Path) -> str | None:
    """The Study Instance UID (0020,000D) of a Part 10 file; None where it is none, or has none.

    A DICOMDIR (PS3.10 section 8.6) has none.

    Raises:
        OSError: the file cannot be opened.
        ObjectRefused: its header is damaged, or has more than the listener would take.
    """
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return None
    uid = element_text(read_header(path), "StudyInstanceUID")
    return uid if is_valid_uid(uid) else None
