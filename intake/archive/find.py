"""Asks a PACS by C-FIND which studies it has, and which objects a study has (PS3.4 annex C).

No patient is asked for, and nothing of an answer is logged. A PACS may ignore a key and answer with
more, so every answer is compared with what was asked. Relational queries are not assumed: a study's
series are asked for first, and then the objects of each.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

from intake.archive.dimse import DimseClient, KeptAssociation
from intake.archive.errors import PacsAway, PullFailed
from intake.archive.listed import ListedStudy, StudyListing
from intake.archive.listing import (
    Answered,
    check_accession_number,
    list_objects,
    read_studies,
    with_accession_number,
)
from intake.archive.spans import Answer, Span
from intake.dicom.filing import ObjectRefused, element_text
from intake.dicom_client import FIND_PENDING, MESSAGE_ID, OUT_OF_RESOURCES, SUCCESS
from records.pacs import Pacs
from records.settings import Settings

MAX_ANSWERS = 20_000
"""Answers to one question. A question that has more is cancelled, and its span divided."""

_CONTEXTS = (build_context(StudyRootFind),)

_STUDY_KEYS = (
    "StudyInstanceUID",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
    "InstanceAvailability",
)
_SERIES_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "InstanceAvailability")
_IMAGE_KEYS = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "InstanceAvailability",
)


class FindAssociation:
    """An association over which questions are asked.

    Args:
        association: pynetdicom's.
        place: the PACS, for a person.
        cut_at: how many answers it gives at most, where that is known; 0 is not known.
    """

    def __init__(self, association: Any, place: str, cut_at: int = 0) -> None:
        self._association = association
        self._place = place
        self._cut_at = cut_at

    def find(self, level: str, keys: tuple[str, ...], **asked: str) -> tuple[list[Dataset], int]:
        """Ask one question.

        Returns:
            The answers, and the ending status; 0xFE00 where we cancelled it.

        Raises:
            PacsAway: the PACS stops answering.
        """
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for keyword in keys:
            setattr(identifier, keyword, asked.get(keyword))
        answers: list[Dataset] = []
        responses = self._association.send_c_find(identifier, StudyRootFind, msg_id=MESSAGE_ID)
        is_cancelled = False
        for status, answer in responses:
            code = status.get("Status")
            if code is None:
                break
            if code not in FIND_PENDING:
                return answers, int(code)
            if answer is None:
                raise PullFailed(f"an answer of {self._place} cannot be read")
            if is_cancelled:
                continue
            answers.append(answer)
            if len(answers) >= MAX_ANSWERS:
                is_cancelled = True
                self._association.send_c_cancel(MESSAGE_ID, query_model=StudyRootFind)
        raise PacsAway(f"{self._place} stopped answering in the midst of a question")

    def find_whole(self, level: str, keys: tuple[str, ...], **asked: str) -> list[Dataset]:
        """Ask a question whose answers must all be there.

        Raises:
            PacsAway: the PACS stops answering, or has no room or time now.
            PullFailed: it answers with an error, or with as much as it gives at most.
        """
        answers, status = self.find(level, keys, **asked)
        if status == SUCCESS and 0 < self._cut_at <= len(answers):
            raise PullFailed(
                f"{self._place} answered a C-FIND at {level} level with {len(answers)} entries, as "
                "many as answers_cut_at: some may be missing"
            )
        if status == SUCCESS:
            return answers
        text = f"{self._place} answered a C-FIND at {level} level with status 0x{status:04X}"
        if status in OUT_OF_RESOURCES:
            raise PacsAway(text)
        raise PullFailed(text)


class DimseWalk:
    """Questions for studies, one after the other, over one association.

    Args:
        client: of the PACS.
    """

    def __init__(self, client: DimseClient) -> None:
        self._kept = KeptAssociation(client, _CONTEXTS)
        self._place = client.place

    def find_studies(self, span: Span) -> Answer:
        """The studies of some dates.

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: an answer cannot be read.
        """

        def ask(association: Any) -> tuple[list[Dataset], int]:
            return FindAssociation(association, self._place).find(
                "STUDY",
                _STUDY_KEYS,
                StudyDate=span.dates,
                StudyTime=span.times,
                ModalitiesInStudy=span.modality,
            )

        found, status = self._kept.ask(ask)
        refusal = ""
        if status != SUCCESS and not found:
            refusal = f"{self._place} answered a C-FIND with status 0x{status:04X}"
        return Answer(list(read_studies(map(_answered, found))), status != SUCCESS, refusal)

    def close(self) -> None:
        """End the association; the next question makes another."""
        self._kept.close()


class DimseFinder:
    """Asks one PACS.

    Args:
        pacs: which, and how it is asked.
        config: our own AE title.

    Raises:
        SettingsError: a file or a title cannot be used.
    """

    def __init__(self, pacs: Pacs, config: Settings) -> None:
        self._client = DimseClient(pacs, config)
        self._cut_at = pacs.answers_cut_at

    def check(self) -> None:
        """Find out whether the PACS answers.

        Raises:
            PacsAway: it does not.
        """
        self._client.check()

    def walk(self) -> DimseWalk:
        """Questions for studies, one after the other, over one association."""
        return DimseWalk(self._client)

    def find_studies(self, span: Span) -> Answer:
        """The studies of some dates, by one question; see `DimseWalk.find_studies`."""
        with closing(self.walk()) as walk:
            return walk.find_studies(span)

    def find_by_accession_number(self, accession_number: str) -> list[ListedStudy]:
        """The studies of an accession number (0008,0050).

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: it answers with an error, or the number can match others.
        """
        check_accession_number(accession_number)
        with self._asked() as asked:
            found = asked.find_whole("STUDY", _STUDY_KEYS, AccessionNumber=accession_number)
        return with_accession_number(accession_number, read_studies(map(_answered, found)))

    def list_study(self, study_instance_uid: str) -> StudyListing | None:
        """The objects of a study; None where the PACS does not know the study.

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: it answers with an error.
        """
        study = {"StudyInstanceUID": study_instance_uid}
        with self._asked() as asked:

            def ask_instances(series: str) -> Iterable[Answered]:
                keys = {**study, "SeriesInstanceUID": series}
                return map(_answered, asked.find_whole("IMAGE", _IMAGE_KEYS, **keys))

            series = asked.find_whole("SERIES", _SERIES_KEYS, **study)
            return list_objects(study_instance_uid, map(_answered, series), ask_instances)

    @contextmanager
    def _asked(self) -> Iterator[FindAssociation]:
        with self._client.associated(_CONTEXTS) as association:
            yield FindAssociation(association, self._client.place, self._cut_at)


def _answered(answer: Dataset) -> Answered:
    return functools.partial(_text, answer)


def _text(answer: Dataset, keyword: str) -> str:
    try:
        return element_text(answer, keyword)
    except ObjectRefused:  # a value that cannot be read is none
        return ""
