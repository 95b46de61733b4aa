"""Taking a report in: its row, its older versions, and the studies that it is about."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.report_tables import ReceivedReport, ReportKey
from records.database.site_tables import DEFAULT_SITE_ID
from records.errors import MessageError
from records.received_text import clean_line
from records.reports import addenda, finals
from records.reports.own_outputs import is_own_output
from records.reports.report import OutsideReport, patient_of
from records.states import FINAL_STATUSES, EventKind, ReportStatus
from records.workflow import events, later_studies, study_sites
from records.workflow.identifiers import make_keys, patient_ids
from records.workflow.patient_aliases import resolve_columns
from records.workflow.site_scope import shows
from records.workflow.sites import site_of_sender
from records.workflow.study_lookup import find_study_ids, is_of_patient
from records.workflow.withdrawals import lock_study

PRIOR_CAME = "a report of an earlier study came or changed"
"""Why later studies of the patient are prepared again."""


class ReportOutcome(StrEnum):
    """What `receive_report` did."""

    NEW = "NEW"
    CORRECTED = "CORRECTED"  # a version took the place of another one, which is kept
    CANCELLED = "CANCELLED"
    UNCHANGED = "UNCHANGED"
    OUTDATED = "OUTDATED"  # an older version came after a newer one, and changed nothing
    OWN = "OWN"  # it is what this system sent itself, and nothing was kept


@dataclass(frozen=True, slots=True)
class ReceivedReportResult:
    """What was done with a report.

    Attributes:
        report_id: our id of the version that now stands; None for what we sent ourselves.
        outcome: what was done.
        study_ids: the studies here that the report is about, where it is new or has changed.
    """

    report_id: uuid.UUID | None
    outcome: ReportOutcome
    study_ids: tuple[uuid.UUID, ...]


def receive_report(
    session: Session,
    received: OutsideReport,
    message_id: uuid.UUID | None = None,
    *,
    asked_for: uuid.UUID = DEFAULT_SITE_ID,
) -> ReceivedReportResult:
    """Keep a report, or a newer version of one, and apply it to the studies that it is about.

    The same report again changes nothing. Each version is a row that is never changed; the one that
    it replaces is superseded and kept, and no number finds it any longer. An addendum makes a new
    version of its report; where that is not known, it stands on its own. A preliminary report and
    one without text are kept, too, and never used. The caller answers the sender after his commit.

    Args:
        session: the caller's transaction.
        received: the report as sent.
        message_id: the row of `received_messages` that brought it.
        asked_for: the site of the study that it came with or was asked for; a new report belongs to
            it where the site of its sender is not known.

    Raises:
        MessageError: nothing in it identifies a report or a patient, or it is a report of a site
            that the caller does not see. Nothing was written.
        NotAllowed: the caller does not see all sites, and the sender is of none that it sees.
    """
    if is_own_output(session, received):
        return ReceivedReportResult(None, ReportOutcome.OWN, ())
    identity = received.identity
    if not identity:
        raise MessageError("the report has no number, no accession number and no study UID")
    (columns,) = resolve_columns(session, [received.columns()])
    columns["performed_on"] = _plain_moment(columns["performed_on"])
    if not columns["text"].strip():
        columns["text"] = _join_sections(columns["findings"], columns["impression"])
    site_id = site_of_sender(session, received.sender, asked_for)
    parent = addenda.find_parent(session, identity, columns)
    if parent is not None:
        _check_visible(parent)
    if parent and (done := _change_addenda(session, parent, identity, columns, message_id)):
        return done
    waiting: list[addenda.Addendum] = []
    while True:
        current = session.scalar(
            select(ReceivedReport)
            .where(ReceivedReport.identity == identity, ReceivedReport.superseded_at.is_(None))
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
        if current is None:
            waiting += addenda.take_waiting(session, identity, columns)
        columns = addenda.add(columns, [*(current.addenda if current else ()), *waiting])
        if current is not None:
            _check_visible(current)
            if current.site_id != DEFAULT_SITE_ID:  # as a report of this sender came before
                site_id = current.site_id
            if unchanged := _compare(current, columns):
                return ReceivedReportResult(current.id, unchanged, ())
            if received.status is ReportStatus.CANCELLED:
                columns = _cancelled(current, columns)
        if not columns["patient_id"].strip():
            raise MessageError("the report names no patient id")
        if current is not None:
            addenda.supersede(session, current)
        new_id = session.scalar(
            insert(ReceivedReport)
            .values(
                identity=identity,
                origin=received.origin,
                sender=clean_line(received.sender),
                message_id=message_id,
                site_id=site_id,
                **columns,
            )
            .on_conflict_do_nothing(
                index_elements=["identity"], index_where=ReceivedReport.superseded_at.is_(None)
            )
            .returning(ReceivedReport.id)
        )
        if new_id is not None:
            break
        # Another transaction has just committed a version of it: this one is compared with that.
    report = session.get_one(ReceivedReport, new_id)
    write_keys(session, report)
    outcome = ReportOutcome.NEW if current is None else ReportOutcome.CORRECTED
    if report.status == ReportStatus.CANCELLED:
        outcome = ReportOutcome.CANCELLED
    return ReceivedReportResult(report.id, outcome, tuple(apply_report(session, report)))


def _change_addenda(
    session: Session,
    parent: ReceivedReport,
    identity: str,
    columns: dict[str, Any],
    message_id: uuid.UUID | None,
) -> ReceivedReportResult | None:
    """Make a new version of a report of which an addendum came, changed or was cancelled.

    Returns:
        None where the addendum is not final, and so stands on its own.
    """
    status = ReportStatus(columns["status"])
    is_held = any(entry["identity"] == identity for entry in parent.addenda)
    if status is ReportStatus.PRELIMINARY and not is_held:
        return None
    changed = addenda.change(parent.addenda, identity, columns)
    if status is ReportStatus.PRELIMINARY or changed is None:
        return ReceivedReportResult(parent.id, ReportOutcome.UNCHANGED, ())
    findings, impression, text = addenda.without_addenda(parent)
    kept = {
        name: getattr(parent, name)
        for name in (*columns, "identity", "origin", "sender", "site_id")
    }
    kept |= {"findings": findings, "impression": impression, "text": text}
    alone = session.scalar(
        select(ReceivedReport)
        .where(ReceivedReport.identity == identity, ReceivedReport.superseded_at.is_(None))
        .with_for_update(key_share=True)
    )
    for older in filter(None, (parent, alone)):
        addenda.supersede(session, older)
    report = ReceivedReport(**addenda.add(kept, changed), message_id=message_id)
    session.add(report)
    session.flush()
    write_keys(session, report)
    studies = apply_report(session, report)
    return ReceivedReportResult(report.id, ReportOutcome.CORRECTED, tuple(studies))


def _check_visible(report: ReceivedReport) -> None:
    if not shows(report.site_id):
        raise MessageError("a sender of this name has sent this report for another site")


def apply_report(session: Session, report: ReceivedReport) -> list[uuid.UUID]:
    """Let a report that is new or has changed take effect on the studies that it is about.

    Returns:
        These studies. One with its accession number that is of another patient or is known to be of
        another site is none of them.
    """
    ids = patient_ids(report)
    ours = []
    for study_id in find_study_ids(session, report.accession_numbers, [report.study_instance_uid]):
        study = lock_study(session, study_id)
        if not is_of_patient(session, study, patient_of(report), ids):
            continue
        if study_sites.are_of_two_sites(study, report.site_id):
            events.append_event(
                session,
                study_id,
                EventKind.REPORT_RECEIVED,
                f"a report of another site names it, and does not count: by {report.origin}",
            )
            continue
        study_sites.share_site(session, study, report)
        ours.append(study_id)
        events.append_event(
            session,
            study_id,
            EventKind.REPORT_RECEIVED,
            f"{report.status.lower()} report by {report.origin}",
        )
        finals.apply_to_study(session, study, report)
    later_studies.apply_prior_report(session, ids, ours, PRIOR_CAME)
    return ours


def write_keys(session: Session, report: ReceivedReport) -> None:
    """Write the keys by which a report is found, in place of those that it had.

    Whoever corrects the patient of a report calls it.
    """
    keys = make_keys(
        accession=report.accession_numbers,
        study=[report.study_instance_uid],
        patient=[given.id for given in patient_ids(report)],
        order=[report.placer_order_number, report.filler_order_number],
        addendum=[entry["identity"] for entry in report.addenda],
        parent=[report.addendum_to],
    )
    session.execute(delete(ReportKey).where(ReportKey.report_id == report.id))
    session.execute(
        insert(ReportKey),
        [{"report_id": report.id, "kind": kind, "value": value} for kind, value in sorted(keys)],
    )


def _compare(current: ReceivedReport, columns: dict[str, Any]) -> ReportOutcome | None:
    """Whether a version that came changes nothing, and why; None where it takes the place."""
    sent_at: dt.datetime | None = columns["sent_at"]
    is_dated = sent_at is not None and current.sent_at is not None
    if sent_at is not None and current.sent_at is not None and sent_at < current.sent_at:
        return ReportOutcome.OUTDATED
    status = ReportStatus(columns["status"])
    if status is ReportStatus.CANCELLED and current.status == ReportStatus.CANCELLED:
        return ReportOutcome.UNCHANGED
    compared = set(columns) - {"sent_at"}
    if is_dated and sent_at == current.sent_at:
        # The same message once more. Its patient may have been corrected here meanwhile.
        compared = {"status", "text", "findings", "impression"}
    if all(getattr(current, name) == columns[name] for name in compared):
        return ReportOutcome.UNCHANGED
    if status is ReportStatus.PRELIMINARY and current.status in FINAL_STATUSES and not is_dated:
        # Without the sender's times the final one is the later one.
        return ReportOutcome.OUTDATED
    return None


def _cancelled(current: ReceivedReport, columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of a cancellation, which is often sent with little more than a number."""
    kept = {name: getattr(current, name) for name in columns}
    return kept | {"status": ReportStatus.CANCELLED.value, "sent_at": columns["sent_at"]}


def _join_sections(findings: str, impression: str) -> str:
    sections = (("FINDINGS", findings), ("IMPRESSION", impression))
    return "\n\n".join(f"{name}: {text.strip()}" for name, text in sections if text.strip())


def _plain_moment(text: str) -> str:
    """A moment as 8 or 14 digits, with a time zone as +HHMM where it has one; "" where it is none.

    HL7's TS, DICOM's DA and DT, and ISO 8601 are read.
    """
    match = re.match(
        r"(\d{4})-?(\d{2})-?(\d{2})(?:[T ]?(\d{2}):?(\d{2})(?::?(\d{2})(?:\.\d+)?)?"
        r"(Z|[+-]\d{2}:?\d{2})?)?",
        text.strip(),
    )
    if match is None:
        return ""
    *digits, zone = match.groups()
    year, month, day, hour, minute, second = (int(part or 0) for part in digits)
    try:
        moment = dt.datetime(year, month, day, hour, minute, min(second, 59), tzinfo=dt.UTC)
    except ValueError:
        return ""
    if digits[3] is None:
        return f"{moment:%Y%m%d}"
    offset = "+0000" if zone == "Z" else (zone or "").replace(":", "")
    return f"{moment:%Y%m%d%H%M%S}{offset}"
