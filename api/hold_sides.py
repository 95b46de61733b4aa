"""The two sides of holds that are about orders and reports, compared for a person."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.related_schemas import (
    ComparedField,
    FieldName,
    HeldOrder,
    HeldReports,
    ReportSide,
    ReportWords,
    StatedReason,
)
from api.word_differences import compare_words
from records.database.order_tables import Order
from records.database.report_tables import ReceivedReport
from records.database.review_tables import Review
from records.database.tables import Study
from records.orders import reading
from records.orders.matching import order_patient
from records.reports.differing_finals import list_differing
from records.states import MatchState, Origin, ReportStatus
from records.workflow.patients import Patient, differing_fields

_FIELDS: tuple[FieldName, ...] = ("patient_id", "issuer", "name", "birth_date", "sex")


def list_held_orders(session: Session, study: Study) -> list[HeldOrder]:
    """The orders that an open ORDER_MISMATCH hold of the study is about."""
    return [
        _held_order(study, order)
        for match, order in reading.list_by_study(session, study.id)
        if match.state == MatchState.MISMATCH
    ]


def list_held_reports(session: Session, study: Study) -> list[HeldReports]:
    """The final reports that an open FINALS_DIFFER hold of the study is about, in pairs."""
    held = []
    for pair in list_differing(session, study):
        first, second = _report_side(pair.first), _report_side(pair.second)
        words = [ReportWords.model_validate(w) for w in compare_words(first.text, second.text)]
        held.append(HeldReports(first=first, second=second, words=words))
    return held


def _report_side(report: Review | ReceivedReport) -> ReportSide:
    if isinstance(report, Review):
        return ReportSide(
            report=None,
            signed_by=report.reader,
            status=ReportStatus.FINAL,
            origin=None,
            sender="",
            author="",
            at=report.decided_at,
            text=_join_sections(report.findings, report.impression),
        )
    return ReportSide(
        report=report.id,
        signed_by=None,
        status=ReportStatus(report.status),
        origin=Origin(report.origin),
        sender=report.sender,
        author=report.author,
        at=report.received_at,
        text=_join_sections(report.findings, report.impression) or report.text,
    )


def _join_sections(findings: str, impression: str) -> str:
    sections = (("FINDINGS", findings), ("IMPRESSION", impression))
    return "\n".join(f"{name}: {text.strip()}" for name, text in sections if text.strip())


def compare_patients(study: Study, order: Order) -> list[ComparedField]:
    """The patient of a study's films and of an order, field by field."""
    ours, theirs = Patient.of_study(study), order_patient(order)
    differing = differing_fields(ours, theirs)
    return [
        ComparedField(
            name=name,
            study=getattr(ours, name),
            order=getattr(theirs, name),
            differs=name in differing,
        )
        for name in _FIELDS
    ]


def _held_order(study: Study, order: Order) -> HeldOrder:
    return HeldOrder(
        order=order.id,
        origin=Origin(order.origin),
        sender=order.sender,
        changed_at=order.changed_at,
        accession_numbers=order.accession_numbers,
        procedure=order.procedure,
        texts=[StatedReason(**text) for text in order.texts],
        other_patient_ids=order.other_patient_ids,
        fields=compare_patients(study, order),
    )
