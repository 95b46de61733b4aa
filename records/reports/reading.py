"""Reads reports from elsewhere for people: those of a study, and their distance from its draft."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import and_, case, exists, literal, or_, select, true, tuple_
from sqlalchemy.orm import Session, aliased

from records.audit.looks import note_look
from records.database.draft_tables import Draft, DraftRequest
from records.database.report_tables import FinalComparison, ReceivedReport, ReportKey
from records.database.review_tables import Review
from records.database.tables import Hold, Study
from records.reports.report import patient_of
from records.reviews.latest import (
    READ_FROM_DRAFT,
    WITH_PROVENANCE,
    ReviewPage,
    list_distinct_studies,
    read_page,
)
from records.settings import settings
from records.states import FINAL_STATUSES, ReviewDecision
from records.workflow.identifiers import make_keys, patient_ids
from records.workflow.study_lookup import is_of_patient, study_keys
from records.workflow.study_sites import are_of_two_sites


def list_by_study(session: Session, study: Study) -> list[ReceivedReport]:
    """The reports that other systems made of a study, the newest first; no older versions.

    A report with the study's accession number that is of another patient or is known to be of
    another site is none of them.
    """
    keys = sorted(study_keys(study))
    if not keys:
        return []
    by_key = select(ReportKey.report_id).where(
        or_(*(and_(ReportKey.kind == kind, ReportKey.value == value) for kind, value in keys))
    )
    reports = session.scalars(
        select(ReceivedReport)
        .where(ReceivedReport.id.in_(by_key), ReceivedReport.superseded_at.is_(None))
        .order_by(ReceivedReport.received_at.desc(), ReceivedReport.id.desc())
    ).all()
    found = [
        report
        for report in reports
        if not are_of_two_sites(study, report.site_id)
        and is_of_patient(session, study, patient_of(report), patient_ids(report))
    ]
    note_look(patients=[patient_of(report) for report in found])
    return found


def count_named_by_finals(session: Session, studies: Sequence[tuple[str, str]]) -> int:
    """How many studies a final report from elsewhere names, whoever its patient is.

    It is for studies that are not here, of which the patient is not known yet.

    Args:
        session: the caller's transaction.
        studies: the study UID and the accession number of each; either may be "".
    """
    keys = [make_keys(accession=[number], study=[uid]) for uid, number in studies]
    wanted = sorted(set().union(*keys))
    if not wanted:
        return 0
    named = {
        (kind, value)
        for kind, value in session.execute(
            select(ReportKey.kind, ReportKey.value)
            .join(ReceivedReport, ReceivedReport.id == ReportKey.report_id)
            .where(
                tuple_(ReportKey.kind, ReportKey.value).in_(wanted),
                ReceivedReport.superseded_at.is_(None),
                ReceivedReport.status.in_(FINAL_STATUSES),
            )
        )
    }
    return sum(not named.isdisjoint(of_study) for of_study in keys)


def list_comparisons(session: Session, study_id: uuid.UUID) -> Sequence[FinalComparison]:
    """How far finals from elsewhere are from the study's drafts, the newest comparison first.

    What a worker has not compared yet, or could not, is none of them.
    """
    return session.scalars(
        select(FinalComparison)
        .where(
            FinalComparison.study_id == study_id,
            FinalComparison.distances.is_not(None),
            ~FinalComparison.distances.has_key("error"),
        )
        .order_by(FinalComparison.id.desc())
    ).all()


def list_consented_finals(
    session: Session, after: uuid.UUID | None = None, limit: int = 500
) -> ReviewPage:
    """One page of finals from elsewhere that may be trained on, one a study, by the study's id.

    They are finals of studies that were drafted here and of which no report was signed here. Where
    a report has no sections, its whole text stands in `findings`.

    Args:
        session: the caller's transaction.
        after: `next_after` of the page before; None begins at the first study.
        limit: studies that are looked at for the page. Fewer may be on it.
    """
    studies = list_distinct_studies(session, FinalComparison.study_id, after, limit)
    allowed = aliased(ReceivedReport)
    latest = (
        select(FinalComparison.draft_id, FinalComparison.report_id)
        .join(allowed, allowed.id == FinalComparison.report_id)
        .where(
            FinalComparison.study_id == Study.id,
            allowed.superseded_at.is_(None),
            allowed.status.in_(FINAL_STATUSES),
            true() if settings().report_training_consent else allowed.consent,
        )
        .order_by(FinalComparison.id.desc())
        .limit(1)
        .lateral()
    )
    has_sections = ReceivedReport.findings + ReceivedReport.impression != ""
    held = exists().where(Hold.study_id == Study.id, Hold.decision.is_(None))
    signed = exists().where(Review.study_id == Study.id, Review.decision == ReviewDecision.SIGNED)
    query = (
        select(
            Study.id.label("study_id"),
            literal(ReviewDecision.SIGNED.value).label("decision"),
            true().label("consent"),
            held.label("held"),
            case((has_sections, ReceivedReport.findings), else_=ReceivedReport.text).label(
                "findings"
            ),
            ReceivedReport.impression,
            *READ_FROM_DRAFT,
        )
        .select_from(Study)
        .join(latest, true())
        .join(ReceivedReport, ReceivedReport.id == latest.c.report_id)
        .join(Draft, Draft.id == latest.c.draft_id)
        .outerjoin(DraftRequest, WITH_PROVENANCE)
        .where(Study.id.in_(studies.ids), ~signed)
        .order_by(Study.id)
    )
    return read_page(session, query, studies)
