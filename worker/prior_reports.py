"""Chooses the prior report of a study that is being prepared, as rule 11 allows it.

`records.reports.prior_rule` is the rule. This module reads what it asks for out of headers and
texts: when the study was performed, and of which body region a report is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from model.dicom.evidence import BODY_PART_RULES, NO, YES, Header, classify
from model.prompting.prior_report import prior_report_text
from records.database.report_tables import ReceivedReport
from records.database.review_tables import Review
from records.reports.prior_reports import PatientReports, to_rule
from records.reports.prior_rule import (
    CHEST,
    REFUSAL_SENTENCES,
    EarlierReport,
    choose_prior,
    to_local_digits,
)
from records.reports.signed_reports import SignedReport

MOST_LISTED = 20
"""Reports that were not taken of which a draft says why: those of the newest examinations."""
_ELSEWHERE = "OTHER"


@dataclass(frozen=True, slots=True)
class PriorReport:
    """The prior report of a study.

    Attributes:
        text: what of it the prompt is given; "" where the study has none.
        source: what the draft keeps of it: report_id, performed_on, accession_number, procedure;
            of a report that was signed here also signed_by, the study_id, and its addenda, if it
            has any: id, at (ISO 8601), by, text.
        not_taken: the patient's other reports: report_id, reason, sentence.
    """

    text: str
    source: dict[str, Any] | None
    not_taken: list[dict[str, str]]


def choose_prior_report(known: PatientReports, headers: Sequence[Header]) -> PriorReport:
    """Choose the prior report of a study, and say why the other reports are not taken.

    Args:
        known: the study and the reports of its patient.
        headers: the headers of the study's images.
    """
    study = replace(known.study, performed_on=_performed_on(known.study.performed_on, headers))
    # Of two reports of one moment the one that came from elsewhere is taken: it may be corrected.
    candidates: tuple[ReceivedReport | SignedReport, ...] = (*known.reports, *known.signed)
    choice = choose_prior(study, [(report, _to_rule(report)) for report in candidates])
    not_taken = [
        {
            "report_id": str(report.id),
            "reason": refusal.value,
            "sentence": REFUSAL_SENTENCES[refusal],
        }
        for report, refusal in choice.refused[:MOST_LISTED]
    ]
    if choice.chosen is None:
        return PriorReport("", None, not_taken)
    return PriorReport(_text(choice.chosen), _describe(choice.chosen), not_taken)


def body_region(report: ReceivedReport) -> str:
    """CHEST where a report's region or the name of its procedure says so; "" where neither does.

    The rules are those by which an image is taken for one of the chest.
    """
    answer = classify(
        BODY_PART_RULES,
        {"BodyPartExamined": report.body_region, "StudyDescription": report.procedure},
    ).answer
    return {YES: CHEST, NO: _ELSEWHERE}.get(answer, "")


def _text(report: ReceivedReport | SignedReport) -> str:
    if isinstance(report, SignedReport):
        return prior_report_text(report.review.findings, report.impression, "")
    return prior_report_text(report.findings, report.impression, report.text)


def _to_rule(report: ReceivedReport | SignedReport) -> EarlierReport:
    has_text = bool(_text(report))
    if isinstance(report, SignedReport):
        return report.to_rule(has_text=has_text)
    return to_rule(report, body_region=body_region(report), has_text=has_text)


def _describe(report: ReceivedReport | SignedReport) -> dict[str, Any]:
    if isinstance(report, SignedReport):
        study = report.study
        addenda = [_describe_addendum(each) for each in report.addenda]
        return {
            "report_id": str(report.id),
            "performed_on": study.study_date,
            "accession_number": study.accession_number,
            "procedure": study.study_description,
            "signed_by": report.review.reader,
            "study_id": str(study.id),
            **({"addenda": addenda} if addenda else {}),
        }
    return {
        "report_id": str(report.id),
        "performed_on": report.performed_on,
        "accession_number": next(iter(report.accession_numbers), ""),
        "procedure": report.procedure,
    }


def _describe_addendum(addendum: Review) -> dict[str, str]:
    return {
        "id": str(addendum.id),
        "at": addendum.decided_at.isoformat(),
        "by": addendum.reader,
        "text": addendum.addendum,
    }


def _performed_on(study_date: str, headers: Iterable[Header]) -> str:
    """When the study began: the earliest time of its earliest day, or that day without a time."""
    moments = [re.sub(r"[.\-]", "", study_date.strip())]
    moments += [_moment(header, name) for header in headers for name in ("Study", "Acquisition")]
    local = [to_local_digits(moment) for moment in moments if moment]
    day = min((moment[:8] for moment in local if len(moment) >= len("YYYYMMDD")), default="")
    return min((m for m in local if len(m) > len(day) and m.startswith(day)), default=day)


def _moment(header: Header, name: str) -> str:
    """A date and time of a header (DA, TM) as digits, with its time zone (0008,0201)."""
    date, time, zone = (
        str(header.get(keyword) or "").strip()
        for keyword in (f"{name}Date", f"{name}Time", "TimezoneOffsetFromUTC")
    )
    date, time = re.sub(r"[.\-]", "", date), time.replace(":", "").partition(".")[0]
    if not re.fullmatch(r"\d{8}", date, re.ASCII):
        return ""
    if not re.fullmatch(r"\d{4}(\d{2})?", time, re.ASCII):
        return date
    zone = zone if re.fullmatch(r"[+-]\d{4}", zone, re.ASCII) else ""
    return f"{date}{time:0<6}{zone}"
