"""Reports that were signed here, as prior reports of the patient's later studies.

Rule 11 (`prior_rule`) is asked of them as of every other report. A draft that nobody signed is none
of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import exists, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from records.database.report_tables import ReceivedReport
from records.database.review_tables import Review
from records.database.tables import Hold, Study
from records.reports.addenda import make_tail
from records.reports.differing_finals import say_the_same
from records.reports.own_outputs import has_warning
from records.reports.prior_rule import CHEST, EarlierReport, Examination
from records.reports.report import is_final
from records.reviews import lookup
from records.states import Decision, ReviewDecision, SiteBasis
from records.workflow.identifiers import make_keys, plain_key
from records.workflow.patients import Patient
from records.workflow.study_lookup import study_keys

MOST_REPORTS = 200
"""Signed reports of one patient that are looked at: those of the newest studies."""


@dataclass(frozen=True, slots=True)
class SignedReport:
    """The latest report that was signed here of one study.

    Attributes:
        review: the review that holds its text.
        study: the study.
        is_held: whether a person must decide about the study, or decided against its draft after
            the signature.
        addenda: what was added to the report, oldest first.
    """

    review: Review
    study: Study
    is_held: bool
    addenda: tuple[Review, ...] = ()

    @property
    def id(self) -> uuid.UUID:
        """Our id of the review."""
        return self.review.id

    @property
    def versions(self) -> set[uuid.UUID]:
        """What changes when another report of the study is signed, or something is added."""
        return {self.review.id, *(each.id for each in self.addenda)}

    @property
    def impression(self) -> str:
        """The impression with the addenda, as reports from elsewhere have theirs."""
        tail = make_tail(each.addendum for each in self.addenda)
        return f"{self.review.impression}{tail}".lstrip("\n")

    def to_rule(self, *, has_text: bool) -> EarlierReport:
        """What the rule reads of it; what was drafted here is of the chest."""
        study = self.study
        return EarlierReport(
            examination=Examination(
                patient=Patient.of_study(study),
                accession_numbers=(study.accession_number, *study.requested_accession_numbers),
                accession_number_issuer=study.accession_number_issuer,
                study_instance_uids=(study.study_instance_uid,),
                performed_on=study.study_date,
                body_region=CHEST,
            ),
            has_text=has_text,
            is_own=has_warning(f"{self.review.findings}\n{self.review.impression}"),
            is_held=self.is_held,
        )


def list_signed_reports(session: Session, study: Study) -> list[SignedReport]:
    """The reports that were signed of other studies under a study's patient id.

    The studies are of its site, or of the first site only because nothing says whose they are.

    Returns:
        Those of the newest studies first, and MOST_REPORTS of them at most.
    """
    if not study.patient_id.strip():
        return []
    is_signed = exists().where(
        Review.study_id == Study.id, Review.decision == ReviewDecision.SIGNED
    )
    studies = (
        select(Study.id)
        # The index of the search is on this very expression.
        .where(
            func.upper(Study.patient_id.collate("C")) == plain_key(study.patient_id),
            Study.id != study.id,
            (Study.site_id == study.site_id) | (Study.site_basis == SiteBasis.DEFAULT),
            is_signed,
        )
        .order_by(Study.study_date.desc(), Study.id.desc())
        .limit(MOST_REPORTS)
    )
    is_held = exists().where(
        Hold.study_id == Review.study_id,
        or_(
            Hold.decision.is_(None),
            (Hold.decision == Decision.CANCEL) & (Hold.decided_at > Review.decided_at),
        ),
    )
    rows = session.execute(
        select(Review, Study, is_held)
        .join(Study, Study.id == Review.study_id)
        .where(Review.study_id.in_(studies), Review.decision == ReviewDecision.SIGNED)
        .ext(distinct_on(Review.study_id))
        .order_by(Review.study_id, Review.decided_at.desc(), Review.id.desc())
    )
    found = [SignedReport(*row) for row in rows]
    addenda = lookup.list_addenda(session, [report.id for report in found])
    signed = [replace(each, addenda=tuple(addenda.get(each.id, ()))) for each in found]
    return sorted(
        signed, key=lambda report: (report.study.study_date, report.study.id), reverse=True
    )


def leave_out_copies(
    signed: Iterable[SignedReport], received: Sequence[ReceivedReport]
) -> list[SignedReport]:
    """The signed reports that did not come back as finals from elsewhere, word for word.

    Such a report counts once, as the one that the other system keeps and corrects.
    """
    return [
        report
        for report in signed
        if not any(
            is_final(other)
            and _is_of_study(other, report.study)
            and say_the_same(report.review, other)
            for other in received
        )
    ]


def _is_of_study(report: ReceivedReport, study: Study) -> bool:
    keys = make_keys(accession=report.accession_numbers, study=[report.study_instance_uid])
    return bool(keys & study_keys(study))
