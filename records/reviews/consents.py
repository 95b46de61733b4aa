"""Consent to train on a signed report, given and taken back."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from records.database.review_tables import Review
from records.errors import NotAllowed, NotFound
from records.states import EventKind, ReviewDecision
from records.workflow import events


def set_consent(session: Session, review_id: uuid.UUID, consent: bool, by: str) -> None:
    """Change whether a signed report may be trained on; what was trained before is not undone.

    Raises:
        NotFound: no such review.
        NotAllowed: `by` is blank, or the review is a rejection.
    """
    if not by.strip():
        raise NotAllowed("consent is given or withdrawn by somebody: say by whom")
    review = session.get(Review, review_id, with_for_update=True, populate_existing=True)
    if review is None:
        raise NotFound("no review has that id")
    if review.decision != ReviewDecision.SIGNED:
        raise NotAllowed("a rejected draft has no report that could be trained on")
    if review.training_consent != consent:
        review.training_consent = consent
        session.flush()
        change = "given" if consent else "withdrawn"
        events.append_event(
            session, review.study_id, EventKind.CONSENT, f"to train: {change} by {by}"
        )
