"""Final reports of one study that differ: from each other, or from the report that was signed here.

A correction takes the place of the report that it corrects. So where that report also came by
another interface, the copy is out of date, and contradicts nobody.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from records.database.report_tables import ReceivedReport
from records.database.review_tables import Review
from records.database.tables import Hold, Study
from records.reports.addenda import without_addenda
from records.reports.reading import list_by_study
from records.reports.report import is_final
from records.reviews import lookup
from records.states import FINAL_STATUSES, HoldReason
from records.workflow import holds

_HEADING = re.compile(r"\b(?:FINDINGS?|IMPRESSIONS?|CONCLUSIONS?)\s*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DifferingReports:
    """Two final reports of one study that differ.

    Attributes:
        first: the report that was signed here, or the one from elsewhere that came first.
        second: the other one, which is from elsewhere.
    """

    first: Review | ReceivedReport
    second: ReceivedReport


def list_differing(session: Session, study: Study) -> list[DifferingReports]:
    """The final reports of a study that differ, in pairs; none where all say the same.

    A report from elsewhere stands beside the one that was signed here, and beside the first one
    from elsewhere.
    """
    finals = _leave_out_copies(session, list_by_study(session, study))
    signed = lookup.find_signed(session, study.id) if finals else None
    differing = []
    if signed is not None:
        differing = [DifferingReports(signed, r) for r in finals if not say_the_same(signed, r)]
    return differing + _differ_from_first(finals)


def ask_about_new(session: Session, study: Study, report: ReceivedReport) -> None:
    """Open the hold FINALS_DIFFER where a report that came differs, and close it where none does.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        report: a version that is new.
    """
    differing = list_differing(session, study)
    if any(report in (pair.first, pair.second) for pair in differing):
        holds.open_hold(
            session,
            study.id,
            HoldReason.FINALS_DIFFER,
            f"a {report.status.lower()} report by {report.origin} from {report.sender}",
        )
    elif not differing and (hold := holds.find_open(session, study.id, HoldReason.FINALS_DIFFER)):
        holds.settle(session, hold, "the final reports do not differ any more")


def ask_about_earlier(session: Session, study: Study, reports: Sequence[ReceivedReport]) -> None:
    """Open the hold FINALS_DIFFER for reports that were here before their study.

    What a person has decided is not asked again.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        reports: its reports from elsewhere, the newest first.
    """
    differing = _differ_from_first(_leave_out_copies(session, reports))
    if not differing:
        return
    decided_at = session.scalar(
        select(func.max(Hold.decided_at)).where(
            Hold.study_id == study.id, Hold.reason == HoldReason.FINALS_DIFFER
        )
    )
    if decided_at is None or any(pair.second.received_at > decided_at for pair in differing):
        holds.open_hold(
            session, study.id, HoldReason.FINALS_DIFFER, "final reports that came before the study"
        )


def say_the_same(first: Review | ReceivedReport, second: Review | ReceivedReport) -> bool:
    """Whether two reports have the same letters and digits, headings left out."""
    return not _forms(first).isdisjoint(_forms(second))


def _leave_out_copies(
    session: Session, reports: Sequence[ReceivedReport]
) -> Sequence[ReceivedReport]:
    """The finals of these reports, the oldest first, without copies of what was corrected since."""
    # An addendum without its report says nothing that could differ.
    finals = [r for r in reversed(reports) if is_final(r) and not r.is_addendum]
    if not _differ_from_first(finals):
        return finals
    former = session.scalars(
        select(ReceivedReport).where(
            ReceivedReport.identity.in_([report.identity for report in finals]),
            ReceivedReport.superseded_at.is_not(None),
            ReceivedReport.status.in_(FINAL_STATUSES),
        )
    ).all()
    # A copy without the addenda of its report is an older version of it, too.
    replaced = [*former, *(report for report in finals if report.addenda)]
    current = [
        report
        for report in finals
        if not any(
            other.identity != report.identity and say_the_same(other, report) for other in replaced
        )
    ]
    return current or finals


def _differ_from_first(finals: Sequence[ReceivedReport]) -> list[DifferingReports]:
    return [
        DifferingReports(finals[0], other)
        for other in finals[1:]
        if not say_the_same(finals[0], other)
    ]


def _forms(report: Review | ReceivedReport) -> set[str]:
    """A report's letters and digits: of its sections, and of its whole text.

    They are those with its addenda and without them, for an addendum contradicts nothing.
    """
    texts = [f"{report.findings} {report.impression}"]
    if isinstance(report, ReceivedReport):
        findings, impression, text = without_addenda(report)
        texts += [report.text, f"{findings} {impression}", text]
    return {_plain(text) for text in texts} - {""}


def _plain(text: str) -> str:
    without = _HEADING.sub(" ", unicodedata.normalize("NFKC", text))
    return re.sub(r"[\W_]+", "", without.casefold())
