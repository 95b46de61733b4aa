"""Sends the DICOM files of a folder to any listener by C-STORE (PS3.4, annex B).

Knows files and answers; knows no records of ours, so it sends to any storage SCP.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from records.errors import NotFound, PartError

MOST_CONTEXTS = 128
"""Presentation contexts of one association (PS3.8, 9.3.2.2: odd ids from 1 to 255)."""

_HEAD = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")


class Outcome(Enum):
    """What became of one file."""

    SENT = "sent"
    REFUSED = "refused"  # the listener answered no
    UNSENT = "not sent"  # no answer: no common transfer syntax, or the connection broke
    NOT_DICOM = "not DICOM"


@dataclass(frozen=True, slots=True)
class Film:
    """A file that can be sent."""

    path: Path
    sop_class: str
    transfer_syntax: str
    study: str
    whole: bool  # its file meta group says the same, so its bytes go as they are


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one file, and why in words."""

    path: Path
    outcome: Outcome
    meaning: str = ""
    study: str = ""


@dataclass
class Sending:
    """All answers so far."""

    answers: list[Answer] = field(default_factory=list)

    def of(self, outcome: Outcome) -> list[Answer]:
        """The answers of one outcome."""
        return [answer for answer in self.answers if answer.outcome is outcome]

    @property
    def taken(self) -> set[str]:
        """Study Instance UIDs of which at least one file was taken."""
        return {answer.study for answer in self.of(Outcome.SENT)}

    @property
    def turned_away(self) -> set[str]:
        """Study Instance UIDs of which no file was taken."""
        away = (*self.of(Outcome.REFUSED), *self.of(Outcome.UNSENT))
        return {answer.study for answer in away} - self.taken

    @property
    def whole(self) -> bool:
        """Whether everything that is DICOM was taken, and there was something."""
        return bool(self.of(Outcome.SENT)) and not (
            self.of(Outcome.REFUSED) or self.of(Outcome.UNSENT)
        )

    def lines(self) -> Iterator[str]:
        """The summary: one line an outcome and meaning, with the names of a few files."""
        yield f"{len(self.of(Outcome.SENT))} sent"
        for outcome in (Outcome.REFUSED, Outcome.UNSENT, Outcome.NOT_DICOM):
            answers = self.of(outcome)
            for meaning, count in Counter(answer.meaning for answer in answers).most_common():
                names = [answer.path.name for answer in answers if answer.meaning == meaning]
                some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                yield f"{count} {outcome.value}{': ' if meaning else ''}{meaning} ({some})"


def find_films(folder: Path) -> Iterator[Film | Answer]:
    """Every file under the folder, in order of name: a film to send, or why it is none.

    Raises:
        NotFound: there is no such folder.
    """
    if not folder.exists():
        raise NotFound(f"there is no folder {folder}")
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    for path in files:
        yield _look_at(path)


def _look_at(path: Path) -> Film | Answer:
    try:
        with path.open("rb") as file:
            start = file.read(132)
        whole = start[128:132] == b"DICM"
        # A data set alone, as some archives keep it, begins with group 0008.
        if not whole and start[:2] != b"\x08\x00":
            return Answer(path, Outcome.NOT_DICOM)
        # The last of the tags that are asked for lies before the pixels, which are not read.
        head = pydicom.dcmread(
            path, force=not whole, stop_before_pixels=True, specific_tags=[Tag(t) for t in _HEAD]
        )
        sop_class = str(head.get("SOPClassUID", ""))
        syntax = str(head.file_meta.get("TransferSyntaxUID", "")) if whole else ""
        if not sop_class:
            return Answer(path, Outcome.NOT_DICOM, "no SOP class")
        if not syntax:
            syntax = ImplicitVRLittleEndian if head.original_encoding[0] else ExplicitVRLittleEndian
            whole = False
        # Bytes go as they are under the UIDs of the file meta group: those must be the object's.
        whole = whole and all(
            head.file_meta.get(f"MediaStorage{name}") == head.get(name)
            for name in ("SOPClassUID", "SOPInstanceUID")
        )
        return Film(path, sop_class, str(syntax), str(head.get("StudyInstanceUID", "")), whole)
    except Exception as error:  # pydicom raises what its parser comes upon; the next file is fine
        return Answer(path, Outcome.NOT_DICOM, f"unreadable ({type(error).__name__})")


def send_films(
    films: Sequence[Film],
    *,
    host: str,
    port: int,
    called: str,
    calling: str,
    associations: int = 1,
    told: Callable[[Answer], None] = lambda _: None,
) -> Sending:
    """Send the films over so many associations at the same time.

    told: is called once for each film, from several threads, one at a time.

    Raises:
        PartError: nobody answers there, or every association was refused.
    """
    # Its only way to be told. Bytes go as they are, in pieces: a film is never whole in memory.
    _config.STORE_SEND_CHUNKED_DATASET = True
    sending = Sending()
    waiting: queue.SimpleQueue[list[Film]] = queue.SimpleQueue()
    for batch in _batches(films, associations):
        waiting.put(batch)
    lock = threading.Lock()
    no_association: list[str] = []

    def tell(answer: Answer) -> None:
        with lock:
            sending.answers.append(answer)
            told(answer)

    def work() -> None:
        while True:
            try:
                batch = waiting.get_nowait()
            except queue.Empty:
                return
            if why := _send_batch(batch, host, port, called, calling, tell):
                no_association.append(why)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(max(1, associations))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if no_association and not any(
        answer.outcome in (Outcome.SENT, Outcome.REFUSED) for answer in sending.answers
    ):
        raise PartError(no_association[0])
    return sending


def _batches(films: Sequence[Film], associations: int) -> Iterator[list[Film]]:
    """The films, whole studies together, in batches whose contexts fit one association."""
    studies: dict[str, list[Film]] = {}
    for film in films:
        studies.setdefault(film.study or str(film.path), []).append(film)
    size = max(1, -(-len(films) // max(1, associations)))
    batch: list[Film] = []
    contexts: set[tuple[str, str]] = set()
    for study in studies.values():
        for film in study:
            pair = (film.sop_class, film.transfer_syntax)
            if pair not in contexts and len(contexts) == MOST_CONTEXTS:
                yield batch
                batch, contexts = [], set()
            batch.append(film)
            contexts.add(pair)
        if len(batch) >= size:
            yield batch
            batch, contexts = [], set()
    if batch:
        yield batch


def _send_batch(
    batch: list[Film],
    host: str,
    port: int,
    called: str,
    calling: str,
    tell: Callable[[Answer], None],
) -> str:
    """Send a batch; a broken association is made anew once for each film that it broke at.

    Returns why there was no association, or nothing.
    """
    association: Association | None = None
    why = ""
    for film in batch:
        for last in (False, True):
            if association is None or not association.is_established:
                association = _associate(batch, host, port, called, calling)
                if association.rejected_contexts and not association.accepted_contexts:
                    for one in batch[batch.index(film) :]:
                        tell(_not_taken(one))
                    return ""
                why = "" if association.is_established else _refusal(association, host, port)
            if why:
                tell(Answer(film.path, Outcome.UNSENT, why, film.study))
                break
            answer = _send(association, film)
            if answer is None:
                # It may still call itself established, and would then keep us waiting.
                association = None
            if answer is not None or last:
                tell(
                    answer or Answer(film.path, Outcome.UNSENT, "the connection broke", film.study)
                )
                break
    if association is not None and association.is_established:
        association.release()
    return why


def _associate(
    films: Iterable[Film], host: str, port: int, called: str, calling: str
) -> Association:
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.network_timeout = 30
    ae.connection_timeout = 10
    ae.dimse_timeout = 120
    # One context for each pair, so that the listener says of each whether it takes it.
    pairs = dict.fromkeys((film.sop_class, film.transfer_syntax) for film in films)
    return ae.associate(
        host,
        port,
        contexts=[build_context(UID(cls), [UID(syntax)]) for cls, syntax in pairs],
        ae_title=called,
        max_pdu=131072,
    )


def _refusal(association: Association, host: str, port: int) -> str:
    if association.is_rejected:
        said: Any = association.acceptor.primitive
        reason = getattr(said, "reason_str", "") or "no reason given"
        return f"{host} port {port} refused the association: {reason}"
    if association.is_aborted and association.acceptor.primitive is not None:
        return f"{host} port {port} broke the association off"
    return f"nobody answers at {host} port {port}"


def _send(association: Association, film: Film) -> Answer | None:
    """One C-STORE; None where the connection broke and another try may help."""
    try:
        status = association.send_c_store(film.path if film.whole else _with_meta(film))
    except ValueError:
        return _not_taken(film)
    except (RuntimeError, OSError):
        return None
    except Exception as error:  # a file that pynetdicom cannot send; the next one is fine
        return Answer(film.path, Outcome.UNSENT, f"unreadable ({type(error).__name__})", film.study)
    if not status:
        return None
    code = int(status.Status)
    if code == 0 or code & 0xF000 == 0xB000:  # warnings are kept objects (PS3.7, annex C)
        return Answer(film.path, Outcome.SENT, meaning_of(code) if code else "", film.study)
    said = str(status.get("ErrorComment", "") or "")
    meaning = meaning_of(code) + (f", {said!r}" if said else "")
    return Answer(film.path, Outcome.REFUSED, meaning, film.study)


def _not_taken(film: Film) -> Answer:
    name = UID(film.transfer_syntax).name
    meaning = f"the listener does not take {UID(film.sop_class).name} in {name}"
    return Answer(film.path, Outcome.UNSENT, meaning, film.study)


def _with_meta(film: Film) -> pydicom.Dataset:
    ds = pydicom.dcmread(film.path, force=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(film.transfer_syntax)
    return ds


def meaning_of(status: int) -> str:
    """A C-STORE status in words (PS3.4, B.2.3; PS3.7, annex C)."""
    _, words = STORAGE_SERVICE_CLASS_STATUS.get(status, ("", "unknown status"))
    return f"0x{status:04X} {words or 'Success'}"
