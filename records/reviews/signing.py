"""A reader signs a draft, as corrected, or rejects it; what follows a signature is added to it.

A draft stays what it is, unreviewed text of a model. The report that a reader signed is a row of
its own, written once; only the consent to train on it can change. An addendum and a
countersignature are rows of their own that name the report.
"""

from __future__ import annotations

import uuid

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.draft_tables import Draft
from records.database.quality_tables import DraftOutcome
from records.database.review_tables import Review, WorkingText
from records.database.tables import Study
from records.errors import NotAllowed, NotFound
from records.reviews import readings, working_texts
from records.reviews.edit_distances import measure_section
from records.reviews.readers import (
    MOST_TEXT,
    Reader,
    check_signable,
    check_text,
    digest_text,
    lock_draft,
)
from records.reviews.styled_reports import begun_text
from records.reviews.working_texts import StaleText
from records.settings import settings
from records.states import (
    WARNING,
    DraftUse,
    EventKind,
    ReadingEnd,
    RejectReason,
    ReviewDecision,
    TextState,
)
from records.workflow import events, later_studies
from records.workflow.identifiers import PatientId

SIGNED_EARLIER = "a report of an earlier study was signed"
"""Why later studies of the patient are prepared again."""

ADDED_EARLIER = "an addendum to a report of an earlier study was signed"
"""The same, of what follows a signature."""


_SIGNED_WITHOUT = {
    DraftUse.WITHOUT_DRAFT.value: ", written without the draft",
    DraftUse.DRAFT_SHOWN.value: ", begun without the draft, which was shown before the signature",
}
"""What the timeline says of a signature on a text that was not made of the draft."""


def sign(
    session: Session,
    draft_id: uuid.UUID,
    reader: str,
    findings: str,
    impression: str,
    consent: bool | None = None,
) -> uuid.UUID:
    """Store the report that a reader made of a draft and signed.

    It is a prior report of the patient's later studies, which are prepared again with it.

    Args:
        session: the caller's transaction.
        draft_id: the draft that was read.
        reader: who signs.
        findings: the findings as signed.
        impression: the impression as signed.
        consent: whether the report may be trained on; None takes NIGHTDRAFT_TRAINING_CONSENT.

    Returns:
        The review's id.

    Raises:
        NotFound: no such draft.
        NotAllowed: no reader, no text, the draft's warning in the text, a draft that is superseded
            or signed already, or a study that waits for a person to decide.
    """
    check_text(findings, impression)
    draft = lock_draft(session, draft_id, reader)
    check_signable(session, draft)
    return _keep_report(session, draft, Reader(reader), findings, impression, consent)


def sign_text(
    session: Session,
    draft_id: uuid.UUID,
    version: int,
    sha256: str,
    reader: Reader,
    consent: bool | None = None,
) -> uuid.UUID:
    """Sign the working text of a draft, which is exactly what the reader was shown.

    What the same person signs a second time, because the answer was lost, is signed once.

    Args:
        session: the caller's transaction.
        draft_id: the draft that was read.
        version: the version of the working text that was shown; 0 is the draft as it is.
        sha256: the digest of the text that was shown (`Text.sha256`).
        reader: who signs.
        consent: as `sign`.

    Returns:
        The review's id.

    Raises:
        NotFound: no such draft.
        StaleText: another text stands there now than was shown.
        NotAllowed: as `sign`, or the reader may not sign.
    """
    if not reader.may_sign:
        raise NotAllowed("this account may write reports and not sign them: submit the text")
    signed = session.scalar(
        select(Review).where(Review.draft_id == draft_id, Review.decision == ReviewDecision.SIGNED)
    )
    if signed is not None and (signed.reader, signed.text_version, signed.text_sha256) == (
        reader.name,
        version,
        sha256,
    ):
        return signed.id
    draft = lock_draft(session, draft_id, reader.name)
    text = working_texts.read(session, draft, reader.account_id)
    if (version, sha256) != (text.version, text.sha256):
        raise StaleText(text)
    check_text(text.findings, text.impression)
    check_signable(session, draft)
    review_id = _keep_report(
        session,
        draft,
        reader,
        text.findings,
        text.impression,
        consent,
        text_version=version,
        prepared_by=text.sent_by if text.state is TextState.SUBMITTED else "",
        style_id=text.style_id,
        draft_use=working_texts.find_use(session, draft, text, reader),
    )
    session.execute(delete(WorkingText).where(WorkingText.draft_id == draft_id))
    return review_id


def reject(
    session: Session,
    draft_id: uuid.UUID,
    reader: str | Reader,
    note: str,
    reason: RejectReason | None = None,
) -> uuid.UUID:
    """Record that a reader rejected a draft, and why.

    A draft that is superseded or held can be rejected too, for that makes no report of it.

    Args:
        session: the caller's transaction.
        draft_id: the draft that was read.
        reader: who rejects it.
        note: why, in words; a reason but OTHER needs none.
        reason: why, as a stable word; None takes the note alone.

    Returns:
        The review's id.

    Raises:
        NotFound: no such draft.
        NotAllowed: no reader, no reason, a reader who may not, or a draft that is signed already.
    """
    reader = Reader(reader) if isinstance(reader, str) else reader
    if not note.strip() and reason in (None, RejectReason.OTHER):
        raise NotAllowed("a draft is rejected for a reason: say it")
    if not reader.may_sign:
        raise NotAllowed("a draft is rejected by somebody who may sign reports")
    draft = lock_draft(session, draft_id, reader.name)
    review_id = _keep(
        session,
        draft,
        ReviewDecision.REJECTED,
        reader,
        note=note.strip(),
        reject_reason=reason,
    )
    readings.end(session, draft.id, reader.account_id, ReadingEnd.REJECTED)
    return review_id


def add_addendum(session: Session, review_id: uuid.UUID, text: str, reader: Reader) -> uuid.UUID:
    """Add something to a signed report; the report stays as it was signed.

    The same words by the same person are added once. With the report, the addendum is a prior
    report of the patient's later studies.

    Args:
        session: the caller's transaction.
        review_id: the signed report.
        text: what is added.
        reader: who adds and signs it.

    Returns:
        The id of the addendum.

    Raises:
        NotFound: no such report.
        NotAllowed: no text, the draft's warning in it, no signed report, or a reader who may not.
    """
    text = text.replace("\r\n", "\n").replace("\0", "").strip()
    if not text:
        raise NotAllowed("an addendum without text adds nothing: write it")
    if len(text) > MOST_TEXT:
        raise NotAllowed(f"an addendum may have {MOST_TEXT} characters at most")
    if WARNING in text:
        raise NotAllowed("an addendum is signed, and no draft: take the warning line out of it")
    report, draft = _lock_report(session, review_id, reader)
    earlier = session.scalar(
        select(Review.id).where(
            Review.follows_id == report.id,
            Review.decision == ReviewDecision.ADDENDUM,
            Review.reader == reader.name,
            Review.addendum == text,
        )
    )
    if earlier is not None:
        return earlier
    added = _keep(
        session, draft, ReviewDecision.ADDENDUM, reader, follows_id=report.id, addendum=text
    )
    _apply_to_later(session, draft.study_id, ADDED_EARLIER)
    return added


def countersign(session: Session, review_id: uuid.UUID, reader: Reader) -> uuid.UUID:
    """Sign a report that somebody else has signed, too.

    Countersigning twice is the same as once.

    Returns:
        The id of the countersignature.

    Raises:
        NotFound: no such report.
        NotAllowed: no signed report, it is the reader's own, or the reader may not.
    """
    report, draft = _lock_report(session, review_id, reader)
    if report.reader == reader.name:
        raise NotAllowed("a report is countersigned by somebody else than who signed it")
    earlier = session.scalar(
        select(Review.id).where(
            Review.follows_id == report.id,
            Review.decision == ReviewDecision.COUNTERSIGNED,
            Review.reader == reader.name,
        )
    )
    if earlier is not None:
        return earlier
    return _keep(session, draft, ReviewDecision.COUNTERSIGNED, reader, follows_id=report.id)


def note_signed_elsewhere(
    session: Session, study_id: uuid.UUID, draft_id: uuid.UUID, report_id: uuid.UUID, by: str
) -> None:
    """Note that another system's final report ended a draft; each report once.

    Args:
        session: the caller's transaction, which has locked the study.
        study_id: the study.
        draft_id: its draft.
        report_id: our id of the report.
        by: who signed it there, or the system.
    """
    session.execute(
        insert(Review)
        .values(
            study_id=study_id,
            draft_id=draft_id,
            decision=ReviewDecision.SIGNED_ELSEWHERE,
            reader=by.strip() or "another system",
            report_id=report_id,
        )
        .on_conflict_do_nothing()
    )


def _lock_report(session: Session, review_id: uuid.UUID, reader: Reader) -> tuple[Review, Draft]:
    """A signed report and its draft; its study is locked."""
    if not reader.name.strip():
        raise NotAllowed("a report is added to by somebody: say who the reader is")
    if not reader.may_sign:
        raise NotAllowed("this account may not sign, and so adds nothing to a signed report")
    report = session.get(Review, review_id)
    if report is None:
        raise NotFound("no report has that id")
    if report.decision != ReviewDecision.SIGNED:
        raise NotAllowed("only a signed report can be added to")
    session.get(Study, report.study_id, with_for_update={"key_share": True}, populate_existing=True)
    return report, session.get_one(Draft, report.draft_id)


def _keep_report(
    session: Session,
    draft: Draft,
    reader: Reader,
    findings: str,
    impression: str,
    consent: bool | None,
    *,
    style_id: uuid.UUID | None = None,
    draft_use: DraftUse = DraftUse.FROM_DRAFT,
    **columns: object,
) -> uuid.UUID:
    begun = begun_text(session, draft, draft_use, style_id, findings, impression)
    # What was not made of the draft has no distance from it.
    distances = {
        "findings": measure_section(begun["findings"], findings),
        "impression": measure_section(begun["impression"], impression),
    }
    review_id = _keep(
        session,
        draft,
        ReviewDecision.SIGNED,
        reader,
        findings=findings,
        impression=impression,
        training_consent=settings().training_consent if consent is None else consent,
        text_sha256=digest_text(findings, impression, style_id),
        distances=distances if draft_use is DraftUse.FROM_DRAFT else None,
        draft_use=draft_use,
        style_id=style_id,
        **columns,
    )
    readings.end(session, draft.id, reader.account_id, ReadingEnd.SIGNED)
    _apply_to_later(session, draft.study_id, SIGNED_EARLIER)
    return review_id


def _apply_to_later(session: Session, study_id: uuid.UUID, detail: str) -> None:
    study = session.get_one(Study, study_id)
    ids = [PatientId(study.patient_id, study.patient_id_issuer)]
    later_studies.apply_prior_report(session, ids, [study.id], detail)


def _keep(
    session: Session,
    draft: Draft,
    decision: ReviewDecision,
    reader: Reader,
    **columns: object,
) -> uuid.UUID:
    review = Review(
        study_id=draft.study_id,
        draft_id=draft.id,
        decision=decision,
        reader=reader.name,
        account_id=reader.account_id,
        **columns,
    )
    session.add(review)
    session.flush()
    if decision in (ReviewDecision.SIGNED, ReviewDecision.REJECTED):
        session.add(
            DraftOutcome(
                review_id=review.id,
                study_id=draft.study_id,
                draft_id=draft.id,
                account_id=reader.account_id,
                decision=decision,
                bundle_digest=draft.bundle_digest,
            )
        )
        session.flush()
    # The event holds neither the text nor the note, for either may name the patient.
    events.append_event(
        session,
        draft.study_id,
        EventKind[decision.name],
        f"by {reader.name}{_SIGNED_WITHOUT.get(review.draft_use, '')}",
        draft.request_id,
        reason=review.reject_reason,
    )
    return review.id
