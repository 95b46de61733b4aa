"""What a person decides about orders with a study's accession number that name another patient."""

from __future__ import annotations

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from records.database.order_tables import StudyOrder
from records.database.tables import Study
from records.orders import effects
from records.states import Decision, MatchState


def settle_mismatch(session: Session, study: Study, decision: Decision, by: str) -> None:
    """Let the orders of an ORDER_MISMATCH hold count for the study, or leave them out.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        decision: TAKE_NEW lets them count, and every other decision leaves them out.
        by: who decided.
    """
    is_theirs = decision is Decision.TAKE_NEW
    session.execute(
        update(StudyOrder)
        .where(StudyOrder.study_id == study.id, StudyOrder.state == MatchState.MISMATCH)
        .values(
            state=MatchState.ACCEPTED if is_theirs else MatchState.REFUSED,
            decided_by=by,
            matched_at=func.clock_timestamp(),
        )
        .execution_options(synchronize_session=False)
    )
    if is_theirs:
        effects.apply_to_study(session, study)
