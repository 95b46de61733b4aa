"""The two sides of holds that are about orders and reports, compared for a person."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.related_schemas import (
    ComparedField,
    FieldName,
    HeldOrder,
    HeldReport,
    ReportWords,
    StatedReason,
)
from api.word_differences import compare_words
from records.database.order_tables import Order
from records.database.report_tables import ReceivedReport
from records.database.tables import Study
from records.orders import reading
from records.orders.matching import order_patient
from records.reports import reading as report_reading
from records.states import FINAL_STATUSES, MatchState, Origin, ReportStatus, ReviewDecision
from records.workflow import reviews
from records.workflow.patients import Patient, differing_fields

_FIELDS: tuple[FieldName, ...] = ("patient_id", "issuer", "name", "birth_date", "sex")


def list_held_orders(session: Session, study: Study) -> list[HeldOrder]:
    """The orders that an open ORDER_MISMATCH hold of the study is about."""
    return [
        _held_order(study, order)
        for match, order in reading.list_by_study(session, study.id)
        if match.state == MatchState.MISMATCH
    ]


def list_held_reports(session: Session, study: Study) -> list[HeldReport]:
    """The finals from elsewhere that an open FINALS_DIFFER hold of the study is about."""
    signed = next(
        (
            review
            for review in reversed(reviews.list_by_study(session, study.id))
            if review.decision == ReviewDecision.SIGNED
        ),
        None,
    )
    ours = _join_sections(signed.findings, signed.impression) if signed is not None else ""
    return [
        HeldReport(
            report=report.id,
            status=ReportStatus(report.status),
            origin=Origin(report.origin),
            sender=report.sender,
            author=report.author,
            received_at=report.received_at,
            text=_report_text(report),
            signed_by=signed.reader if signed is not None else "",
            signed_at=signed.decided_at if signed is not None else None,
            signed_text=ours,
            words=[
                ReportWords.model_validate(words)
                for words in compare_words(ours, _report_text(report))
            ],
        )
        for report in report_reading.list_by_study(session, study)
        if report.status in FINAL_STATUSES
    ]


def _report_text(report: ReceivedReport) -> str:
    return _join_sections(report.findings, report.impression) or report.text


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
