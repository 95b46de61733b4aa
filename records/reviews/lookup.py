"""The reviews of a study, and of which studies a report is signed."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from records.database.review_tables import Review
from records.database.tables import Study
from records.states import ReviewDecision


def list_by_study(session: Session, study_id: uuid.UUID) -> Sequence[Review]:
    """The study's reviews, newest first."""
    return session.scalars(
        select(Review)
        .where(Review.study_id == study_id)
        .order_by(Review.decided_at.desc(), Review.id.desc())
    ).all()


def find_signed(session: Session, study_id: uuid.UUID) -> Review | None:
    """The study's latest signed report; None where there is none."""
    return session.scalar(
        select(Review)
        .where(Review.study_id == study_id, Review.decision == ReviewDecision.SIGNED)
        .order_by(Review.decided_at.desc(), Review.id.desc())
        .limit(1)
    )


def list_addenda(
    session: Session, report_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, list[Review]]:
    """What was added to signed reports, by our id of the report, oldest first."""
    found: dict[uuid.UUID, list[Review]] = {}
    if not report_ids:
        return found
    rows = session.scalars(
        select(Review)
        .where(Review.follows_id.in_(report_ids), Review.decision == ReviewDecision.ADDENDUM)
        .order_by(Review.decided_at, Review.id)
    )
    for row in rows:
        if row.follows_id is not None:
            found.setdefault(row.follows_id, []).append(row)
    return found


def list_signed_studies(session: Session, study_ids: Collection[uuid.UUID]) -> Sequence[Study]:
    """Those of these studies of which a report is signed."""
    if not study_ids:
        return []
    is_signed = exists().where(
        Review.study_id == Study.id, Review.decision == ReviewDecision.SIGNED
    )
    return session.scalars(
        select(Study).where(Study.id.in_(study_ids), is_signed).order_by(Study.id)
    ).all()
