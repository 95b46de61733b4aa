"""Asks a PACS by QIDO-RS and fetches images by WADO-RS (PS3.18 10.6 and 10.4).

No patient is asked for, and nothing of an answer is logged. Each part of an answer is written to a
file of the blob volume as it comes in, and filed as the listener files what is sent to it.
"""

from __future__ import annotations

import functools
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_file_meta_info

from intake.archive.errors import PacsAway, PullFailed, SetUpWrong
from intake.archive.listed import ListedInstance, ListedStudy, StudyListing
from intake.archive.listing import (
    Answered,
    check_accession_number,
    list_objects,
    read_studies,
    with_accession_number,
)
from intake.archive.multipart import BrokenMultipart, MultipartReader, read_boundary
from intake.archive.retrieve import SILENT_TIMES, STUDY_SECONDS, TooSlow
from intake.archive.spans import Answer, Span
from intake.archive.web_client import Json, NotThere, TooMuch, WebClient
from intake.dicom.filing import ReceivedFile
from intake.dicom.incoming_file import IncomingFile
from intake.dicom.limits import OUT_OF_RESOURCES, STORE_STATUSES, RefusalReason
from intake.dicom.pynetdicom_setup import new_incoming_file
from intake.dicom.store_handler import StoreHandler
from records.errors import DiskFull, PartError
from records.pacs import Pacs

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Objects as the PACS has them, compressed or not (PS3.18 8.7.3.5.2)."""


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

    def find_studies(self, span: Span) -> Answer:
        """The studies of some dates.

        Raises:
            PacsAway: the PACS does not answer.
        """
        try:
            found, has_more = self._client.list_json(
                "studies",
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
        found = self._list("studies", AccessionNumber=accession_number)
        return with_accession_number(accession_number, read_studies(map(_answered, found)))

    def list_study(self, study_instance_uid: str) -> StudyListing | None:
        """The objects of a study; None where the PACS does not know the study.

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: it answers with an error.
        """
        study = f"studies/{study_instance_uid}/series"

        def ask_instances(series: str) -> Iterable[Answered]:
            return map(_answered, self._list(f"{study}/{series}/instances"))

        series = list(map(_answered, self._list(study)))
        return list_objects(study_instance_uid, series, ask_instances)

    def _list(self, path: str, **parameters: str) -> list[Json]:
        """A list that must be whole; nothing at the address is an empty one."""
        try:
            found, has_more = self._client.list_json(path, **parameters)
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
        self, study_instance_uid: str, wanted: Sequence[ListedInstance], *, whole_series: bool
    ) -> None:
        """Ask for images; when this returns, what the PACS gave is filed.

        Args:
            study_instance_uid: of the study.
            wanted: the images that are not here.
            whole_series: whether their series are asked for, or each image.

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: it refuses, its answer cannot be read, or it took too long.
            DiskFull: there is no room for images.
            PartError: the database or the disk does not take them now.
        """
        deadline = time.monotonic() + STUDY_SECONDS
        failure: PullFailed | None = None
        for path in _make_paths(study_instance_uid, wanted, whole_series):
            try:
                self._fetch(path, deadline)
            except TooSlow:
                raise
            except PullFailed as error:  # the other images may come
                failure = error
        if failure:
            raise failure

    def _fetch(self, path: str, deadline: float) -> None:
        place = self._client.place
        files = _Files()
        silent = self._pacs.seconds * SILENT_TIMES
        try:
            with self._client.opened(path, ACCEPT, silent) as answer:
                if answer.status == 204:
                    return
                content_type = answer.headers.get("Content-Type", "")
                reader = MultipartReader(read_boundary(content_type), files.begin, files.end)
                for chunk in self._client.read(answer, deadline + silent):
                    reader.feed(chunk)
                    for file in files.take():
                        self._keep(file)
                    if time.monotonic() > deadline:
                        raise TooSlow(f"{place} took longer than {STUDY_SECONDS:g} s for a study")
                reader.close()
        except BrokenMultipart as error:
            raise PullFailed(f"an answer of {place} {error}") from None
        finally:
            files.discard()

    def _keep(self, file: IncomingFile) -> None:
        """File one object."""
        try:
            digest = file.finish()
            if file.refusal_reason is RefusalReason.DISK_FULL:
                raise DiskFull("there is less room on the disk than NIGHTDRAFT_DISK_STOP_MB")
            file.close()
            received = _describe(file, digest, self._pacs)
            reason = self._handler.take(received, self._address, file.refusal_reason)
        finally:
            file.discard()
        if reason is RefusalReason.DISK_FULL:
            raise DiskFull("there is less room on the disk than NIGHTDRAFT_DISK_STOP_MB")
        if reason is not None and STORE_STATUSES[reason].code == OUT_OF_RESOURCES:
            raise PartError(STORE_STATUSES[reason].sentence)


class _Files:
    """The files of the parts of an answer."""

    def __init__(self) -> None:
        self._open: IncomingFile | None = None
        self._whole: list[IncomingFile] = []

    def begin(self) -> functools.partial[int]:
        self._open = new_incoming_file()
        return functools.partial(self._open.write)

    def end(self) -> None:
        if self._open is not None:
            self._whole.append(self._open)
            self._open = None

    def take(self) -> Iterator[IncomingFile]:
        """Those that are whole, each once."""
        while self._whole:
            yield self._whole.pop(0)

    def discard(self) -> None:
        """Remove what is not whole, and what was not taken."""
        for file in (*self._whole, *([self._open] if self._open else ())):
            file.discard()
        self._whole, self._open = [], None


def _describe(file: IncomingFile, digest: str, pacs: Pacs) -> ReceivedFile:
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
    )


def _make_paths(study: str, wanted: Sequence[ListedInstance], whole_series: bool) -> Iterator[str]:
    if whole_series:
        for series in dict.fromkeys(one.series_instance_uid for one in wanted):
            yield f"studies/{study}/series/{series}"
        return
    for one in wanted:
        yield f"studies/{study}/series/{one.series_instance_uid}/instances/{one.sop_instance_uid}"


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
