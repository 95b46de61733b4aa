"""Finds the films in a folder, and says of every other file why it is not sent."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from nightdraft.secondary_capture import PictureRefused, picture_kind, wrap_picture
from records.errors import NotFound

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""A file with such a name that is no DICOM, or empty, may be a film that was not copied whole. The
companions that macOS makes ("._film.dcm") are none."""

_IDENTIFYING_TAGS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")


_OTHER_FORMATS = (
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"II*\0", "a TIFF picture: save it as PNG"),
    (b"MM\0*", "a TIFF picture: save it as PNG"),
    (b"BM", "a BMP picture: save it as PNG"),
    (b"GIF8", "a GIF picture: save it as PNG"),
    (b"%PDF", "a PDF document"),
)
"""Files that people take for films, by their first bytes."""


class SendOutcome(Enum):
    """What became of one file."""

    SENT = "sent"
    REFUSED = "refused"  # the listener answered with a failure status
    UNSENT = "not sent"  # it cannot be read, no common transfer syntax, or the connection broke
    NOT_DICOM = "not DICOM"
    NOT_AN_OBJECT = "not an object"  # a DICOMDIR, which lists the files beside it


@dataclass(frozen=True, slots=True)
class FilmFile:
    """A file that can be sent.

    Args:
        path: The file.
        sop_class: SOP Class UID.
        transfer_syntax: Transfer Syntax UID.
        study: Study Instance UID; may be empty.
        sent_as_is: Whether the file meta group agrees with the data set, so that the file's bytes
            can be sent unchanged.
        kind: "DICOM"; or "PNG" or "JPEG", which is wrapped as Secondary Capture when it is sent.
        remark: What wrapping does to a picture, for people; "" where nothing.
        accession: The accession number of a wrapped picture; "" of DICOM.
    """

    path: Path
    sop_class: str
    transfer_syntax: str
    study: str
    sent_as_is: bool
    kind: str = "DICOM"
    remark: str = ""
    accession: str = ""


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one file.

    Args:
        path: The file.
        outcome: Whether it was sent.
        reason: Why, for people; empty for a plain success.
        study: Study Instance UID; may be empty.
    """

    path: Path
    outcome: SendOutcome
    reason: str = ""
    study: str = ""


def describe_results(results: Iterable[SendResult]) -> Iterator[str]:
    """Yield one line for each outcome and reason, with the names of a few files."""
    kinds: dict[tuple[SendOutcome, str], list[str]] = {}
    for result in results:
        names = kinds.setdefault((result.outcome, result.reason), [])
        names.append(printable_name(result.path))
    for outcome in SendOutcome:
        same = [(reason, names) for (found, reason), names in kinds.items() if found is outcome]
        for reason, names in sorted(same, key=lambda item: -len(item[1])):
            listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            yield f"{len(names)} {outcome.value}{': ' if reason else ''}{reason} ({listed})"


def describe_files(files: Iterable[FilmFile]) -> str:
    """Return how many files of each kind there are: "12 DICOM, 3 PNG (1 turned grey)"."""
    parts = []
    files = list(files)
    for kind, count in Counter(file.kind for file in files).items():
        remarks = Counter(file.remark for file in files if file.kind == kind and file.remark)
        listed = ", ".join(f"{number} {remark}" for remark, number in remarks.items())
        parts.append(f"{count} {kind}" + (f" ({listed})" if listed else ""))
    return ", ".join(parts) or "none"


def printable_name(path: Path) -> str:
    """Return a file's name without what a terminal obeys or an encoding refuses."""
    return ascii(path.name)[1:-1] if not path.name.isprintable() else path.name


def find_films(folder: Path, *, pictures: bool = False) -> Iterator[FilmFile | SendResult]:
    """Look at every file under a folder, in order of name, folder by folder.

    Args:
        folder: The folder, or a single file.
        pictures: Take PNG and JPEG for films, too; each is decoded, to see whether it can be one.

    Yields:
        A file to send, or the result of one that cannot be sent.

    Raises:
        NotFound: The folder does not exist.
    """
    if not folder.exists():
        raise NotFound(f"there is no folder {folder}")
    if folder.is_file():
        yield _identify(folder, pictures)
        return
    closed: list[OSError] = []
    visited: set[tuple[int, int]] = set()
    # Links to folders are followed, for they may be how an archive is laid out.
    for path, folders, names in os.walk(folder, onerror=closed.append, followlinks=True):
        status = Path(path).stat()
        if (status.st_dev, status.st_ino) in visited:  # a link to a folder that was seen
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(names):
            file = Path(path) / name
            if file.is_file():
                yield _identify(file, pictures)
            elif file.is_symlink() and not file.exists():
                yield SendResult(file, SendOutcome.UNSENT, "the link leads nowhere")
        for error in closed:
            yield _unopened(Path(error.filename), error)
        closed.clear()
    for error in closed:
        yield _unopened(Path(error.filename), error)


def _unopened(path: Path, error: OSError) -> SendResult:
    return SendResult(path, SendOutcome.UNSENT, f"cannot be opened ({error.strerror})")


def _identify(path: Path, pictures: bool) -> FilmFile | SendResult:
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        return _unopened(path, error)
    if kind := picture_kind(start):
        return _identify_picture(path, kind, pictures)
    has_preamble = start[128:132] == b"DICM"
    # Some archives leave out the preamble, or keep the data set alone: then the file begins with a
    # short element of group 0002 or 0008.
    if not has_preamble and not (start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\x00"):
        if path.suffix.lower() in _DICOM_SUFFIXES and not path.name.startswith("._"):
            reason = "it is named like DICOM, but is not"
            return SendResult(path, SendOutcome.UNSENT, reason if start else "it is empty")
        other = (name for mark, name in _OTHER_FORMATS if start.startswith(mark))
        return SendResult(path, SendOutcome.NOT_DICOM, next(other, ""))
    try:
        meta = read_file_meta_info(path) if has_preamble else FileMetaDataset()
        if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return SendResult(path, SendOutcome.NOT_AN_OBJECT, "a DICOMDIR")
        return _identify_data_set(path, meta)
    except Exception as error:  # pydicom raises many types; the next file may be fine
        return SendResult(path, SendOutcome.UNSENT, f"unreadable ({type(error).__name__})")


def _identify_picture(path: Path, kind: str, is_wanted: bool) -> FilmFile | SendResult:
    if not is_wanted:
        # A CD for patients holds the icons of its viewer beside the films.
        return SendResult(path, SendOutcome.NOT_DICOM, f"a {kind} picture, which --pictures sends")
    try:
        ds, picture = wrap_picture(path)
    except PictureRefused as error:
        return SendResult(path, SendOutcome.UNSENT, f"a {kind} picture: {error}")
    except OSError as error:
        return _unopened(path, error)
    return FilmFile(
        path,
        str(ds.SOPClassUID),
        str(ds.file_meta.TransferSyntaxUID),
        str(ds.StudyInstanceUID),
        sent_as_is=False,
        kind=kind,
        remark=picture.remark,
        accession=str(ds.AccessionNumber),
    )


def _identify_data_set(path: Path, meta: FileMetaDataset) -> FilmFile | SendResult:
    """Identify a DICOM file by its data set, or by its file meta group where that suffices.

    Raises:
        Exception: Neither can be read.
    """
    # UIDs of the file meta group, under which the file's bytes can be sent unchanged.
    syntax, sop_class, instance = (
        str(meta.get(name, ""))
        for name in (
            "TransferSyntaxUID",
            "MediaStorageSOPClassUID",
            "MediaStorageSOPInstanceUID",
        )
    )
    try:
        # The last of these tags lies before the pixels, which are not read.
        head = pydicom.dcmread(
            path,
            force=not meta,
            stop_before_pixels=True,
            specific_tags=[Tag(name) for name in _IDENTIFYING_TAGS],
        )
    except Exception:
        # Some elements, sequences nested a thousand times among them, are too much for pydicom.
        # Whether they are for the receiver is for the receiver to say.
        if not (syntax and sop_class and instance):
            raise
        return FilmFile(path, sop_class, syntax, "", sent_as_is=True)
    head_class = str(head.get("SOPClassUID", ""))
    if not head_class:
        return SendResult(path, SendOutcome.UNSENT, "no SOP class")
    sent_as_is = bool(syntax) and (sop_class, instance) == (
        head_class,
        str(head.get("SOPInstanceUID", "")),
    )
    if not syntax:
        # Without preamble, the file meta group is read with the data set.
        syntax = str(head.file_meta.get("TransferSyntaxUID", ""))
    if not syntax:
        syntax = ImplicitVRLittleEndian if head.original_encoding[0] else ExplicitVRLittleEndian
    return FilmFile(path, head_class, syntax, str(head.get("StudyInstanceUID", "")), sent_as_is)
