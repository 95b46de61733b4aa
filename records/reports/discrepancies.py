"""What a draft says and the final report does not, and the other way round: found and checked.

A worker finds them when it compares a draft with a final (`finals`), and then checks each that the
draft alone says: a report of the patient that is not from before the study may mention it. Nothing
here is an alarm, is delivered, or names a person.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.discrepancy_tables import OF_MODEL, OF_REPORT, Discrepancy, DiscrepancyRecheck
from records.database.draft_tables import Draft
from records.database.report_tables import FinalComparison
from records.database.tables import Study
from records.reports.prior_reports import list_reports
from records.reports.prior_rule import is_earlier, to_local_digits
from records.reports.reading import list_by_study
from records.reports.report import is_final, patient_of
from records.reports.signed_reports import list_signed_reports
from records.reviews import lookup
from records.states import VERDICTS, DiscrepancySide, DiscrepancyState
from records.workflow import discrepancy_rechecks, draft_comparisons
from records.workflow.identifiers import patient_ids
from records.workflow.study_lookup import is_of_patient

_OPEN_AGAIN = (
    DiscrepancyState.UNCHECKED,
    DiscrepancyState.OPEN,
    DiscrepancyState.MENTIONED,
    DiscrepancyState.WITHDRAWN,
)
"""States that a newer comparison, or a report, may change. What was read stays as it was read."""


@dataclass(frozen=True, slots=True)
class FoundDiscrepancy:
    """What a worker found in one comparison of a draft with a final report.

    Attributes:
        observation: which of the 14 observations.
        side: who is silent about it.
        certainty: how certain the other one is, from 0 to 1.
        said: what the silent one says of it: "blank" or "absent".
    """

    observation: str
    side: DiscrepancySide
    certainty: float
    said: str


@dataclass(frozen=True, slots=True)
class OtherReport:
    """A report that may mention what a draft says.

    Attributes:
        id: our id of it where it came from elsewhere; None where it was signed here.
        findings, impression, text: as it is kept; `text` is "" where it was signed here.
    """

    id: uuid.UUID | None
    findings: str
    impression: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A discrepancy that is to be checked; its row is locked.

    Attributes:
        id: our id of it.
        observation: which of the 14 observations the draft says is present.
        has_final: whether a final report of the study stands, from elsewhere.
        reports: what may mention it: reports of the study itself, and of the patient's others that
            are not from before it.
    """

    id: uuid.UUID
    observation: str
    has_final: bool
    reports: Sequence[OtherReport]


def keep(session: Session, comparison_id: int, found: Sequence[FoundDiscrepancy]) -> None:
    """Keep what a comparison found, in the transaction that keeps the comparison.

    What an older comparison of the same draft found in the model and this one does not is
    withdrawn. What was read is never changed.
    """
    comparison = session.get_one(FinalComparison, comparison_id)
    campaign_id = session.scalar(
        select(draft_comparisons.campaign_of(Draft)).where(Draft.id == comparison.draft_id)
    )
    errors = [each.observation for each in found if each.side is DiscrepancySide.MISS_OF_MODEL]
    session.execute(
        update(Discrepancy)
        .where(
            Discrepancy.draft_id == comparison.draft_id,
            OF_MODEL,
            Discrepancy.observation.not_in(errors),
            Discrepancy.state.in_(_OPEN_AGAIN),
        )
        .values(state=DiscrepancyState.WITHDRAWN)
    )
    for each in found:
        is_question = each.side is DiscrepancySide.MISS_OF_REPORT
        state = DiscrepancyState.UNCHECKED if is_question else DiscrepancyState.OPEN
        row = insert(Discrepancy).values(
            side=each.side,
            study_id=comparison.study_id,
            draft_id=comparison.draft_id,
            report_id=comparison.report_id,
            campaign_id=campaign_id,
            observation=each.observation,
            certainty=each.certainty,
            said=each.said,
            state=state,
        )
        # Of several drafts of a study the most certain one counts.
        newer = row.excluded.certainty >= Discrepancy.certainty
        kept = {
            name: case((newer, getattr(row.excluded, name)), else_=getattr(Discrepancy, name))
            for name in ("draft_id", "report_id", "campaign_id", "said")
        }
        session.execute(
            row.on_conflict_do_update(
                index_elements=["study_id" if is_question else "draft_id", "observation"],
                index_where=OF_REPORT if is_question else OF_MODEL,
                set_={
                    **kept,
                    "certainty": func.greatest(row.excluded.certainty, Discrepancy.certainty),
                    "state": state,
                },
                where=Discrepancy.state.in_(_OPEN_AGAIN),
            )
        )


def find_waiting_check(session: Session) -> uuid.UUID | None:
    """A study with a discrepancy that is to be checked; None where there is none."""
    noted = session.scalar(
        select(DiscrepancyRecheck.study_id).order_by(DiscrepancyRecheck.id).limit(1)
    )
    return noted or session.scalar(
        select(Discrepancy.study_id)
        .where(Discrepancy.state == DiscrepancyState.UNCHECKED)
        .order_by(Discrepancy.id)
        .limit(1)
    )


def take_up_rechecks(session: Session, limit: int) -> int:
    """Let what was noted be checked again (`discrepancy_rechecks`).

    Returns:
        Of how many studies.
    """
    studies = discrepancy_rechecks.take_noted(session, limit)
    if studies:
        session.execute(
            update(Discrepancy)
            .where(
                Discrepancy.study_id.in_(studies),
                OF_REPORT,
                Discrepancy.state.in_(_OPEN_AGAIN),
            )
            .values(state=DiscrepancyState.UNCHECKED)
        )
    return len(studies)


def list_unchecked(session: Session, limit: int) -> Sequence[tuple[uuid.UUID, str]]:
    """Discrepancies that are to be checked: our ids, each with the patient id of its study."""
    rows = session.execute(
        select(Discrepancy.id, Study.patient_id)
        .join(Study, Study.id == Discrepancy.study_id)
        .where(Discrepancy.state == DiscrepancyState.UNCHECKED)
        .order_by(Discrepancy.id)
        .limit(limit)
    )
    return [(discrepancy_id, patient_id) for discrepancy_id, patient_id in rows]


def begin_check(session: Session, discrepancy_id: uuid.UUID, patient_id: str) -> Check | None:
    """Lock a discrepancy that is to be checked, and read what may mention it.

    Args:
        session: a transaction that has locked nothing yet.
        discrepancy_id: our id of it.
        patient_id: the patient id of its study.

    Returns:
        None where another worker checks it, or has checked it.
    """
    discrepancy_rechecks.wait_for_patient(session, patient_id)
    discrepancy = session.scalar(
        select(Discrepancy)
        .where(Discrepancy.id == discrepancy_id, Discrepancy.state == DiscrepancyState.UNCHECKED)
        .with_for_update(skip_locked=True)
    )
    if discrepancy is None:
        return None
    study = session.get_one(Study, discrepancy.study_id)
    finals = [report for report in list_by_study(session, study) if is_final(report)]
    later = [
        report
        for report in list_reports(session, study)
        if is_final(report)
        and report not in finals
        and not _is_before(report.performed_on, study)
        and is_of_patient(session, study, patient_of(report), patient_ids(report))
    ]
    signed = [
        each.review
        for each in list_signed_reports(session, study)
        if not _is_before(each.study.study_date, study)
    ]
    if own := lookup.find_signed(session, study.id):
        signed.append(own)
    return Check(
        discrepancy.id,
        discrepancy.observation,
        any(not report.is_addendum for report in finals),
        [
            *(
                OtherReport(report.id, report.findings, report.impression, report.text)
                for report in (*finals, *later)
            ),
            *(OtherReport(None, review.findings, review.impression) for review in signed),
        ],
    )


def end_check(session: Session, check: Check, mention: OtherReport | None) -> None:
    """Keep what a check found.

    Args:
        session: the transaction of `begin_check`.
        check: the check.
        mention: the report that mentions what the draft says; None where none does.
    """
    state = DiscrepancyState.OPEN
    if mention is not None:
        state = DiscrepancyState.MENTIONED
    elif not check.has_final:
        state = DiscrepancyState.WITHDRAWN
    session.execute(
        update(Discrepancy)
        .where(Discrepancy.id == check.id, Discrepancy.state.not_in(VERDICTS))
        .values(state=state, mentioned_by=mention.id if mention else None)
    )


def _is_before(performed_on: str, study: Study) -> bool:
    """Whether an examination was certainly before a study.

    One of the same day, or without a date, may be the one at which the finding was seen.
    """
    moments = to_local_digits(performed_on), to_local_digits(study.study_date)
    return all(moments) and is_earlier(*moments)
