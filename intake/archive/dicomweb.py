"""Asks a PACS by QIDO-RS and fetches images by WADO-RS (PS3.18 10.6 and 10.4).

No patient is asked for, and nothing of an answer is logged. Each part of an answer is written to a
file of the blob volume as it comes in, and filed as the listener files what is sent to it.
"""

from __future__ import annotations

import functools
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPResponse
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_file_meta_info

from intake.archive.budget import SILENT_TIMES, STUDY_SECONDS
from intake.archive.errors import PacsAway, PullFailed, SetUpWrong, StudyOffline, TooSlow
from intake.archive.listed import ListedInstance, ListedStudy, StudyListing
from intake.archive.listing import (
    Answered,
    check_accession_number,
    list_objects,
    read_studies,
    with_accession_number,
)
from intake.archive.multipart import (
    BrokenMultipart,
    MultipartReader,
    PartBegins,
    PartEnds,
    read_boundary,
)
from intake.archive.source import Progress
from intake.archive.spans import Answer, Span
from intake.archive.web_client import Json, NotThere, TooMuch, WebClient
from intake.dicom.filing import ReceivedFile
from intake.dicom.incoming_file import IncomingFile
from intake.dicom.limits import (
    OUT_OF_RESOURCES,
    STORE_STATUSES,
    TRANSFER_SYNTAXES,
    RefusalReason,
)
from intake.dicom.pynetdicom_setup import new_incoming_file
from intake.dicom.store_handler import StoreHandler
from records.errors import DiskFull, PartError
from records.pacs import Pacs

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Objects as the PACS has them, compressed or not (PS3.18 8.7.3.5.2)."""

_DICOM = "application/dicom"
_STUDY_UID, _SERIES_UID, _SOP_UID = "0020000D", "0020000E", "00080018"

MAX_STRANGE_PARTS = 100
"""Parts of one answer that were not asked for; it is given up then."""


class WebFinder:
    """Asks one PACS.

    Args:
        pacs: which.

    Raises:
        SettingsError: a file cannot be used.
    """

    def __init__(self, pacs: Pacs) -> None:
        self._client = WebClient(pacs)

    def check(self) -> None:
        """Find out whether the PACS answers.

        Raises:
            PacsAway: it does not, or its address is another one.
        """
        try:
            self._client.list_json("studies", limit="1")
        except NotThere:
            raise SetUpWrong(
                f"{self._client.place} has no studies at this address: correct url in "
                "NIGHTDRAFT_PACS_FILE"
            ) from None
        except PullFailed as error:
            raise PacsAway(str(error)) from None

    def walk(self) -> WebFinder:
        """Itself: each question is a call of its own."""
        return self

    def close(self) -> None:
        """Nothing: no connection is kept."""

    def find_studies(self, span: Span) -> Answer:
        """The studies of some dates.

        Raises:
            PacsAway: the PACS does not answer.
        """
        try:
            found, has_more = self._client.list_pages(
                "studies",
                _STUDY_UID,
                StudyDate=span.dates,
                StudyTime=span.times,
                ModalitiesInStudy=span.modality,
            )
        except NotThere:
            self.check()
            found, has_more = [], False
        except (PullFailed, TooMuch) as error:
            return Answer([], is_cut=True, refusal=str(error))
        return Answer(list(read_studies(map(_answered, found))), has_more)

    def find_by_accession_number(self, accession_number: str) -> list[ListedStudy]:
        """The studies of an accession number (0008,0050).

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: it answers with an error, or the number can match others.
        """
        check_accession_number(accession_number)
        found = self._list("studies", _STUDY_UID, AccessionNumber=accession_number)
        return with_accession_number(accession_number, read_studies(map(_answered, found)))

    def list_study(self, study_instance_uid: str) -> StudyListing | None:
        """The objects of a study; None where the PACS does not know the study.

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: it answers with an error.
        """
        study = f"studies/{study_instance_uid}/series"

        def ask_instances(series: str) -> Iterable[Answered]:
            return map(_answered, self._list(f"{study}/{series}/instances", _SOP_UID))

        series = list(map(_answered, self._list(study, _SERIES_UID)))
        return list_objects(study_instance_uid, series, ask_instances)

    def _list(self, path: str, key: str, **parameters: str) -> list[Json]:
        """A list that must be whole; nothing at the address is an empty one."""
        try:
            found, has_more = self._client.list_pages(path, key, **parameters)
        except NotThere:
            self.check()  # a wrong address is not to end each study as unknown
            return []
        if has_more:
            raise PullFailed(f"{self._client.place} gave a part of a list only")
        return found


class WebRetriever:
    """Fetches from one PACS.

    Args:
        pacs: which.
        handler: keeps what comes.

    Raises:
        SettingsError: a file cannot be used.
    """

    def __init__(self, pacs: Pacs, handler: StoreHandler) -> None:
        self._client = WebClient(pacs)
        self._pacs = pacs
        self._handler = handler
        self._address = urllib.parse.urlsplit(pacs.url).hostname or ""

    def retrieve(
        self,
        study_instance_uid: str,
        wanted: Sequence[ListedInstance],
        progress: Progress,
        *,
        whole_series: bool,
    ) -> None:
        """Ask for images; when this returns, what the PACS gave is filed.

        Args:
            study_instance_uid: of the study.
            wanted: the images that are not here.
            progress: called as they come.
            whole_series: whether their series are asked for, or each image.

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: it refuses, its answer cannot be read, or it took too long.
            StudyOffline: nothing came, and it brings the study from slow media.
            DiskFull: there is no room for images.
            PartError: the database or the disk does not take them now.
            LostLease: `progress` raised it; nothing more is asked for.
        """
        deadline = time.monotonic() + STUDY_SECONDS
        failure: PullFailed | None = None
        slow: StudyOffline | None = None
        kept = 0
        for path, uid in _make_paths(study_instance_uid, wanted, whole_series):
            try:
                address = _Address(path, study_instance_uid, uid)
                kept += self._fetch(address, deadline, progress)
            except TooSlow:
                raise
            except PullFailed as error:  # the other images may come
                failure = error
            except StudyOffline as error:
                slow = error
        if slow and not (kept or failure):
            raise slow
        if failure or slow:
            raise PullFailed(str(failure or slow))

    def _fetch(self, address: _Address, deadline: float, progress: Progress) -> int:
        """Fetch one address; returns how many objects are kept."""
        place = self._client.place
        silent = self._pacs.seconds * SILENT_TIMES
        try:
            with self._client.opened(address.path, ACCEPT, silent) as answer:
                if answer.status == HTTPStatus.ACCEPTED:
                    raise StudyOffline(f"{place} brings the study from slow media (202)")
                if answer.status == HTTPStatus.NO_CONTENT:
                    return 0
                for event in self._read_parts(answer, deadline + silent):
                    self._take(event, address)
                    progress()
                    if time.monotonic() > deadline:
                        raise TooSlow(f"{place} took longer than {STUDY_SECONDS:g} s for a study")
        except BrokenMultipart as error:
            raise PullFailed(f"an answer of {place} {error}") from None
        finally:
            if address.file is not None:
                address.file.discard()
        return address.kept

    def _read_parts(
        self, answer: HTTPResponse, deadline: float
    ) -> Iterator[PartBegins | PartEnds | bytes]:
        """The parts of an answer; some servers send a single object without multipart."""
        content = self._client.read(answer, deadline)
        if answer.headers.get_content_type() == _DICOM and "Content-Type" in answer.headers:
            if not (answer.chunked or answer.headers.get("Content-Length")):
                raise BrokenMultipart("has an end that cannot be told from a broken connection")
            yield PartBegins({})
            yield from content
            yield PartEnds()
            return
        reader = MultipartReader(read_boundary(answer.headers.get("Content-Type", "")))
        for chunk in content:
            yield from reader.feed(chunk)
            if reader.has_ended:  # nothing behind it means anything
                return
        yield from reader.close()

    def _take(self, event: PartBegins | PartEnds | bytes, address: _Address) -> None:
        """Write a part as it comes, and file it once it is whole."""
        if isinstance(event, PartBegins):
            address.file = new_incoming_file()
        elif address.file is None:
            return
        elif isinstance(event, PartEnds):
            file, address.file = address.file, None
            self._keep(file, address)
        else:
            address.file.write(event)

    def _keep(self, file: IncomingFile, address: _Address) -> None:
        """File one object."""
        try:
            digest = file.finish()
            if file.refusal_reason is RefusalReason.DISK_FULL:
                raise DiskFull("there is less room on the disk than NIGHTDRAFT_DISK_STOP_MB")
            file.close()
            received = _describe(file, digest, self._pacs, address.study_instance_uid)
            refusal_reason = file.refusal_reason or _why_not(received, address)
            reason = self._handler.take(received, self._address, refusal_reason)
        finally:
            file.discard()
        if reason is RefusalReason.DISK_FULL:
            raise DiskFull("there is less room on the disk than NIGHTDRAFT_DISK_STOP_MB")
        if reason is not None and STORE_STATUSES[reason].code == OUT_OF_RESOURCES:
            raise PartError(STORE_STATUSES[reason].sentence)
        address.kept += reason is None
        address.strange += reason is RefusalReason.NOT_ASKED_FOR
        if address.strange >= MAX_STRANGE_PARTS:
            raise BrokenMultipart("is full of what was not asked for")


@dataclass(slots=True)
class _Address:
    """An address that is fetched, what it stands for, and what came of it.

    Attributes:
        path: below the service's address.
        study_instance_uid: of the study.
        sop_instance_uid: of the object; "" is a series.
        file: the part that is coming in.
        kept: how many objects are kept.
        strange: how many were not asked for.
    """

    path: str
    study_instance_uid: str
    sop_instance_uid: str
    file: IncomingFile | None = None
    kept: int = 0
    strange: int = 0


def _why_not(received: ReceivedFile, address: _Address) -> RefusalReason | None:
    """Why an object is not taken by what its file's meta information says."""
    syntax, uid = received.transfer_syntax_uid, received.sop_instance_uid
    if syntax and syntax not in TRANSFER_SYNTAXES:  # deflated: a small one may be huge
        return RefusalReason.UNREADABLE
    if uid and address.sop_instance_uid not in ("", uid):
        return RefusalReason.NOT_ASKED_FOR
    return None


def _describe(file: IncomingFile, digest: str, pacs: Pacs, study: str) -> ReceivedFile:
    """What the file's meta information says of its object (PS3.10 7.1); "" where it has none."""
    try:
        meta = read_file_meta_info(file.path)
        sop_class, instance, syntax = (
            str(meta.get(keyword, ""))
            for keyword in (
                "MediaStorageSOPClassUID",
                "MediaStorageSOPInstanceUID",
                "TransferSyntaxUID",
            )
        )
    except Exception:  # pydicom raises all kinds of errors for damaged files; filing says which
        sop_class = instance = syntax = ""
    return ReceivedFile(
        path=Path(file.name),
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        transfer_syntax_uid=syntax,
        calling_ae=pacs.ae_title or pacs.name[:16],
        size=file.size,
        sha256=digest,
        study_instance_uid=study,
    )


def _make_paths(
    study: str, wanted: Sequence[ListedInstance], whole_series: bool
) -> Iterator[tuple[str, str]]:
    """Addresses, each with the SOP Instance UID that it stands for; "" is a series."""
    if whole_series:
        for series in dict.fromkeys(one.series_instance_uid for one in wanted):
            yield f"studies/{study}/series/{series}", ""
        return
    for one in wanted:
        uid = one.sop_instance_uid
        yield f"studies/{study}/series/{one.series_instance_uid}/instances/{uid}", uid


def _answered(data_set: Json) -> Answered:
    return functools.partial(_text, data_set)


def _text(data_set: Json, keyword: str) -> str:
    """The text of an attribute in DICOM JSON (PS3.18 F.2.2); "" where there is none."""
    tag = tag_for_keyword(keyword)
    element = data_set.get(f"{tag:08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list):
        return ""
    texts = [str(value).strip() for value in values if isinstance(value, str | int | float)]
    return "\\".join(text for text in texts if text)
