"""An addendum belongs to the report that it is about: that report is kept with it, as one text.

The report has its addenda in a column of their own, too, so that a correction of the report keeps
them, and one of an addendum takes its place. An addendum whose report is not known stands on its
own until that report comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from records.database.report_tables import ReceivedReport, ReportKey
from records.reports.report import patient_of
from records.states import FINAL_STATUSES, ReportStatus
from records.workflow.identifiers import KeyKind, plain_key
from records.workflow.patients import may_be_corrected

_NAMED = re.compile(r"(?:FINAL )?ADDENDUM\b", re.IGNORECASE)

Addendum = dict[str, str]
"""identity, text, author and sent_at (ISO 8601, or "") of an addendum."""


def find_parent(session: Session, identity: str, columns: dict[str, Any]) -> ReceivedReport | None:
    """The report that has an addendum or is to have it, locked; None where it is not known.

    Args:
        session: the caller's transaction.
        identity: of what came, which may be a newer version of an addendum.
        columns: its columns of `received_reports`.
    """
    keys = select(ReportKey.report_id).where(
        ReportKey.kind == KeyKind.ADDENDUM, ReportKey.value == plain_key(identity)
    )
    queries = [select(ReceivedReport).where(ReceivedReport.id.in_(keys))]
    if columns["addendum_to"]:
        queries.append(
            select(ReceivedReport).where(ReceivedReport.identity == columns["addendum_to"])
        )
    for query in queries:
        parent = session.scalar(
            query.where(ReceivedReport.superseded_at.is_(None))
            .limit(1)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
        if parent is not None and parent.status != ReportStatus.CANCELLED:
            is_known = any(entry["identity"] == identity for entry in parent.addenda)
            if is_known or _is_same_patient(parent, ReceivedReport(**columns)):
                return parent
    return None


def take_waiting(session: Session, identity: str, columns: dict[str, Any]) -> list[Addendum]:
    """The addenda that came before their report and stand on their own; they do so no longer.

    Args:
        session: the caller's transaction.
        identity: of the report that came.
        columns: its columns of `received_reports`.
    """
    keys = select(ReportKey.report_id).where(
        ReportKey.kind == KeyKind.PARENT, ReportKey.value == plain_key(identity)
    )
    waiting = session.scalars(
        select(ReceivedReport)
        .where(
            ReceivedReport.id.in_(keys),
            ReceivedReport.superseded_at.is_(None),
            ReceivedReport.status.in_(FINAL_STATUSES),
        )
        .order_by(ReceivedReport.received_at, ReceivedReport.id)
        .with_for_update(key_share=True)
    ).all()
    addenda = []
    for row in waiting:
        if _is_same_patient(row, ReceivedReport(**columns)):
            sent_at = row.sent_at.isoformat() if row.sent_at else ""
            addenda.append(_entry(row.identity, row.text, row.author, sent_at))
            supersede(session, row)
    return addenda


def supersede(session: Session, report: ReceivedReport) -> None:
    """Let a version stand no longer; no key finds it any more."""
    report.superseded_at = func.clock_timestamp()
    session.execute(delete(ReportKey).where(ReportKey.report_id == report.id))
    session.flush()


def change(
    addenda: Sequence[Addendum], identity: str, columns: dict[str, Any]
) -> list[Addendum] | None:
    """A report's addenda with one that came: added, in the place of its older version, or gone.

    Returns:
        None where it changes nothing, or is older than what is there.
    """
    sent_at = columns["sent_at"].isoformat() if columns["sent_at"] else ""
    known = next((entry for entry in addenda if entry["identity"] == identity), None)
    others = [entry for entry in addenda if entry is not known]
    if columns["status"] == ReportStatus.CANCELLED:
        return others if known else None
    entry = _entry(identity, columns["text"], columns["author"], sent_at)
    if known is None:
        return [*others, entry]
    is_older = bool(sent_at) and sent_at < known["sent_at"]
    if is_older or known["text"] == entry["text"]:
        return None
    return [entry if other is known else other for other in addenda]


def add(columns: dict[str, Any], addenda: Sequence[Addendum]) -> dict[str, Any]:
    """The columns of a report with its addenda, from those of the report alone.

    An addendum that stands in the report's own text already is not repeated.
    """
    own = _letters(columns["text"])
    addenda = [entry for entry in addenda if _letters(entry["text"]) not in own]
    tail = make_tail([entry["text"] for entry in addenda])
    parts = {"text": columns["text"] + tail, "addenda": addenda}
    if columns["findings"] or columns["impression"]:
        parts["impression"] = (columns["impression"] + tail).lstrip("\n")
    return columns | parts


def without_addenda(report: ReceivedReport) -> tuple[str, str, str]:
    """Findings, impression and whole text of a report as it was before its addenda."""
    tail = make_tail([entry["text"] for entry in report.addenda])
    impression = report.impression
    impression = "" if impression == tail.lstrip("\n") else impression.removesuffix(tail)
    return report.findings, impression, report.text.removesuffix(tail)


def make_tail(texts: Iterable[str]) -> str:
    """What stands behind a report that has these addenda, each under its name."""
    stripped = [text.strip() for text in texts]
    return "".join(
        f"\n\n{text}" if _NAMED.match(text) else f"\n\nADDENDUM: {text}" for text in stripped
    )


def _entry(identity: str, text: str, author: str, sent_at: str) -> Addendum:
    return {"identity": identity, "text": text, "author": author, "sent_at": sent_at}


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def _is_same_patient(first: ReceivedReport, second: ReceivedReport) -> bool:
    return may_be_corrected(patient_of(first), patient_of(second))
