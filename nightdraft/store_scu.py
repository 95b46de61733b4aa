"""Sends the DICOM files of a folder to any listener by C-STORE (PS3.4, annex B)."""

from __future__ import annotations

import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from records.errors import NotFound, PartError

MAX_CONTEXTS = 128
"""Presentation contexts of one association (PS3.8, 9.3.2.2: odd ids from 1 to 255)."""

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""A file with such a name that is no DICOM, or empty, may be a film that was not copied whole. The
companions that macOS makes ("._film.dcm") are none."""

_IDENTIFYING_TAGS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")


class SendOutcome(Enum):
    """What became of one file."""

    SENT = "sent"
    REFUSED = "refused"  # the listener answered with a failure status
    UNSENT = "not sent"  # it cannot be read, no common transfer syntax, or the connection broke
    NOT_DICOM = "not DICOM"
    NOT_AN_OBJECT = "not an object"  # a DICOMDIR, which lists the files beside it


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A file that can be sent.

    Args:
        path: The file.
        sop_class: SOP Class UID.
        transfer_syntax: Transfer Syntax UID.
        study: Study Instance UID; may be empty.
        sent_as_is: Whether the file meta group agrees with the data set, so that the file's bytes
            can be sent unchanged.
    """

    path: Path
    sop_class: str
    transfer_syntax: str
    study: str
    sent_as_is: bool


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


@dataclass
class SendSummary:
    """The results of all files so far."""

    results: list[SendResult] = field(default_factory=list)

    def of_outcome(self, outcome: SendOutcome) -> list[SendResult]:
        """Return the results with this outcome."""
        return [result for result in self.results if result.outcome is outcome]

    @property
    def accepted_studies(self) -> set[str]:
        """Study Instance UIDs of which the listener took at least one file."""
        return {result.study for result in self.of_outcome(SendOutcome.SENT)}

    @property
    def rejected_studies(self) -> set[str]:
        """Study Instance UIDs of which the listener took no file."""
        not_taken = (
            *self.of_outcome(SendOutcome.REFUSED),
            *self.of_outcome(SendOutcome.UNSENT),
        )
        return {result.study for result in not_taken} - self.accepted_studies

    @property
    def complete(self) -> bool:
        """Whether the listener took every DICOM file, and there was at least one."""
        return bool(self.of_outcome(SendOutcome.SENT)) and not (
            self.of_outcome(SendOutcome.REFUSED) or self.of_outcome(SendOutcome.UNSENT)
        )

    def lines(self) -> Iterator[str]:
        """Yield one line for each outcome and reason, with the names of a few files."""
        yield f"{len(self.of_outcome(SendOutcome.SENT))} sent"
        for outcome in (
            SendOutcome.REFUSED,
            SendOutcome.UNSENT,
            SendOutcome.NOT_AN_OBJECT,
            SendOutcome.NOT_DICOM,
        ):
            results = self.of_outcome(outcome)
            for reason, count in Counter(result.reason for result in results).most_common():
                names = [_printable(r.path.name) for r in results if r.reason == reason]
                listed_names = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                yield f"{count} {outcome.value}{': ' if reason else ''}{reason} ({listed_names})"


def _printable(name: str) -> str:
    """Return a file's name without what a terminal obeys or an encoding refuses."""
    return ascii(name)[1:-1] if not name.isprintable() else name


def find_dicom_files(folder: Path) -> Iterator[DicomFile | SendResult]:
    """Look at every file under a folder, in order of name, folder by folder.

    Args:
        folder: The folder, or a single file.

    Yields:
        A file to send, or the result of one that cannot be sent.

    Raises:
        NotFound: The folder does not exist.
    """
    if not folder.exists():
        raise NotFound(f"there is no folder {folder}")
    if folder.is_file():
        yield _identify(folder)
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
                yield _identify(file)
            elif file.is_symlink() and not file.exists():
                yield SendResult(file, SendOutcome.UNSENT, "the link leads nowhere")
        for error in closed:
            yield _unopened(Path(error.filename), error)
        closed.clear()
    for error in closed:
        yield _unopened(Path(error.filename), error)


def _unopened(path: Path, error: OSError) -> SendResult:
    return SendResult(path, SendOutcome.UNSENT, f"cannot be opened ({error.strerror})")


def _identify(path: Path) -> DicomFile | SendResult:
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        return _unopened(path, error)
    has_preamble = start[128:132] == b"DICM"
    # Some archives leave out the preamble, or keep the data set alone: then the file begins with a
    # short element of group 0002 or 0008.
    if not has_preamble and not (start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\x00"):
        if path.suffix.lower() in _DICOM_SUFFIXES and not path.name.startswith("._"):
            reason = "it is named like DICOM, but is not"
            return SendResult(path, SendOutcome.UNSENT, reason if start else "it is empty")
        return SendResult(path, SendOutcome.NOT_DICOM)
    try:
        meta = read_file_meta_info(path) if has_preamble else FileMetaDataset()
        if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return SendResult(path, SendOutcome.NOT_AN_OBJECT, "a DICOMDIR")
        return _identify_data_set(path, meta)
    except Exception as error:  # pydicom raises many types; the next file may be fine
        return SendResult(path, SendOutcome.UNSENT, f"unreadable ({type(error).__name__})")


def _identify_data_set(path: Path, meta: FileMetaDataset) -> DicomFile | SendResult:
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
        return DicomFile(path, sop_class, syntax, "", sent_as_is=True)
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
    return DicomFile(path, head_class, syntax, str(head.get("StudyInstanceUID", "")), sent_as_is)


def send_files(
    files: Sequence[DicomFile],
    *,
    host: str,
    port: int,
    called: str,
    calling: str,
    associations: int = 1,
    on_result: Callable[[SendResult], None] = lambda _: None,
) -> SendSummary:
    """Send the files over several associations at the same time.

    Args:
        files: The files; those of one study go over one association, where its presentation
            contexts suffice.
        host: The listener's host.
        port: The listener's port.
        called: The AE title to call.
        calling: The AE title to send as.
        associations: How many associations are open at the same time.
        on_result: Called once for each file, from several threads, one at a time.

    Raises:
        PartError: Nobody answers at that address, or every association was refused.
    """
    # pynetdicom has only this switch for it. The file's bytes are sent unchanged, in pieces, so a
    # file is never in memory as a whole.
    _config.STORE_SEND_CHUNKED_DATASET = True
    summary = SendSummary()
    waiting: queue.SimpleQueue[list[DicomFile]] = queue.SimpleQueue()
    for batch in _batches(files, associations):
        waiting.put(batch)
    lock = threading.Lock()
    association_errors: list[str] = []

    def record(result: SendResult) -> None:
        with lock:
            summary.results.append(result)
            on_result(result)

    def send_batches() -> None:
        while True:
            try:
                batch = waiting.get_nowait()
            except queue.Empty:
                return
            if error := _send_batch(batch, host, port, called, calling, record):
                association_errors.append(error)

    threads = [
        threading.Thread(target=send_batches, daemon=True) for _ in range(max(1, associations))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if association_errors and not any(
        result.outcome in (SendOutcome.SENT, SendOutcome.REFUSED) for result in summary.results
    ):
        raise PartError(association_errors[0])
    return summary


def _batches(files: Sequence[DicomFile], associations: int) -> Iterator[list[DicomFile]]:
    """Group the files, whole studies together, so that one association has contexts for a batch."""
    studies: dict[str, list[DicomFile]] = {}
    for file in files:
        studies.setdefault(file.study or str(file.path), []).append(file)
    size = max(1, -(-len(files) // max(1, associations)))
    batch: list[DicomFile] = []
    contexts: set[tuple[str, str]] = set()
    for study in studies.values():
        for file in study:
            context = (file.sop_class, file.transfer_syntax)
            if context not in contexts and len(contexts) == MAX_CONTEXTS:
                yield batch
                batch, contexts = [], set()
            batch.append(file)
            contexts.add(context)
        if len(batch) >= size:
            yield batch
            batch, contexts = [], set()
    if batch:
        yield batch


def _send_batch(
    batch: list[DicomFile],
    host: str,
    port: int,
    called: str,
    calling: str,
    record: Callable[[SendResult], None],
) -> str:
    """Send a batch; after a break the association is opened again, once for each file.

    Returns:
        Why there was no association, or nothing.
    """
    association: Association | None = None
    error = ""
    for position, file in enumerate(batch):
        for last_attempt in (False, True):
            if association is None or not association.is_established:
                association = _associate(batch, host, port, called, calling)
                if association.rejected_contexts and not association.accepted_contexts:
                    for unsent in batch[position:]:
                        record(_context_rejected(unsent))
                    return ""
                error = (
                    ""
                    if association.is_established
                    else _association_error(association, host, port)
                )
            if error:
                record(SendResult(file.path, SendOutcome.UNSENT, error, file.study))
                break
            result = _send(association, file)
            if result is None:
                # A broken association may still call itself established, and would wait forever.
                association = None
                if not last_attempt:
                    continue
                result = SendResult(
                    file.path, SendOutcome.UNSENT, "the connection broke", file.study
                )
            record(result)
            break
    if association is not None and association.is_established:
        association.release()
    return error


def _associate(
    files: Iterable[DicomFile], host: str, port: int, called: str, calling: str
) -> Association:
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.network_timeout = 30
    ae.connection_timeout = 10
    ae.dimse_timeout = 120
    # One context for each pair, so that the listener accepts or rejects each by itself.
    pairs = dict.fromkeys((file.sop_class, file.transfer_syntax) for file in files)
    return ae.associate(
        host,
        port,
        contexts=[build_context(UID(cls), [UID(syntax)]) for cls, syntax in pairs],
        ae_title=called,
        max_pdu=131072,
    )


def _association_error(association: Association, host: str, port: int) -> str:
    if association.is_rejected:
        rejection = association.acceptor.primitive
        reason = getattr(rejection, "reason_str", "") or "no reason given"
        return f"{host} port {port} refused the association: {reason}"
    if association.is_aborted and association.acceptor.primitive is not None:
        return f"{host} port {port} aborted the association"
    return f"nobody answers at {host} port {port}"


def _send(association: Association, file: DicomFile) -> SendResult | None:
    """Send one C-STORE; return None where the connection broke and another attempt may help."""
    try:
        status = association.send_c_store(file.path if file.sent_as_is else _with_file_meta(file))
    except ValueError:
        return _context_rejected(file)
    except (RuntimeError, OSError):
        return None
    except Exception as error:  # a file that pynetdicom cannot send; the next one may be fine
        return SendResult(
            file.path, SendOutcome.UNSENT, f"unreadable ({type(error).__name__})", file.study
        )
    if not status:
        return None
    code = int(status.Status)
    if code == 0 or code & 0xF000 == 0xB000:  # with a warning, the object is kept (PS3.7, annex C)
        reason = status_text(code) if code else ""
        return SendResult(file.path, SendOutcome.SENT, reason, file.study)
    comment = str(status.get("ErrorComment", "") or "")
    reason = status_text(code) + (f", {comment!r}" if comment else "")
    return SendResult(file.path, SendOutcome.REFUSED, reason, file.study)


def _context_rejected(file: DicomFile) -> SendResult:
    syntax = UID(file.transfer_syntax).name
    reason = f"the listener does not take {UID(file.sop_class).name} in {syntax}"
    return SendResult(file.path, SendOutcome.UNSENT, reason, file.study)


def _with_file_meta(file: DicomFile) -> pydicom.Dataset:
    ds = pydicom.dcmread(file.path, force=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(file.transfer_syntax)
    return ds


def status_text(status: int) -> str:
    """Return the code and the text of a C-STORE status (PS3.4, B.2.3; PS3.7, annex C)."""
    _, text = STORAGE_SERVICE_CLASS_STATUS.get(status, ("", "unknown status"))
    return f"0x{status:04X} {text or 'Success'}"
