"""Fetches the images of a study by C-GET or C-MOVE (PS3.4 annex C).

By C-GET the images come over our own association, and the listener's `StoreHandler` answers each:
what is acknowledged is kept, and what is refused is on the page of refusals. By C-MOVE the PACS
sends them to our listener. The numbers that a PACS gives of its sub-operations say nothing of what
is here; `intake.archive.pacs_source` holds what came against what was listed.
"""

from __future__ import annotations

import copy
import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue
from pynetdicom import build_context, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from intake.archive.budget import SILENT_TIMES, STUDY_SECONDS
from intake.archive.dimse import DimseClient, hang_up
from intake.archive.errors import PacsAway, PullFailed, SetUpWrong, TooSlow
from intake.archive.listed import ListedInstance
from intake.archive.source import Progress
from intake.dicom.incoming_file import IncomingFile
from intake.dicom.limits import (
    RADIOGRAPH_CLASSES,
    SECONDARY_CAPTURE_CLASS,
    TRANSFER_SYNTAXES,
)
from intake.dicom.store_handler import StoreHandler
from intake.dicom_client import MESSAGE_ID, SUCCESS
from records.errors import NightdraftError
from records.pacs import Pacs
from records.settings import Settings

PENDING = 0xFF00
SOME_FAILED = 0xB000
"""Sub-operations are complete, and some failed: what came is looked at (PS3.4 C.4.2.1.5)."""

_MOVE_DESTINATION_UNKNOWN = 0xA801

MAX_CONTEXTS = 128
"""Presentation contexts of one association (PS3.8 table 9-18: odd numbers from 1 to 255)."""

COMMON_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS, lossless
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.81",  # JPEG-LS, near-lossless
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000, lossless
    "1.2.840.10008.1.2.4.202",  # the same with RPCL options
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
)
"""Transfer syntaxes in which archives have radiographs; all classes with all of these fit into one
association."""

INSTANCES_AT_ONCE = 100
"""SOP Instance UIDs in one question."""


Responses = Iterator[tuple[Dataset, Dataset | None]]
"""pynetdicom's: a status and an identifier for each response."""


class DimseRetriever:
    """Fetches from one PACS.

    Args:
        pacs: which, and how it is asked.
        config: our own AE title.
        handler: answers what comes by C-GET.

    Raises:
        SettingsError: a file or a title cannot be used.
    """

    def __init__(self, pacs: Pacs, config: Settings, handler: StoreHandler) -> None:
        self._client = DimseClient(pacs, config)
        self._pacs = pacs
        self._handler = handler

    def retrieve(
        self,
        study_instance_uid: str,
        wanted: Sequence[ListedInstance],
        progress: Progress,
        *,
        whole_series: bool,
    ) -> None:
        """Ask for images; when this returns, the PACS has said that it is done.

        Args:
            study_instance_uid: of the study.
            wanted: the images that are not here.
            progress: called as they come.
            whole_series: whether their series are asked for, as every PACS can; else each image.

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: it refuses the question, or took too long.
            LostLease: `progress` raised it; nothing more is asked for.
        """
        questions = list(_make_questions(study_instance_uid, wanted, whole_series))
        deadline = time.monotonic() + STUDY_SECONDS
        if self._pacs.retrieve == "c-move":
            self._move(questions, deadline, progress)
        else:
            classes = {instance.sop_class_uid for instance in wanted}
            self._get(questions, classes, deadline, progress)

    def _move(self, questions: Sequence[Dataset], deadline: float, progress: Progress) -> None:
        destination = self._pacs.move_destination or self._client.calling_ae
        model = StudyRootQueryRetrieveInformationModelMove
        with self._client.associated([build_context(model)], seconds=self._silent) as association:
            self._ask(
                questions,
                "C-MOVE",
                deadline,
                progress,
                lambda question: association.send_c_move(question, destination, model, MESSAGE_ID),
            )

    def _get(
        self,
        questions: Sequence[Dataset],
        classes: Collection[str],
        deadline: float,
        progress: Progress,
    ) -> None:
        stopped_by: list[NightdraftError] = []

        def store(event: Any) -> Dataset:
            status = self._store(event)
            try:
                progress()
            except NightdraftError as error:  # pynetdicom would answer the PACS with it, no more
                stopped_by.append(error)
                hang_up(event.assoc)
            return status

        model = StudyRootQueryRetrieveInformationModelGet
        contexts = storage_contexts(classes)
        offered = {str(context.abstract_syntax) for context in contexts}
        with self._client.associated(
            [build_context(model), *contexts],
            # Over a C-GET we are the one who stores: role selection, PS3.7 D.3.3.4.
            roles=[build_role(sop_class, scp_role=True) for sop_class in sorted(offered)],
            handlers=[(evt.EVT_C_STORE, store)],
            seconds=self._silent,
        ) as association:
            try:
                if not any(context.as_scp for context in association.accepted_contexts):
                    raise SetUpWrong(
                        f"{self._client.place} sends no images by C-GET over our association: "
                        'allow it there, or set retrieve = "c-move" in NIGHTDRAFT_PACS_FILE'
                    )
                self._ask(
                    questions,
                    "C-GET",
                    deadline,
                    progress,
                    functools.partial(association.send_c_get, query_model=model, msg_id=MESSAGE_ID),
                )
            except PullFailed:
                association.release()  # it answered; only its answer was no success
                raise
            except PacsAway:
                if stopped_by:
                    raise stopped_by[0] from None
                raise
            finally:
                _discard(getattr(association.dimse.message, "_data_set_file", None))

    def _store(self, event: Any) -> Dataset:
        """Answer a sub-operation; pynetdicom removes received files only for listeners."""
        try:
            return self._handler.handle_store(event)
        finally:
            _discard(event.request._dataset_file)

    def _ask(
        self,
        questions: Iterable[Dataset],
        command: str,
        deadline: float,
        progress: Progress,
        send: Callable[[Dataset], Responses],
    ) -> None:
        """Ask one question after the other; one that is refused does not keep the others back.

        Raises:
            PullFailed: the last refusal.
        """
        refusal: PullFailed | None = None
        waiting = deque(questions)
        while waiting:
            question = waiting.popleft()
            try:
                self._wait_for_end(send(question), command, deadline, progress)
            except TooSlow:
                raise
            except PullFailed as error:
                # Some PACSs, such as DCMTK's, take no list of UIDs.
                singles = list(_single_questions(question))
                waiting.extendleft(reversed(singles))
                refusal = refusal if singles else error
        if refusal is not None:
            raise refusal

    def _wait_for_end(
        self, responses: Responses, command: str, deadline: float, progress: Progress
    ) -> None:
        place = self._client.place
        for status, _ in responses:
            code = status.get("Status")
            if code is None:
                break
            code = int(code)
            if code == PENDING:
                progress()  # by C-MOVE the images come to the listener, and this alone shows it
                if time.monotonic() > deadline:
                    raise TooSlow(f"{place} took longer than {STUDY_SECONDS:g} s for a study")
                continue
            if code in (SUCCESS, SOME_FAILED):
                return
            text = f"{place} answered a {command} with status 0x{code:04X}"
            if code == _MOVE_DESTINATION_UNKNOWN:
                destination = self._pacs.move_destination or self._client.calling_ae
                raise SetUpWrong(f"{text}: it does not know where {destination} is to send there")
            raise PullFailed(text)
        raise PacsAway(f"{place} stopped answering in the midst of a {command}")

    @property
    def _silent(self) -> float:
        return SILENT_TIMES * self._pacs.seconds


def _make_questions(
    study_instance_uid: str, wanted: Sequence[ListedInstance], whole_series: bool
) -> Iterator[Dataset]:
    """A question for each series, or for so many of its images (PS3.4 C.4.3.1.3)."""
    ordered = sorted(wanted, key=lambda listed: listed.series_instance_uid)
    for series, listed in itertools.groupby(ordered, lambda one: one.series_instance_uid):
        uids = [one.sop_instance_uid for one in listed]
        starts = [0] if whole_series else range(0, len(uids), INSTANCES_AT_ONCE)
        for start in starts:
            question = Dataset()
            question.QueryRetrieveLevel = "SERIES" if whole_series else "IMAGE"
            question.StudyInstanceUID = study_instance_uid
            question.SeriesInstanceUID = series
            if not whole_series:
                question.SOPInstanceUID = uids[start : start + INSTANCES_AT_ONCE]
            yield question


def _single_questions(question: Dataset) -> Iterator[Dataset]:
    """A question for each image of one that asks for several."""
    uids = question.get("SOPInstanceUID")
    if not isinstance(uids, MultiValue):
        return
    for uid in uids:
        single = copy.deepcopy(question)
        single.SOPInstanceUID = uid
        yield single


def storage_contexts(classes: Collection[str]) -> list[Any]:
    """Presentation contexts for images of some classes, beside the one of the C-GET itself.

    Each transfer syntax has a context of its own, so that the PACS sends an image as it has it.
    Where that would be more than an association may have, the rarest syntaxes are left out: all
    classes stand in one association, or the PACS would call the others a failure.

    Args:
        classes: SOP Class UIDs; "" where the PACS names none.
    """
    known = set(classes) - {""}
    if "" in classes:
        known |= {*RADIOGRAPH_CLASSES, SECONDARY_CAPTURE_CLASS}
    syntaxes = [*COMMON_SYNTAXES, *(uid for uid in TRANSFER_SYNTAXES if uid not in COMMON_SYNTAXES)]
    return [
        build_context(sop_class, [syntax])
        for syntax in syntaxes[: (MAX_CONTEXTS - 1) // max(1, len(known))]
        for sop_class in sorted(known)
    ]


def _discard(file: object) -> None:
    if isinstance(file, IncomingFile):
        with suppress(OSError):  # the listener's sweep removes it later
            file.discard()
