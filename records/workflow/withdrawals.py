"""Withdrawing a study's draft: by a person, or because one of its films no longer counts.

A withdrawn draft stays on record as it was written. It is no longer shown as the study's own.
"""

from __future__ import annotations

import uuid

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from records.database.draft_tables import Draft
from records.database.review_tables import Review
from records.database.tables import Study
from records.errors import NotAllowed, NotFound
from records.states import EndReason, Purpose, ReviewDecision, StudyState
from records.workflow import drafts, requests


def lock_study(session: Session, study_id: uuid.UUID) -> Study:
    """The study's row, locked and read anew.

    Whoever changes a study locks it first, as filing an image of it does: in another order the two
    would wait for each other. `key_share` lets rows that point at it (events, drafts) be written.

    Raises:
        NotFound: no such study.
    """
    study = session.get(
        Study, study_id, with_for_update={"key_share": True}, populate_existing=True
    )
    if study is None:
        raise NotFound("no study has that id")
    return study


def withdraw(
    session: Session, study_id: uuid.UUID, by: str, reason: str, draft_id: uuid.UUID | None = None
) -> uuid.UUID:
    """Withdraw a study's current draft because a person says so; its request is CANCELLED.

    Late images do not bring a draft back; `requests.retry` does.

    Args:
        session: the caller's transaction.
        study_id: the study.
        by: who withdraws it.
        reason: why; the timeline keeps it.
        draft_id: the draft that the person looked at; None takes whichever is current.

    Returns:
        The draft that was withdrawn.

    Raises:
        NotFound: no such study.
        NotAllowed: no name, no reason, no draft, another draft than `draft_id` is current, or the
            draft's report is signed.
    """
    if not by.strip() or not reason.strip():
        raise NotAllowed("a draft is withdrawn by somebody and for a reason: say both")
    study = lock_study(session, study_id)
    current = current_draft(session, study_id)
    if current is None:
        raise NotAllowed("the study has no draft that could be withdrawn")
    if draft_id is not None and draft_id != current:
        raise NotAllowed("the study's draft is not the one that was looked at")
    if is_signed(session, current):
        raise NotAllowed(
            "a report was signed from this draft, and a signed report is not withdrawn here"
        )
    detail = f"withdrawn by {by.strip()}: {reason.strip()}"
    cancel(session, study, detail, EndReason.WITHDRAWN)
    return current


def cancel(session: Session, study: Study, detail: str, reason: EndReason) -> None:
    """End the study's requests and withdraw its draft; the caller has locked the study."""
    if study.request_id is None:  # it is still being received, and there is nothing to cancel
        requests.create_request(session, study)
    requests.cancel(session, study.id, detail, reason)
    drafts.withdraw(session, study.id, detail, reason)


def start_anew(session: Session, study: Study, reason: EndReason, detail: str) -> None:
    """Make a new revision of a study whose films changed; the caller has locked the study.

    The open requests are superseded, also those that a worker has: it loses its lease and cannot
    save. The current draft is withdrawn, unless its report is signed. The study is RECEIVING again,
    and after its quiet period a draft is made of what it then has.
    """
    superseded = requests.supersede(session, study.id, reason, detail)
    current = current_draft(session, study.id)
    signed = current is not None and is_signed(session, current)
    if not signed:
        drafts.withdraw(session, study.id, detail, reason)
    if study.state == StudyState.COMPLETE and (superseded or not signed):
        study.revision += 1
        study.state = StudyState.RECEIVING
        study.released = False
        study.last_received_at = func.clock_timestamp()
        session.flush()


def current_draft(session: Session, study_id: uuid.UUID) -> uuid.UUID | None:
    """The draft that a reader is shown; None where there is none."""
    return session.scalar(
        select(Draft.id).where(
            Draft.study_id == study_id,
            Draft.purpose == Purpose.PRIMARY,
            Draft.superseded_at.is_(None),
        )
    )


def is_signed(session: Session, draft_id: uuid.UUID) -> bool:
    """Whether a reader signed a report that was made of this draft."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    Review.draft_id == draft_id, Review.decision == ReviewDecision.SIGNED
                )
            )
        )
    )


def has_signed_report(session: Session, study_id: uuid.UUID) -> bool:
    """Whether a reader signed a report of this study, of whichever draft."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    Review.study_id == study_id, Review.decision == ReviewDecision.SIGNED
                )
            )
        )
    )
