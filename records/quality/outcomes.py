"""The outcome of a draft: what waits to be completed, and how a worker completes it.

The row is written with the review (`records.reviews.signing`). A worker brings what the texts say.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.draft_tables import Draft, DraftRequest
from records.database.quality_tables import DraftOutcome, ReportScore
from records.database.review_tables import Reading, Review
from records.database.tables import Study
from records.quality import cells, groups
from records.reviews.edit_distances import measure_section
from records.states import DraftUse, ReadingArm, ReviewDecision


@dataclass(frozen=True, slots=True)
class ClaimedOutcome:
    """An outcome that is to be completed, locked, with its review and its draft."""

    outcome: DraftOutcome
    review: Review
    draft: Draft


def find_waiting(session: Session) -> uuid.UUID | None:
    """The study of an outcome that is to be completed; None where there is none."""
    return session.scalar(
        select(DraftOutcome.study_id)
        .where(DraftOutcome.cells.is_(None))
        .order_by(DraftOutcome.review_id)
        .limit(1)
    )


def claim(session: Session, limit: int) -> list[ClaimedOutcome]:
    """Lock outcomes that are to be completed until the caller's commit."""
    rows = session.execute(
        select(DraftOutcome, Review, Draft)
        .join(Review, Review.id == DraftOutcome.review_id)
        .join(Draft, Draft.id == DraftOutcome.draft_id)
        .where(DraftOutcome.cells.is_(None))
        .order_by(DraftOutcome.review_id)
        .limit(limit)
        .with_for_update(of=DraftOutcome, skip_locked=True)
    )
    return [ClaimedOutcome(*row) for row in rows]


def complete(
    session: Session,
    claimed: ClaimedOutcome,
    observations: Mapping[str, Sequence[str]] | None,
    says: Mapping[str, tuple[bool, bool]] | None,
) -> None:
    """Complete an outcome, which counts from the caller's commit on.

    Args:
        session: the caller's transaction.
        claimed: the outcome.
        observations: by observation, the label of the draft and that of the signed text; None where
            there is no signed text, or where one of the two could not be read.
        says: the same as whether each says it.
    """
    outcome, review, draft = claimed.outcome, claimed.review, claimed.draft
    study = session.get_one(Study, outcome.study_id)
    outcome.day = groups.local_day(review.decided_at)
    outcome.view = groups.name_views(draft.views)
    outcome.device = groups.find_device(
        draft.views, study.study_description, _procedure(session, draft)
    )
    outcome.age_group = groups.find_age(study.patient_birth_date, study.study_date)
    outcome.sex = groups.find_sex(study.patient_sex)
    outcome.reject_reason = review.reject_reason
    outcome.observations = {name: list(labels) for name, labels in (observations or {}).items()}
    _measure_edit(outcome, review, draft, says)
    asked = _take_times(session, outcome, review)
    outcome.cells = cells.fill(
        outcome.decision,
        is_own_text=review.draft_use != DraftUse.FROM_DRAFT,
        unedited=bool(outcome.unedited),
        small_edit=bool(outcome.small_edit),
        distances=outcome.distances,
        reject_reason=outcome.reject_reason,
        seconds=outcome.seconds,
        seconds_to_draft=outcome.seconds_to_draft,
        asked=asked,
        says=says,
        scores=_scores(session, review.id),
    )
    session.flush()


def _procedure(session: Session, draft: Draft) -> str:
    request = session.get(DraftRequest, draft.request_id)
    provenance: dict[str, Any] = request.provenance if request is not None else {}
    return str(provenance.get("procedure") or "")


def _measure_edit(
    outcome: DraftOutcome,
    review: Review,
    draft: Draft,
    says: Mapping[str, tuple[bool, bool]] | None,
) -> None:
    if review.decision != ReviewDecision.SIGNED or review.draft_use != DraftUse.FROM_DRAFT:
        return  # what was not made of the draft is no edit of it
    # Reports that were signed by earlier versions were not measured then.
    distances = review.distances or {
        name: measure_section(getattr(draft, name), getattr(review, name))
        for name in cells.SECTIONS
    }
    changed, longest = (sum(measured[place] for measured in distances.values()) for place in (0, 1))
    outcome.distances = distances
    outcome.unedited = changed == 0
    outcome.small_edit = (
        0 < changed <= cells.SMALL_EDIT * longest and says is not None and not cells.differ(says)
    )


def _take_times(session: Session, outcome: DraftOutcome, review: Review) -> bool:
    """Take the times of the reading that this review ended.

    Returns:
        Whether the draft was shown in it to who was drawn to write without one.
    """
    if review.account_id is None:
        return False
    reading = session.scalar(
        select(Reading)
        .where(
            Reading.draft_id == review.draft_id,
            Reading.account_id == review.account_id,
            Reading.end == review.decision,
        )
        .order_by(Reading.ended_at.desc())
        .limit(1)
    )
    if reading is None or reading.ended_at is None:
        return False
    outcome.arm = reading.arm
    outcome.seconds = round((reading.ended_at - reading.opened_at).total_seconds())
    if reading.arm == ReadingArm.READ_FIRST and reading.draft_shown_at is not None:
        outcome.seconds_to_draft = round(
            (reading.draft_shown_at - reading.opened_at).total_seconds()
        )
    return reading.arm == ReadingArm.WITHOUT_DRAFT and reading.draft_shown_at is not None


def _scores(session: Session, review_id: uuid.UUID) -> Sequence[str]:
    return session.scalars(
        select(ReportScore.score).where(ReportScore.review_id == review_id)
    ).all()
