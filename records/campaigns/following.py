"""Rows of a campaign that are in the pipeline follow what becomes of their studies.

Nobody else moves such a row, but `retrying`, which lets it begin again.
"""

from __future__ import annotations

import uuid

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from records.database.campaign_tables import CampaignMark, CampaignStudy
from records.database.tables import WorklistEntry
from records.states import CampaignStudyState


def follow(
    session: Session, row: CampaignStudy, study_id: uuid.UUID, request_id: uuid.UUID | None = None
) -> None:
    """Let a row follow a study from now on; the caller has locked the study and the row.

    Args:
        session: the caller's transaction.
        row: the row.
        study_id: the study.
        request_id: the request of a comparison draft; None follows the study's newest primary one.
    """
    with session.no_autoflush:  # the row is written once, below
        # Whoever changes the study's state waits here, or was waited for; so no change is missed.
        session.execute(
            select(WorklistEntry.study_id)
            .where(WorklistEntry.study_id == study_id)
            .with_for_update(key_share=True)
        )
    row.state, row.reason, row.detail = CampaignStudyState.IN_WORK, "", ""
    row.study_id, row.request_id, row.follows = study_id, request_id, True
    row.claimed_at = row.not_before = None
    session.add(CampaignMark(study_id=study_id))
    session.flush()


_BRING_UP_TO_DATE = text(
    """
    WITH seen AS (
        SELECT followed.campaign_id, followed.id,
            CASE
                WHEN entry.state = 'HELD' THEN 'HELD'
                WHEN followed.request_id IS NULL AND entry.state = 'RECEIVING' THEN 'IN_WORK'
                WHEN coalesce(request.state, 'WAITING') IN ('WAITING', 'PREPARED', 'SUPERSEDED')
                    THEN 'IN_WORK'
                ELSE request.state
            END AS state,
            CASE WHEN entry.state = 'HELD' THEN (
                SELECT holds.reason FROM holds
                WHERE holds.study_id = followed.study_id AND holds.decision IS NULL
                ORDER BY holds.opened_at, holds.id LIMIT 1
            ) END AS hold_reason,
            request.reason AS request_reason,
            request.detail AS request_detail
        FROM campaign_studies AS followed
        JOIN worklist_entries AS entry ON entry.study_id = followed.study_id
        JOIN studies ON studies.id = followed.study_id
        LEFT JOIN draft_requests AS request
            ON request.id = coalesce(followed.request_id, studies.request_id)
        WHERE followed.study_id = ANY(:study_ids) AND followed.follows
        FOR NO KEY UPDATE OF followed
    )
    UPDATE campaign_studies SET
        state = seen.state,
        reason = CASE
            WHEN seen.state = 'HELD' THEN coalesce(seen.hold_reason, '')
            WHEN seen.state = 'IN_WORK' THEN ''
            ELSE coalesce(seen.request_reason, '')
        END,
        detail = CASE
            WHEN seen.state IN ('HELD', 'IN_WORK') THEN '' ELSE coalesce(seen.request_detail, '')
        END,
        changed_at = clock_timestamp()
    FROM seen
    WHERE campaign_studies.campaign_id = seen.campaign_id AND campaign_studies.id = seen.id
        AND (campaign_studies.state <> seen.state OR seen.state NOT IN ('IN_WORK', 'DRAFTED'))
    RETURNING campaign_studies.id
    """
)


def follow_marks(session: Session, limit: int) -> int:
    """Bring the rows of studies up to date whose state has changed.

    Returns:
        How many marks were taken; call again, in another transaction, while there are `limit`.
    """
    oldest = (
        select(CampaignMark.id)
        .order_by(CampaignMark.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    marked = session.scalars(
        delete(CampaignMark)
        .where(CampaignMark.id.in_(oldest))
        .returning(CampaignMark.study_id)
        .execution_options(synchronize_session=False)
    ).all()
    if marked:
        # A statement of its own: it sees what was committed with the marks.
        session.execute(_BRING_UP_TO_DATE, {"study_ids": sorted(set(marked))})
    return len(marked)
