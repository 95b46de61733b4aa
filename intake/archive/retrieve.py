"""Fetches the images of a study by C-GET or C-MOVE (PS3.4 annex C).

By C-GET the images come over our own association, and the listener's `StoreHandler` answers each:
what is acknowledged is kept, and what is refused is on the page of refusals. By C-MOVE the PACS
sends them to our listener. The numbers that a PACS gives of its sub-operations say nothing of what
is here; `intake.archive.puller` holds what came against what was listed.
"""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from intake.archive.errors import PacsAway, PullFailed
from intake.archive.listed import ListedInstance
from intake.dicom.limits import (
    RADIOGRAPH_CLASSES,
    SECONDARY_CAPTURE_CLASS,
    TRANSFER_SYNTAXES,
)
from intake.dicom.store_handler import StoreHandler
from records.errors import SettingsError
from records.pacs import Pacs
from records.settings import Settings

SUCCESS = 0x0000
PENDING = 0xFF00
WARNING_SOME_FAILED = 0xB000
"""Sub-operations are complete, and some failed: what came is looked at (PS3.4 C.4.2.1.5)."""

_BUSY = range(0xA700, 0xA800)
_MOVE_DESTINATION_UNKNOWN = 0xA801
_MESSAGE_ID = 1

MAX_CONTEXTS = 128
"""Presentation contexts of one association (PS3.8 table 9-18: odd numbers from 1 to 255)."""

INSTANCES_AT_ONCE = 100
"""SOP Instance UIDs in one question."""


@dataclass(frozen=True, slots=True)
class RetrieveResult:
    """What a PACS answered, for the log alone.

    Attributes:
        statuses: the ending status of each question.
    """

    statuses: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """The statuses that are no success."""
        failed = sorted({status for status in self.statuses if status != SUCCESS})
        return ", ".join(f"0x{status:04X}" for status in failed)


class DimseRetriever:
    """Fetches from one PACS.

    Args:
        pacs: which, and how it is asked.
        config: our own AE title.
        handler: answers what comes by C-GET.
    """

    def __init__(self, pacs: Pacs, config: Settings, handler: StoreHandler) -> None:
        """Read the certificates.

        Raises:
            SettingsError: a file of them cannot be used.
        """
        self._pacs = pacs
        self._calling_ae = pacs.calling_ae or config.ae_title
        self._handler = handler
        self._tls = _tls_context(pacs)

    def check(self) -> None:
        """C-ECHO (PS3.4 annex A).

        Raises:
            PacsAway: the PACS does not answer.
        """
        with self._associated([build_context(Verification)]) as association:
            status = association.send_c_echo()
            if "Status" not in status:
                raise PacsAway(f"{self.place} does not answer a C-ECHO")

    def retrieve(self, study_instance_uid: str, wanted: Sequence[ListedInstance]) -> RetrieveResult:
        """Ask for images; when this returns, the PACS has said that it is done.

        Args:
            study_instance_uid: of the study.
            wanted: the images, of which none is here.

        Raises:
            PacsAway: the PACS does not answer, or has no room or time now.
            PullFailed: it refuses the question.
        """
        questions = list(_make_questions(study_instance_uid, wanted))
        if self._pacs.retrieve == "c-move":
            return self._move(questions)
        classes = {instance.sop_class_uid for instance in wanted}
        return self._get(questions, classes)

    def _move(self, questions: Sequence[Dataset]) -> RetrieveResult:
        destination = self._pacs.move_destination or self._calling_ae
        model = StudyRootQueryRetrieveInformationModelMove
        statuses = []
        with self._associated([build_context(model)]) as association:
            for question in questions:
                responses = association.send_c_move(question, destination, model, _MESSAGE_ID)
                statuses.append(self._end(responses, "C-MOVE"))
        return RetrieveResult(tuple(statuses))

    def _get(self, questions: Sequence[Dataset], classes: Collection[str]) -> RetrieveResult:
        model = StudyRootQueryRetrieveInformationModelGet
        statuses = []
        for some in _class_groups(classes):
            contexts = [build_context(model)]
            for sop_class, syntax in itertools.product(some, TRANSFER_SYNTAXES):
                contexts.append(build_context(sop_class, [syntax]))
            with self._associated(contexts, some) as association:
                for question in questions:
                    responses = association.send_c_get(question, model, _MESSAGE_ID)
                    statuses.append(self._end(responses, "C-GET"))
        return RetrieveResult(tuple(statuses))

    def _end(self, responses: Iterator[tuple[Dataset, Dataset | None]], command: str) -> int:
        """The ending status of a question."""
        for status, _ in responses:
            code = status.get("Status")
            if code is None:
                raise PacsAway(f"{self.place} stopped answering in the midst of a {command}")
            code = int(code)
            if code == PENDING:
                continue
            if code in (SUCCESS, WARNING_SOME_FAILED):
                return code
            text = f"{self.place} answered a {command} with status 0x{code:04X}"
            if code == _MOVE_DESTINATION_UNKNOWN:
                destination = self._pacs.move_destination or self._calling_ae
                raise PacsAway(f"{text}: it does not know the AE title {destination} to send to")
            if code in _BUSY:
                raise PacsAway(text)
            raise PullFailed(text)
        raise PacsAway(f"{self.place} stopped answering in the midst of a {command}")

    @property
    def place(self) -> str:
        """The PACS, for a person."""
        pacs = self._pacs
        return f"the PACS {pacs.name} ({pacs.ae_title} at {pacs.host} port {pacs.port})"

    @contextmanager
    def _associated(
        self, contexts: Sequence[Any], storage_classes: Collection[str] = ()
    ) -> Iterator[Any]:
        """An association; it is released, or aborted where something failed."""
        pacs = self._pacs
        entity = AE(self._calling_ae)
        entity.connection_timeout = entity.acse_timeout = pacs.seconds
        entity.dimse_timeout = entity.network_timeout = pacs.seconds
        try:
            association = entity.associate(
                pacs.host,
                pacs.port,
                contexts=list(contexts),
                ae_title=pacs.ae_title,
                # Over a C-GET we take objects: role selection, PS3.7 D.3.3.4.
                ext_neg=[build_role(sop_class, scp_role=True) for sop_class in storage_classes],
                tls_args=(self._tls, pacs.host) if self._tls else None,
                evt_handlers=[(evt.EVT_C_STORE, self._handler.handle_store)],
            )
        except OSError:
            raise PacsAway(f"{self.place} has a name that is not known here") from None
        if not association.is_established:
            raise PacsAway(f"{self.place} {_why_not(association)}")
        is_whole = False
        try:
            if not association.accepted_contexts:
                raise PacsAway(f"{self.place} offers nothing of what is asked of it")
            model = contexts[0].abstract_syntax
            accepted = {context.abstract_syntax for context in association.accepted_contexts}
            if model not in accepted:
                raise PacsAway(
                    f"{self.place} does not offer {_name(model)}: set another `retrieve` in "
                    "NIGHTDRAFT_PACS_FILE, or allow it there for our AE title"
                )
            if storage_classes and not accepted & set(storage_classes):
                raise PullFailed(f"{self.place} does not send these images by C-GET")
            yield association
            is_whole = True
        finally:
            if association.is_established:
                association.release() if is_whole else association.abort()


def _make_questions(study_instance_uid: str, wanted: Sequence[ListedInstance]) -> Iterator[Dataset]:
    """One question for each series, or for so many of its images (PS3.4 C.4.3.1.3)."""
    ordered = sorted(wanted, key=lambda listed: listed.series_instance_uid)
    for series, listed in itertools.groupby(ordered, lambda one: one.series_instance_uid):
        uids = [one.sop_instance_uid for one in listed]
        for start in range(0, len(uids), INSTANCES_AT_ONCE):
            question = Dataset()
            question.QueryRetrieveLevel = "IMAGE"
            question.StudyInstanceUID = study_instance_uid
            question.SeriesInstanceUID = series
            question.SOPInstanceUID = uids[start : start + INSTANCES_AT_ONCE]
            yield question


def _class_groups(classes: Collection[str]) -> Iterator[list[str]]:
    """The classes that are asked for, as many at a time as an association has contexts for.

    Each transfer syntax has a context of its own, so that the PACS sends an image as it has it.
    """
    known = sorted(set(classes) - {""})
    if "" in classes or not known:
        known = sorted({*known, *RADIOGRAPH_CLASSES, SECONDARY_CAPTURE_CLASS})
    at_once = (MAX_CONTEXTS - 1) // len(TRANSFER_SYNTAXES)
    for start in range(0, len(known), at_once):
        yield known[start : start + at_once]


def _name(sop_class: Any) -> str:
    return str(getattr(sop_class, "name", sop_class))


def _why_not(association: Any) -> str:
    """Why there is no association, in the standard's words (PS3.8 section 9.3.4)."""
    if association.is_rejected:
        primitive = association.acceptor.primitive
        reason = getattr(primitive, "reason_str", "") or "no reason given"
        return f"refuses our association ({reason.lower()})"
    return "does not accept an association: nobody answers there, or it hung up"


def _tls_context(pacs: Pacs) -> ssl.SSLContext | None:
    if not pacs.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=pacs.ca_file or None)
        if pacs.certificate_file:
            context.load_cert_chain(pacs.certificate_file, pacs.key_file)
    except (OSError, ssl.SSLError):
        raise SettingsError(
            f"the PACS {pacs.name}: ca_file, certificate_file or key_file cannot be used: they are "
            "PEM files"
        ) from None
    return context
