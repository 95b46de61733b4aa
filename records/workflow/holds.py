"""Holds: questions that a person must decide. While one is open nothing of its study is claimed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.tables import Hold
from records.errors import NotFound
from records.states import Decision, EndReason, EventKind, HoldReason
from records.workflow import events, withdrawals
from records.workflow.withdrawals import lock_study


def open_hold(session: Session, study_id: uuid.UUID, reason: HoldReason, detail: str) -> None:
    """Open a hold; one that is open for the same reason stays as it is."""
    opened = session.scalar(
        insert(Hold)
        .values(study_id=study_id, reason=reason, detail=detail)
        .on_conflict_do_nothing()
        .returning(Hold.id)
    )
    if opened is not None:
        events.append_event(session, study_id, EventKind.HELD, f"{reason}: {detail}", reason=reason)


def decide(
    session: Session, study_id: uuid.UUID, decision: Decision, by: str, note: str = ""
) -> int:
    """Close all open holds of the study as a person decided.

    PROCEED lets the study go on with the objects that are kept. CANCEL ends its request and
    withdraws its draft, which stays on record and is no longer shown as the study's own. Images
    that are still coming do not change that; `requests.retry` does.

    Args:
        session: the caller's transaction.
        study_id: the study.
        decision: what the person decided.
        by: who decided.
        note: why.

    Returns:
        How many holds were closed.

    Raises:
        NotFound: the study has no open hold.
    """
    study = lock_study(session, study_id)
    decided = session.scalars(
        update(Hold)
        .where(Hold.study_id == study_id, Hold.decision.is_(None))
        .values(decision=decision, decided_at=func.now(), decided_by=by, note=note)
        .returning(Hold.reason)
    ).all()
    if not decided:
        raise NotFound("the study has no open hold")
    events.append_event(
        session, study_id, EventKind.DECIDED, f"{decision} by {by}: {', '.join(decided)}"
    )
    if decision is Decision.CANCEL:
        detail = f"held ({', '.join(decided)}), and cancelled by {by}"
        withdrawals.cancel(session, study, detail, EndReason.DECIDED)
    return len(decided)


def list_by_study(session: Session, study_id: uuid.UUID) -> Sequence[Hold]:
    """The study's holds, open ones and decided ones, oldest first."""
    return session.scalars(
        select(Hold).where(Hold.study_id == study_id).order_by(Hold.opened_at)
    ).all()


def approved_reasons(session: Session, study_id: uuid.UUID) -> set[HoldReason]:
    """The reasons of this study's holds that a person decided with PROCEED."""
    return {
        HoldReason(reason)
        for reason in session.scalars(
            select(Hold.reason).where(Hold.study_id == study_id, Hold.decision == Decision.PROCEED)
        )
    }
