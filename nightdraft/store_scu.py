"""Sends films to any listener by C-STORE (PS3.4, annex B)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from nightdraft.film_files import FilmFile, SendOutcome, SendResult, describe_results
from nightdraft.secondary_capture import wrap_picture
from records.errors import PartError
from records.tls.calls import ClientTls, TlsAttempt

MAX_CONTEXTS = 128
"""Presentation contexts of one association (PS3.8, 9.3.2.2: odd ids from 1 to 255)."""


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
        yield from describe_results(
            result for result in self.results if result.outcome is not SendOutcome.SENT
        )


def send_files(
    files: Sequence[FilmFile],
    *,
    host: str,
    port: int,
    called: str,
    calling: str,
    associations: int = 1,
    tls: ClientTls | None = None,
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
        tls: How the listener's certificate is checked, where it is reached over TLS.
        on_result: Called once for each file, from several threads, one at a time.

    Raises:
        PartError: Nobody answers at that address, or every association was refused.
    """
    # pynetdicom has only this switch for it. The file's bytes are sent unchanged, in pieces, so a
    # file is never in memory as a whole.
    _config.STORE_SEND_CHUNKED_DATASET = True
    summary = SendSummary()
    waiting: queue.SimpleQueue[list[FilmFile]] = queue.SimpleQueue()
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
            if error := _send_batch(batch, host, port, called, calling, tls, record):
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


def _batches(files: Sequence[FilmFile], associations: int) -> Iterator[list[FilmFile]]:
    """Group the files, whole studies together, so that one association has contexts for a batch."""
    studies: dict[str, list[FilmFile]] = {}
    for file in files:
        studies.setdefault(file.study or str(file.path), []).append(file)
    size = max(1, -(-len(files) // max(1, associations)))
    batch: list[FilmFile] = []
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
    batch: list[FilmFile],
    host: str,
    port: int,
    called: str,
    calling: str,
    tls: ClientTls | None,
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
                association, attempt = _associate(batch, host, port, called, calling, tls)
                if association.rejected_contexts and not association.accepted_contexts:
                    for unsent in batch[position:]:
                        record(_context_rejected(unsent))
                    return ""
                error = (
                    ""
                    if association.is_established
                    else _association_error(association, host, port, attempt)
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
    files: Iterable[FilmFile],
    host: str,
    port: int,
    called: str,
    calling: str,
    tls: ClientTls | None,
) -> tuple[Association, TlsAttempt | None]:
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.network_timeout = 30
    ae.connection_timeout = 10
    ae.dimse_timeout = 120
    # One context for each pair, so that the listener accepts or rejects each by itself.
    pairs = dict.fromkeys((file.sop_class, file.transfer_syntax) for file in files)
    tls_args = tls.attempt() if tls else None
    association = ae.associate(
        host,
        port,
        contexts=[build_context(UID(cls), [UID(syntax)]) for cls, syntax in pairs],
        ae_title=called,
        max_pdu=131072,
        tls_args=tls_args,
    )
    return association, tls_args[0] if tls_args else None


def _association_error(
    association: Association, host: str, port: int, attempt: TlsAttempt | None
) -> str:
    if attempt and attempt.problem:
        return f"no association over TLS with {host} port {port}: {attempt.problem}"
    if association.is_rejected:
        rejection = association.acceptor.primitive
        reason = getattr(rejection, "reason_str", "") or "no reason given"
        return f"{host} port {port} refused the association: {reason}"
    if association.is_aborted and association.acceptor.primitive is not None:
        return f"{host} port {port} aborted the association"
    return f"nobody answers at {host} port {port}"


def _send(association: Association, file: FilmFile) -> SendResult | None:
    """Send one C-STORE; return None where the connection broke and another attempt may help."""
    try:
        status = association.send_c_store(file.path if file.sent_as_is else _as_dataset(file))
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


def _context_rejected(file: FilmFile) -> SendResult:
    syntax = UID(file.transfer_syntax).name
    reason = f"the listener does not take {UID(file.sop_class).name} in {syntax}"
    return SendResult(file.path, SendOutcome.UNSENT, reason, file.study)


def _as_dataset(file: FilmFile) -> pydicom.Dataset:
    """Return a film that cannot be sent as the bytes of its file."""
    if file.kind != "DICOM":
        return wrap_picture(file.path)[0]
    ds = pydicom.dcmread(file.path, force=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(file.transfer_syntax)
    return ds


def status_text(status: int) -> str:
    """Return the code and the text of a C-STORE status (PS3.4, B.2.3; PS3.7, annex C)."""
    _, text = STORAGE_SERVICE_CLASS_STATUS.get(status, ("", "unknown status"))
    return f"0x{status:04X} {text or 'Success'}"
