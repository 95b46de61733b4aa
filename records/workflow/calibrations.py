"""Site calibrations of finding scores, and the drafts and signed reports that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Float, cast, select
from sqlalchemy.orm import Session

from records.database.draft_tables import Calibration, Draft
from records.database.review_tables import Review
from records.database.tables import Study
from records.states import Purpose, ReviewDecision


@dataclass(frozen=True, slots=True)
class SignedScores:
    """A signed report, and the finding scores of the draft of its study."""

    text: str
    finding_scores: dict[str, float]


def save(session: Session, bundle_digest: str, content: dict[str, Any], made_by: str) -> None:
    """Keep a calibration; from now on it is the one in use for this bundle."""
    session.add(Calibration(bundle_digest=bundle_digest, content=content, made_by=made_by))
    session.flush()


def read_newest(session: Session, bundle_digest: str) -> dict[str, Any] | None:
    """The calibration in use for a bundle; None where the site has made none."""
    return session.scalar(
        select(Calibration.content)
        .where(Calibration.bundle_digest == bundle_digest)
        .order_by(Calibration.id.desc())
        .limit(1)
    )


def iterate_signed(session: Session, bundle_digest: str) -> Iterator[SignedScores]:
    """The signed reports whose drafts have scores of this bundle, oldest first, as a stream."""
    rows = session.execute(
        select(Review.findings, Review.impression, Draft.finding_scores)
        .join(Draft, Draft.id == Review.draft_id)
        .where(
            Review.decision == ReviewDecision.SIGNED,
            Draft.bundle_digest == bundle_digest,
            Draft.finding_scores.is_not(None),
        )
        .order_by(Review.decided_at, Review.id)
        .execution_options(yield_per=500)
    )
    for findings, impression, scores in rows:
        yield SignedScores(f"Findings: {findings} Impression: {impression}", scores)


def recent_undecided_shares(
    session: Session, bundle_digest: str, limit: int
) -> Sequence[tuple[str, float]]:
    """(calling AE title, undecided share) of the newest drafts of this bundle, newest first."""
    share = cast(Draft.support["undecided_share"].astext, Float)
    newest = (
        select(Draft.study_id, share.label("share"), Draft.created_at)
        .where(
            Draft.bundle_digest == bundle_digest,
            Draft.purpose == Purpose.PRIMARY,
            share.is_not(None),
        )
        .order_by(Draft.created_at.desc())
        .limit(limit)
        .subquery()
    )
    rows = session.execute(
        select(Study.calling_ae, newest.c.share)
        .join(Study, Study.id == newest.c.study_id)
        .order_by(newest.c.created_at.desc())
    )
    return [(calling_ae, float(value)) for calling_ae, value in rows]
