"""What a modality worklist is asked for, as data, and an answer of it as an order.

The Modality Worklist Information Model is in PS3.4 annex K, its attributes in table K.6-1.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pydicom.config
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.tag import Tag

from model.dicom.characters import decode_texts, remove_controls
from model.dicom.evidence import read_texts
from model.dicom.indication import PRIORITIES
from records.orders.order import OrderAction, OrderText, ReceivedOrder
from records.states import OrderTextSource, Origin, Priority
from records.workflow.identifiers import PatientId, plain_key
from records.workflow.patients import Patient

STEP = "ScheduledProcedureStepSequence"


@dataclass(frozen=True, slots=True)
class ReturnKey:
    """An attribute that the worklist is asked to return.

    Attributes:
        keyword: its keyword; "Sequence.Keyword" is asked for inside the one item of a sequence.
        tag: the tag, for people.
        module: the module of the information model (PS3.4 table K.6-1).
    """

    keyword: str
    tag: str
    module: str


_STEP = "Scheduled Procedure Step"
_PROCEDURE = "Requested Procedure"
_REQUEST = "Imaging Service Request"
_VISIT = "Visit"
_PATIENT = "Patient Identification"
_DEMOGRAPHIC = "Patient Demographic"
_MEDICAL = "Patient Medical"

RETURN_KEYS: tuple[ReturnKey, ...] = (
    ReturnKey("SpecificCharacterSet", "(0008,0005)", "SOP Common"),
    ReturnKey("TimezoneOffsetFromUTC", "(0008,0201)", "SOP Common"),
    ReturnKey(f"{STEP}.Modality", "(0040,0100)>(0008,0060)", _STEP),
    ReturnKey(f"{STEP}.ScheduledProcedureStepStartDate", "(0040,0100)>(0040,0002)", _STEP),
    ReturnKey(f"{STEP}.ScheduledProcedureStepStartTime", "(0040,0100)>(0040,0003)", _STEP),
    ReturnKey(f"{STEP}.ScheduledProcedureStepDescription", "(0040,0100)>(0040,0007)", _STEP),
    ReturnKey(f"{STEP}.ScheduledProcedureStepID", "(0040,0100)>(0040,0009)", _STEP),
    ReturnKey(f"{STEP}.ScheduledProcedureStepStatus", "(0040,0100)>(0040,0020)", _STEP),
    ReturnKey("RequestedProcedureID", "(0040,1001)", _PROCEDURE),
    ReturnKey("RequestedProcedureDescription", "(0032,1060)", _PROCEDURE),
    ReturnKey("RequestedProcedureCodeSequence", "(0032,1064)", _PROCEDURE),
    ReturnKey("StudyInstanceUID", "(0020,000D)", _PROCEDURE),
    ReturnKey("RequestedProcedurePriority", "(0040,1003)", _PROCEDURE),
    ReturnKey("ReasonForTheRequestedProcedure", "(0040,1002)", _PROCEDURE),
    ReturnKey("ReasonForRequestedProcedureCodeSequence", "(0040,100A)", _PROCEDURE),
    ReturnKey("RequestedProcedureComments", "(0040,1400)", _PROCEDURE),
    ReturnKey("AccessionNumber", "(0008,0050)", _REQUEST),
    ReturnKey("IssuerOfAccessionNumberSequence", "(0008,0051)", _REQUEST),
    ReturnKey("PlacerOrderNumberImagingServiceRequest", "(0040,2016)", _REQUEST),
    ReturnKey("FillerOrderNumberImagingServiceRequest", "(0040,2017)", _REQUEST),
    ReturnKey("InstitutionName", "(0008,0080)", "Visit Identification"),
    ReturnKey("AdmissionID", "(0038,0010)", "Visit Identification"),
    ReturnKey("AdmittingDiagnosesDescription", "(0008,1080)", "Visit Admission"),
    ReturnKey("AdmittingDiagnosesCodeSequence", "(0008,1084)", "Visit Admission"),
    ReturnKey("PatientName", "(0010,0010)", _PATIENT),
    ReturnKey("PatientID", "(0010,0020)", _PATIENT),
    ReturnKey("IssuerOfPatientID", "(0010,0021)", _PATIENT),
    ReturnKey("OtherPatientIDsSequence", "(0010,1002)", _PATIENT),
    ReturnKey("PatientBirthDate", "(0010,0030)", _DEMOGRAPHIC),
    ReturnKey("PatientSex", "(0010,0040)", _DEMOGRAPHIC),
    ReturnKey("AdditionalPatientHistory", "(0010,21B0)", _MEDICAL),
)  # fmt: skip
"""What is asked for. A worklist returns those that it knows (PS3.4 K.4.1.1.3)."""

TEXT_KEYS: tuple[tuple[str, OrderTextSource], ...] = (
    ("ReasonForTheRequestedProcedure", OrderTextSource.REASON),
    ("ReasonForRequestedProcedureCodeSequence.CodeMeaning", OrderTextSource.REASON_CODE),
    ("AdditionalPatientHistory", OrderTextSource.CLINICAL_INFORMATION),
    ("RequestedProcedureComments", OrderTextSource.NOTE),
    ("AdmittingDiagnosesDescription", OrderTextSource.DIAGNOSIS),
    ("AdmittingDiagnosesCodeSequence.CodeMeaning", OrderTextSource.DIAGNOSIS),
)
"""Where an answer says why the examination was requested."""

PROCEDURE_KEYS = (
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence.CodeMeaning",
    f"{STEP}.ScheduledProcedureStepDescription",
)
"""Where an answer names the examination, best first."""

FILM_MODALITIES = frozenset({"CR", "DX", "DR", "RG", "XR"})
"""Values of (0008,0060) of a step that makes films. DR and XR are sent, and no defined terms."""

_CANCELLED = frozenset({"CANCELED", "CANCELLED", "DISCONTINUED"})
"""Values of (0040,0020) of a step that will not take place."""


def make_identifier(**keys: str) -> Dataset:
    """The identifier of a C-FIND: the return keys, with values for those that are to match.

    Args:
        keys: values by the last keyword of a return key, as `AccessionNumber="A1"`.
    """
    identifier = Dataset()
    step = Dataset()
    for key in RETURN_KEYS:
        sequence, _, keyword = key.keyword.rpartition(".")
        vr = dictionary_VR(keyword)
        value: object = [] if vr == "SQ" else keys.get(keyword, "")
        # A value that breaks a rule of its VR came with the study, and the worklist may know it.
        (step if sequence else identifier)[Tag(keyword)] = DataElement(
            Tag(keyword), vr, value, validation_mode=pydicom.config.IGNORE
        )
    identifier[Tag(STEP)] = DataElement(Tag(STEP), "SQ", [step])
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    return identifier


def read_answer(answer: Dataset, sender: str) -> ReceivedOrder:
    """An answer as an order.

    Args:
        answer: the identifier of a pending C-FIND response, as decoded by pynetdicom.
        sender: the worklist's AE title.
    """
    decode_texts(answer)
    texts = [
        OrderText(source, text)
        for keyword, source in TEXT_KEYS
        if (text := remove_controls("; ".join(dict.fromkeys(read_texts(answer, keyword)))))
    ]
    statuses = {text.upper() for text in read_texts(answer, f"{STEP}.ScheduledProcedureStepStatus")}
    is_cancelled = bool(statuses) and statuses <= _CANCELLED
    priority = PRIORITIES.get(_first(answer, "RequestedProcedurePriority").upper())
    accession = _first(answer, "AccessionNumber")
    study = _first(answer, "StudyInstanceUID")
    return ReceivedOrder(
        origin=Origin.WORKLIST,
        sender=sender,
        action=OrderAction.CANCEL if is_cancelled else OrderAction.PLACE,
        patient=Patient(
            _first(answer, "PatientID"),
            _first(answer, "IssuerOfPatientID"),
            _first(answer, "PatientName"),
            _first(answer, "PatientBirthDate"),
            _first(answer, "PatientSex"),
        ),
        other_patient_ids=tuple(_other_patient_ids(answer)),
        placer_order_number=_first(answer, "PlacerOrderNumberImagingServiceRequest"),
        filler_order_number=_first(answer, "FillerOrderNumberImagingServiceRequest"),
        accession_numbers=(accession,) if accession else (),
        accession_number_issuer=_issuer(answer, "IssuerOfAccessionNumberSequence"),
        study_instance_uids=(study,) if study else (),
        visit_number=_first(answer, "AdmissionID"),
        texts=tuple(texts),
        procedure=next((text for key in PROCEDURE_KEYS if (text := _first(answer, key))), ""),
        priority=None if priority is None else Priority[priority],
        scheduled_at=_scheduled_at(answer),
        site=_first(answer, "InstitutionName"),
    )


def is_of_films(answer: Dataset) -> bool:
    """Whether a step of the answer may make films; one without a modality may."""
    modalities = [text.upper() for text in read_texts(answer, f"{STEP}.Modality")]
    return not modalities or not FILM_MODALITIES.isdisjoint(modalities)


def step_dates(answer: Dataset) -> set[str]:
    """(0040,0002) of the answer's steps, as YYYYMMDD."""
    return set(read_texts(answer, f"{STEP}.ScheduledProcedureStepStartDate"))


def join_steps(orders: Iterable[ReceivedOrder]) -> list[ReceivedOrder]:
    """One order for each identity: a worklist answers with each step of a procedure.

    The steps of an order that is not cancelled as a whole count; the first step's time is kept.
    """
    joined: dict[str, ReceivedOrder] = {}
    for order in orders:
        other = joined.get(order.identity)
        if other is None or (other.action, order.action) == (OrderAction.CANCEL, OrderAction.PLACE):
            joined[order.identity] = order
        elif order.action is other.action:
            joined[order.identity] = replace(
                other,
                texts=tuple(dict.fromkeys((*other.texts, *order.texts))),
                accession_numbers=_joined(other.accession_numbers, order.accession_numbers),
                study_instance_uids=_joined(other.study_instance_uids, order.study_instance_uids),
                scheduled_at=min(
                    filter(None, (other.scheduled_at, order.scheduled_at)), default=None
                ),
            )
    return list(joined.values())


def _joined(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _first(answer: Dataset, keyword: str) -> str:
    return remove_controls(next(read_texts(answer, keyword), "")).strip()


def _other_patient_ids(answer: Dataset) -> list[PatientId]:
    """(0010,1002): each item's id with its issuer."""
    items = answer.get("OtherPatientIDsSequence") or []
    ids = [
        PatientId(_first(item, "PatientID"), _first(item, "IssuerOfPatientID")) for item in items
    ]
    return [given for given in ids if given.id]


def _issuer(answer: Dataset, sequence: str) -> str:
    """Who gave a number: (0040,0031) Local Namespace Entity ID, else (0040,0032) (PS3.3 10.14)."""
    return _first(answer, f"{sequence}.LocalNamespaceEntityID") or _first(
        answer, f"{sequence}.UniversalEntityID"
    )


def _scheduled_at(answer: Dataset) -> dt.datetime | None:
    """The first step's date and time, with (0008,0201) or this machine's time zone."""
    date = _first(answer, f"{STEP}.ScheduledProcedureStepStartDate")
    time = _first(answer, f"{STEP}.ScheduledProcedureStepStartTime").partition(".")[0]
    offset = _first(answer, "TimezoneOffsetFromUTC")
    with suppress(ValueError, OverflowError):
        written = f"{date} {time.ljust(6, '0')[:6]}"
        if offset:
            return dt.datetime.strptime(f"{written} {offset}", "%Y%m%d %H%M%S %z")
        return dt.datetime.strptime(written, "%Y%m%d %H%M%S").astimezone()
    return None


def same_number(first: str, second: str) -> bool:
    """Whether two accession numbers are the same but for spaces and capitals."""
    return plain_key(first) == plain_key(second) != ""
