"""Which earlier report of a patient a study's draft may be given: one rule, for drafts and corpora.

A prior report is final, of the same patient (id and issuer), of the same body region, performed
strictly earlier, and under another accession number. Archives hold the study's own report and later
ones, too, and either would give the model the answer. So wherever it is not certain that a report
is none of these, it is not taken.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, TypeVar

from records.states import FINAL_STATUSES, ReportStatus
from records.workflow.identifiers import PatientId, plain_key
from records.workflow.patients import Patient, may_be_corrected

CHEST = "CHEST"


class PriorRefusal(StrEnum):
    """Why a report is not the prior report of a study."""

    OWN = "OWN"
    NO_TEXT = "NO_TEXT"
    NOT_FINAL = "NOT_FINAL"
    HELD = "HELD"
    OTHER_PATIENT = "OTHER_PATIENT"
    SAME_EXAMINATION = "SAME_EXAMINATION"
    NO_ACCESSION_NUMBER = "NO_ACCESSION_NUMBER"
    NO_DATE = "NO_DATE"
    NOT_EARLIER = "NOT_EARLIER"
    OTHER_REGION = "OTHER_REGION"
    OLDER = "OLDER"


REFUSAL_SENTENCES: dict[PriorRefusal, str] = {
    PriorRefusal.OWN: "It is a draft of this system, which is no report.",
    PriorRefusal.NO_TEXT: "It has no text.",
    PriorRefusal.NOT_FINAL: "It is not final.",
    PriorRefusal.HELD: "A person must decide about its study, or decided against its draft.",
    PriorRefusal.OTHER_PATIENT: "It is not certain that it is of this patient.",
    PriorRefusal.SAME_EXAMINATION: "It is the report of this very examination.",
    PriorRefusal.NO_ACCESSION_NUMBER: (
        "It or this study has no accession number, so it may be the report of this examination."
    ),
    PriorRefusal.NO_DATE: "It is not known when its examination or this one was performed.",
    PriorRefusal.NOT_EARLIER: (
        "It is not certain that its examination was performed before this one."
    ),
    PriorRefusal.OTHER_REGION: "It is not known to be of the same body region.",
    PriorRefusal.OLDER: "A newer one was taken.",
}


@dataclass(frozen=True, slots=True)
class Examination:
    """What the rule reads of a study, and of the examination that a report is about.

    Attributes:
        patient: the patient, with the id that is used first.
        other_patient_ids: the patient's further ids.
        accession_numbers: all numbers under which the examination was ordered.
        accession_number_issuer: (0008,0051); "" where it is not known.
        study_instance_uids: (0020,000D), as far as known.
        performed_on: date, and time if it is known, as digits from the year on, perhaps with a time
            zone as +HHMM; "" where no date is known.
        body_region: CHEST, another region, or "" where it is not known.
    """

    patient: Patient
    other_patient_ids: tuple[PatientId, ...] = ()
    accession_numbers: tuple[str, ...] = ()
    accession_number_issuer: str = ""
    study_instance_uids: tuple[str, ...] = ()
    performed_on: str = ""
    body_region: str = CHEST


@dataclass(frozen=True, slots=True)
class EarlierReport:
    """What the rule reads of a report.

    Attributes:
        examination: what it is about.
        status: how far it is.
        has_text: whether it says anything.
        is_own: whether this system wrote it.
        is_held: whether it is in question what was signed here.
    """

    examination: Examination
    status: ReportStatus = ReportStatus.FINAL
    has_text: bool = True
    is_own: bool = False
    is_held: bool = False


ReportT = TypeVar("ReportT")


@dataclass(frozen=True, slots=True)
class PriorChoice(Generic[ReportT]):
    """The prior report of a study, and why the others are not.

    Attributes:
        chosen: the prior report; None where there is none.
        refused: the others, each with the reason.
    """

    chosen: ReportT | None
    refused: tuple[tuple[ReportT, PriorRefusal], ...] = ()


def choose_prior(
    study: Examination,
    reports: Iterable[tuple[ReportT, EarlierReport]],
    site_zone: dt.tzinfo | None = None,
) -> PriorChoice[ReportT]:
    """Choose the newest report that may be the prior report of a study.

    Args:
        study: the study that is to be drafted.
        reports: reports of the patient, each with what the rule reads of it, in any order. Of two
            of one moment the first is taken.
        site_zone: the time zone of times without one; None for that of this machine.
    """
    allowed: list[tuple[str, ReportT]] = []
    refused: list[tuple[ReportT, PriorRefusal]] = []
    for report, facts in reports:
        refusal = why_not_prior(study, facts, site_zone)
        if refusal is None:
            moment = to_local_digits(facts.examination.performed_on, site_zone)
            allowed.append((moment, report))
        else:
            refused.append((report, refusal))
    if not allowed:
        return PriorChoice(None, tuple(refused))
    newest = max(allowed, key=lambda pair: pair[0])
    refused += [(pair[1], PriorRefusal.OLDER) for pair in allowed if pair is not newest]
    return PriorChoice(newest[1], tuple(refused))


def why_not_prior(
    study: Examination, report: EarlierReport, site_zone: dt.tzinfo | None = None
) -> PriorRefusal | None:
    """Why a report may not be the prior report of a study; None where it may."""
    earlier = report.examination
    if report.is_own:
        return PriorRefusal.OWN
    if not report.has_text:
        return PriorRefusal.NO_TEXT
    if report.status not in FINAL_STATUSES:
        return PriorRefusal.NOT_FINAL
    if report.is_held:
        return PriorRefusal.HELD
    if not is_same_patient(study, earlier):
        return PriorRefusal.OTHER_PATIENT
    if is_same_examination(study, earlier):
        return PriorRefusal.SAME_EXAMINATION
    if not (_numbers(study) and _numbers(earlier)):
        return PriorRefusal.NO_ACCESSION_NUMBER
    moments = [to_local_digits(e.performed_on, site_zone) for e in (earlier, study)]
    if not all(moments):
        return PriorRefusal.NO_DATE
    if not is_earlier(*moments):
        return PriorRefusal.NOT_EARLIER
    if not earlier.body_region or plain_key(earlier.body_region) != plain_key(study.body_region):
        return PriorRefusal.OTHER_REGION
    return None


def is_earlier(first: str, second: str) -> bool:
    """Whether a moment is before another, both as digits from the year on.

    Of two on one day, one without a time is not: nobody knows which was first.
    """
    shared = min(len(first), len(second))
    return bool(shared) and first[:shared] < second[:shared]


def to_local_digits(moment: str, site_zone: dt.tzinfo | None = None) -> str:
    """A moment as digits in the site's own time; "" where it is none."""
    match = re.fullmatch(r"(\d{14})([+-]\d{4})", moment)
    if match is None:
        # Fractions of a second sort as text, too.
        return moment if re.fullmatch(r"\d{4,}(\.\d*)?", moment, re.ASCII) else ""
    at = dt.datetime.strptime("".join(match.groups()), "%Y%m%d%H%M%S%z")
    return f"{at.astimezone(site_zone):%Y%m%d%H%M%S}"


def is_same_patient(study: Examination, earlier: Examination) -> bool:
    """Whether an id of both is equal, and issuer, name, birth date and sex do not contradict it."""
    has_same_id = any(
        ours.id.strip() and not ours.contradicts(theirs)
        for ours in _ids(study)
        for theirs in _ids(earlier)
    )
    # Names change and are mistyped; with two differences it is another person.
    patients = [replace(e.patient, patient_id="same", issuer="") for e in (study, earlier)]
    return has_same_id and may_be_corrected(*patients)


def _ids(examination: Examination) -> Sequence[PatientId]:
    patient = examination.patient
    return (PatientId(patient.patient_id, patient.issuer), *examination.other_patient_ids)


def is_same_examination(study: Examination, earlier: Examination) -> bool:
    """Whether both have one accession number or Study Instance UID, not of two systems."""
    issuers = [plain_key(e.accession_number_issuer) for e in (study, earlier)]
    of_two_systems = all(issuers) and issuers[0] != issuers[1]
    uids = [set(map(str.strip, e.study_instance_uids)) - {""} for e in (study, earlier)]
    return bool((_numbers(study) & _numbers(earlier) and not of_two_systems) or uids[0] & uids[1])


def _numbers(examination: Examination) -> set[str]:
    return {plain_key(number) for number in examination.accession_numbers} - {""}
