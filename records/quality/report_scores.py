"""The score that a second reader gives a signed report, on the scale of RADPEER.

A reader scores a report once, and nobody scores his or her own. Whose score it is, is kept with the
row and in the timeline of the study; the figures show numbers alone.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import exists, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.quality_tables import DraftOutcome, ReportScore
from records.database.review_tables import Review
from records.database.tables import Study
from records.errors import NotAllowed, NotFound
from records.reviews.readers import Reader
from records.states import EventKind, PeerScore, ReviewDecision
from records.workflow import events


@dataclass(frozen=True, slots=True)
class ScoringState:
    """What a reader may do about the score of a report.

    Attributes:
        may_score: whether he or she may score it now.
        own: the score that he or she gave it; None where there is none.
    """

    may_score: bool
    own: PeerScore | None


NO_SCORING = ScoringState(False, None)


def score(session: Session, review_id: uuid.UUID, given: PeerScore, reader: Reader) -> uuid.UUID:
    """Keep a reader's score of a signed report.

    The same score by the same reader is kept once.

    Args:
        session: the caller's transaction.
        review_id: the signed report.
        given: the score.
        reader: who scores it.

    Returns:
        The id of the score.

    Raises:
        NotFound: no such report.
        NotAllowed: nobody is logged in, the reader may not sign, it is no signed report, the reader
            signed, countersigned or wrote it, or scored it otherwise before.
    """
    if reader.account_id is None:
        raise NotAllowed("a report is scored by somebody who is logged in")
    if not reader.may_sign:
        raise NotAllowed("a report is scored by somebody who may sign reports")
    review = session.get(Review, review_id)
    if review is None:
        raise NotFound("no report has that id")
    if review.decision != ReviewDecision.SIGNED:
        raise NotAllowed("only a signed report can be scored")
    session.get(Study, review.study_id, with_for_update={"key_share": True}, populate_existing=True)
    if _had_part(session, review, reader):
        raise NotAllowed("a report is scored by somebody who did not write or sign it")
    made: uuid.UUID | None = session.scalar(
        insert(ReportScore)
        .values(
            review_id=review.id,
            study_id=review.study_id,
            account_id=reader.account_id,
            score=given,
        )
        .on_conflict_do_nothing()
        .returning(ReportScore.id)
    )
    if made is None:
        earlier = _find(session, review.id, reader.account_id)
        assert earlier is not None
        if earlier.score != given:
            raise NotAllowed("you have scored this report already: a score is never changed")
        return earlier.id
    # A worker counts it anew, with the score.
    session.execute(
        update(DraftOutcome).where(DraftOutcome.review_id == review.id).values(cells=None)
    )
    events.append_event(session, review.study_id, EventKind.SCORED, f"by {reader.name}")
    return made


def read_state(session: Session, review: Review | None, reader: Reader) -> ScoringState:
    """What a reader may do about the score of a report; None is a study without one."""
    if review is None or reader.account_id is None or not reader.may_sign:
        return NO_SCORING
    own = _find(session, review.id, reader.account_id)
    return ScoringState(
        own is None and not _had_part(session, review, reader),
        PeerScore(own.score) if own is not None else None,
    )


def _had_part(session: Session, review: Review, reader: Reader) -> bool:
    if reader.account_id == review.account_id or reader.name in (review.reader, review.prepared_by):
        return True
    return bool(
        session.scalar(
            select(
                exists().where(
                    Review.follows_id == review.id, Review.account_id == reader.account_id
                )
            )
        )
    )


def _find(session: Session, review_id: uuid.UUID, account_id: uuid.UUID) -> ReportScore | None:
    return session.scalar(
        select(ReportScore).where(
            ReportScore.review_id == review_id, ReportScore.account_id == account_id
        )
    )
