"""Asks a PACS by C-FIND which studies it has, and which objects a study has (PS3.4 annex C).

No patient is asked for, and nothing of an answer is logged. A PACS may ignore a key and answer with
more, so every answer is compared with what was asked. Relational queries are not assumed: a study's
series are asked for first, and then the objects of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

from intake.archive.dimse import DimseClient
from intake.archive.errors import PacsAway, PullFailed
from intake.archive.listed import Availability, ListedInstance, ListedStudy, StudyListing
from intake.archive.spans import Answer, Span
from intake.archive.wanted import sort_out, unwanted_reason
from intake.dicom.filing import ObjectRefused, element_text
from intake.dicom.limits import is_valid_uid
from records.pacs import Pacs
from records.settings import Settings
from records.workflow.identifiers import plain_key

SUCCESS = 0x0000
PENDING = frozenset({0xFF00, 0xFF01})
"""C-FIND statuses with an answer; 0xFF01: optional keys were not matched (PS3.4 C.4.1.1.4)."""

_OUT_OF_RESOURCES = range(0xA700, 0xA800)

MAX_ANSWERS = 20_000
"""Answers to one question. A question that has more is cancelled, and its span divided."""

_MESSAGE_ID = 1

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


class Asked:
    """An association over which questions are asked.

    Args:
        association: pynetdicom's.
        place: the PACS, for a person.
    """

    def __init__(self, association: Any, place: str) -> None:
        self._association = association
        self._place = place

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
        responses = self._association.send_c_find(identifier, StudyRootFind, msg_id=_MESSAGE_ID)
        is_cancelled = False
        for status, answer in responses:
            code = status.get("Status")
            if code is None:
                break
            if code not in PENDING:
                return answers, int(code)
            if answer is None:
                raise PullFailed(f"an answer of {self._place} cannot be read")
            if is_cancelled:
                continue
            answers.append(answer)
            if len(answers) >= MAX_ANSWERS:
                is_cancelled = True
                self._association.send_c_cancel(_MESSAGE_ID, query_model=StudyRootFind)
        raise PacsAway(f"{self._place} stopped answering in the midst of a question")

    def find_whole(self, level: str, keys: tuple[str, ...], **asked: str) -> list[Dataset]:
        """Ask a question whose answers must all be there.

        Raises:
            PacsAway: the PACS stops answering, or has no room or time now.
            PullFailed: it answers with an error, or with too much.
        """
        answers, status = self.find(level, keys, **asked)
        if status == SUCCESS:
            return answers
        text = f"{self._place} answered a C-FIND at {level} level with status 0x{status:04X}"
        if status in _OUT_OF_RESOURCES:
            raise PacsAway(text)
        raise PullFailed(text)


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

    def check(self) -> None:
        """Find out whether the PACS answers.

        Raises:
            PacsAway: it does not.
        """
        self._client.check()

    def find_studies(self, span: Span) -> Answer:
        """The studies of some dates.

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: an answer cannot be read.
        """
        with self._asked() as asked:
            keys = {"StudyDate": span.dates, "StudyTime": span.times}
            found, status = asked.find(
                "STUDY", _STUDY_KEYS, **keys, ModalitiesInStudy=span.modality
            )
        refusal = ""
        if status != SUCCESS and not found:
            refusal = f"{self._client.place} answered a C-FIND with status 0x{status:04X}"
        return Answer(list(_read_studies(found)), status != SUCCESS, refusal)

    def find_by_accession_number(self, accession_number: str) -> list[ListedStudy]:
        """The studies of an accession number (0008,0050).

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: it answers with an error, or the number can match others.
        """
        if any(letter in accession_number for letter in "*?\\"):
            raise PullFailed("an accession number with *, ? or \\ cannot be asked for")
        with self._asked() as asked:
            found = asked.find_whole("STUDY", _STUDY_KEYS, AccessionNumber=accession_number)
        return [
            study
            for study in _read_studies(found)
            if plain_key(study.accession_number) == plain_key(accession_number)
        ]

    def list_study(self, study_instance_uid: str) -> StudyListing | None:
        """The objects of a study; None where the PACS does not know the study.

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: it answers with an error.
        """
        listed: list[ListedInstance] = []
        unwanted: Counter[str] = Counter()
        with self._asked() as asked:
            study = {"StudyInstanceUID": study_instance_uid}
            series = _series(asked.find_whole("SERIES", _SERIES_KEYS, **study), study_instance_uid)
            for uid, (modality, series_availability) in series.items():
                if reason := unwanted_reason("", modality):
                    # The objects of a series of CT slices are not asked for.
                    unwanted[reason] += 1
                    continue
                images = asked.find_whole("IMAGE", _IMAGE_KEYS, **study, SeriesInstanceUID=uid)
                for image in images:
                    sop = _text(image, "SOPInstanceUID")
                    is_other = _text(image, "SeriesInstanceUID") not in ("", uid) or _text(
                        image, "StudyInstanceUID"
                    ) not in ("", study_instance_uid)
                    if is_other or not is_valid_uid(sop):
                        continue
                    own = Availability.of(_text(image, "InstanceAvailability"))
                    sop_class = _text(image, "SOPClassUID")
                    listed.append(
                        ListedInstance(
                            sop,
                            sop_class if is_valid_uid(sop_class) else "",
                            uid,
                            modality,
                            own or series_availability,
                        )
                    )
        if not series:
            return None
        return sort_out(listed, unwanted)

    @contextmanager
    def _asked(self) -> Iterator[Asked]:
        with self._client.associated([build_context(StudyRootFind)]) as association:
            yield Asked(association, self._client.place)


def _series(answers: list[Dataset], study: str) -> dict[str, tuple[str, Availability]]:
    """Modality and availability of each series of a study."""
    series = {}
    for answer in answers:
        uid = _text(answer, "SeriesInstanceUID")
        if is_valid_uid(uid) and _text(answer, "StudyInstanceUID") in ("", study):
            availability = Availability.of(_text(answer, "InstanceAvailability"))
            series[uid] = (_text(answer, "Modality"), availability)
    return series


def _read_studies(answers: list[Dataset]) -> Iterator[ListedStudy]:
    """The answers as studies; one without a valid UID names nothing that could be fetched."""
    for answer in answers:
        uid = _text(answer, "StudyInstanceUID")
        if not is_valid_uid(uid):
            continue
        instances = _text(answer, "NumberOfStudyRelatedInstances")
        yield ListedStudy(
            uid,
            _text(answer, "AccessionNumber"),
            _text(answer, "StudyDate"),
            _text(answer, "StudyTime"),
            tuple(name for name in _text(answer, "ModalitiesInStudy").split("\\") if name),
            int(instances) if instances.isdigit() else None,
            Availability.of(_text(answer, "InstanceAvailability")),
        )


def _text(answer: Dataset, keyword: str) -> str:
    try:
        return element_text(answer, keyword)
    except ObjectRefused:  # a value that cannot be read is none
        return ""
