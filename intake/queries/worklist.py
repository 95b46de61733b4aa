"""Asks a DICOM modality worklist for the order of a study that came without one (PS3.4 annex K).

By accession number first, then by patient and date. A worklist may ignore a key and answer with
more, so every answer is compared here with what was asked for. Nothing of an answer is logged.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import ModalityWorklistInformationFind, Verification

from intake.dicom_client import (
    FIND_PENDING,
    MESSAGE_ID,
    OUT_OF_RESOURCES,
    SUCCESS,
    Peer,
    accepts,
    silence_pynetdicom,
)
from intake.queries.asking import Limits, QuestionFailed
from intake.queries.worklist_answers import (
    is_of_films,
    join_steps,
    make_identifier,
    read_answer,
    same_number,
    step_dates,
)
from intake.turns import SystemAway
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.database.tables import Study
from records.errors import MessageError, NightdraftError, SettingsError
from records.failpoints import failpoint
from records.orders import effects, queries
from records.orders.order import ReceivedOrder
from records.orders.queries import ClaimedQuery
from records.settings import Settings
from records.states import QueryKind
from records.tls.calls import ClientTls
from records.tls.certificates import pin_of
from records.tls.contexts import ClientFiles
from records.workflow.identifiers import KeyKind, PatientId, plain_key


class SeveralOrders(NightdraftError):
    """More than one order fits a study. A person can see them at the worklist, and enter one."""


@dataclass(frozen=True, slots=True)
class AskedStudy:
    """What a worklist is asked about.

    Attributes:
        accession_numbers: (0008,0050) of the study, and those of its request attributes.
        accession_number_issuer: (0008,0051).
        patient: its patient's id, with the issuer.
        date: (0008,0020), or "" where it is none.
    """

    accession_numbers: tuple[str, ...]
    accession_number_issuer: str
    patient: PatientId
    date: str

    @classmethod
    def of(cls, study: Study) -> AskedStudy:
        """What a study's row says; numbers that are no single value cannot be asked for."""
        numbers = (study.accession_number, *study.requested_accession_numbers)
        date = study.study_date.strip()
        return cls(
            tuple(dict.fromkeys(n.strip() for n in numbers if n.strip() and "\\" not in n)),
            study.accession_number_issuer,
            PatientId(study.patient_id.strip(), study.patient_id_issuer.strip()),
            date if len(date) == 8 and date.isdigit() else "",
        )


class Worklist:
    """A modality worklist, as `intake.queries.asking.OtherSystem`."""

    kind = QueryKind.WORKLIST
    name = "worklist"
    alarm_kind = AlarmKind.WORKLIST_AWAY

    def __init__(self, config: Settings) -> None:
        """Read the settings.

        Raises:
            SettingsError: a title, a certificate or a key cannot be used.
        """
        self.limits = Limits(
            config.worklist_per_minute,
            config.worklist_attempts,
            config.worklist_retry_seconds,
            3600 * config.query_hours,
            config.query_alarm_seconds,
        )
        self._config = config
        self._peer = Peer(
            self._place(),
            config.worklist_host,
            config.worklist_port,
            config.worklist_ae_title,
            config.worklist_calling_ae or config.ae_title,
            config.worklist_seconds,
            _tls(config),
            SystemAway,
            "NIGHTDRAFT_WORKLIST_CALLING_AE",
        )
        self._peer.make_entity()  # its titles are checked now
        silence_pynetdicom()

    def ask(self, query: ClaimedQuery) -> bool:
        """Ask for one study's order; see `OtherSystem.ask`."""
        with unit_of_work() as session:
            study = session.get_one(Study, query.study_id)
            if effects.counting_orders(session, query.study_id):
                queries.mark_answered(
                    session, query, 0, "an order came before a worklist was asked"
                )
                return True
            asked = AskedStudy.of(study)
        try:
            matched_by, orders = self.find(asked)
        except SeveralOrders as error:
            with unit_of_work() as session:
                queries.mark_answered(session, query, 0, str(error))
            return True
        if not orders:
            return False
        failpoint("worklist-answered")
        with unit_of_work() as session:
            try:
                ours = queries.keep_orders(session, query.study_id, orders, matched_by)
            except MessageError as error:
                raise QuestionFailed(f"its answer cannot be used: {error}") from None
            sentence = "" if ours else "asked the worklist: its order does not count for this study"
            queries.mark_answered(session, query, ours, sentence)
            failpoint("worklist-kept")
        return True

    def check(self) -> None:
        """C-ECHO (PS3.4 annex A); a worklist that offers none is taken to answer."""
        with self._associated() as association:
            if association.is_established and accepts(association, Verification):
                association.send_c_echo()

    def find(self, asked: AskedStudy) -> tuple[KeyKind, list[ReceivedOrder]]:
        """The orders for a study, and by what they were found.

        Raises:
            SystemAway: the worklist does not answer.
            QuestionFailed: its answer is an error, is cut, or cannot be read.
            SeveralOrders: more than one order fits, by patient and date.
        """
        for number in asked.accession_numbers:
            answers = self._find(AccessionNumber=number)
            orders = [
                order
                for order in map(self._read, answers)
                if any(same_number(number, other) for other in order.accession_numbers)
                and not _differ(asked.accession_number_issuer, order.accession_number_issuer)
            ]
            if orders:
                return KeyKind.ACCESSION, _usable(join_steps(orders))
        if not (asked.patient.id and asked.date) or "\\" in asked.patient.id:
            return KeyKind.PATIENT, []
        answers = self._find(PatientID=asked.patient.id, ScheduledProcedureStepStartDate=asked.date)
        candidates = [
            order
            for answer in answers
            if _may_be_for(order := self._read(answer), asked)
            and is_of_films(answer)
            and asked.date in step_dates(answer)
        ]
        orders = _usable(join_steps(candidates))
        if len(orders) > 1:
            # Which of them it is nobody can tell, and a wrong indication is worse than none.
            raise SeveralOrders(
                f"asked the worklist: it has {len(orders)} orders for the patient on this day, and "
                "none has the study's accession number"
            )
        return KeyKind.PATIENT, orders

    def _read(self, answer: Dataset) -> ReceivedOrder:
        try:
            return read_answer(answer, self._config.worklist_ae_title)
        except Exception:
            # pydicom raises all kinds of errors for damaged values, and their messages quote them.
            raise QuestionFailed("an answer of the worklist cannot be read") from None

    def _find(self, **keys: str) -> list[Dataset]:
        """All answers to one C-FIND."""
        limit = self._config.worklist_answers
        deadline = time.monotonic() + self._config.worklist_seconds
        answers: list[Dataset] = []
        with self._associated() as association:
            if not accepts(association, ModalityWorklistInformationFind):
                raise SystemAway(f"{self._place()} does not offer a modality worklist")
            responses = association.send_c_find(
                make_identifier(**keys), ModalityWorklistInformationFind, msg_id=MESSAGE_ID
            )
            for status, answer in responses:
                code = status.get("Status")
                if code is None:
                    raise SystemAway(
                        f"{self._place()} stopped answering in the midst of a question"
                    )
                if code == SUCCESS:
                    return answers
                if code not in FIND_PENDING:
                    raise self._refusal(int(code))
                if answer is None:
                    raise QuestionFailed("an answer of the worklist cannot be read")
                answers.append(answer)
                if len(answers) > limit:
                    association.send_c_cancel(
                        MESSAGE_ID, query_model=ModalityWorklistInformationFind
                    )
                    raise QuestionFailed(
                        f"the worklist gave more than NIGHTDRAFT_WORKLIST_ANSWERS={limit} answers; "
                        f"it may not match by {' and '.join(keys)}"
                    )
                if time.monotonic() > deadline:
                    raise SystemAway(
                        f"{self._place()} took longer than "
                        f"NIGHTDRAFT_WORKLIST_SECONDS={self._config.worklist_seconds:g}"
                    )
        raise SystemAway(f"{self._place()} stopped answering in the midst of a question")

    def _refusal(self, code: int) -> Exception:
        text = f"{self._place()} answered a question with status 0x{code:04X}"
        return SystemAway(text) if code in OUT_OF_RESOURCES else QuestionFailed(text)

    def _associated(self) -> AbstractContextManager[Any]:
        """An association with the worklist; it is released, or aborted where something failed."""
        contexts = [build_context(ModalityWorklistInformationFind), build_context(Verification)]
        return self._peer.associated(contexts)

    def _place(self) -> str:
        config = self._config
        return (
            f"the worklist {config.worklist_ae_title} at {config.worklist_host} port "
            f"{config.worklist_port}"
        )


def _may_be_for(order: ReceivedOrder, asked: AskedStudy) -> bool:
    """Whether an order that was found by patient and date may be the study's."""
    ids = [PatientId(order.patient.patient_id, order.patient.issuer), *order.other_patient_ids]
    if all(asked.patient.contradicts(given) for given in ids):
        return False
    # With another accession number it is the order of another study of that day.
    return not (asked.accession_numbers and order.accession_numbers)


def _usable(orders: list[ReceivedOrder]) -> list[ReceivedOrder]:
    """Those by which an order can be known again; without a number there is nothing to keep."""
    return [order for order in orders if order.identity and order.patient.patient_id]


def _differ(first: str, second: str) -> bool:
    """Whether two issuers, where both are given, differ."""
    return bool(first.strip() and second.strip() and plain_key(first) != plain_key(second))


def _tls(config: Settings) -> ClientTls | None:
    """How the connection is encrypted; None where it is not.

    Raises:
        SettingsError: a file cannot be used.
    """
    if not config.worklist_tls:
        return None
    try:
        pin = pin_of(config.worklist_pin) if config.worklist_pin else ""
    except ValueError as error:
        raise SettingsError(f"NIGHTDRAFT_WORKLIST_PIN: {error}") from None
    files = ClientFiles(
        config.worklist_ca_file,
        config.worklist_certificate_file,
        config.worklist_key_file,
        (
            "NIGHTDRAFT_WORKLIST_CA_FILE",
            "NIGHTDRAFT_WORKLIST_CERTIFICATE_FILE",
            "NIGHTDRAFT_WORKLIST_KEY_FILE",
        ),
        pin,
    )
    return ClientTls(files, config.worklist_host, config.worklist_server_name, "the worklist")
