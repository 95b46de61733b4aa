"""How far each rule has walked. The position is a row, so a walk that is killed goes on.

Several sweeps may walk at once: each step is of the one that moves the position.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.retention_tables import RetentionWalk
from records.database.session import database_time
from records.states import RetentionWalkRule


def claim_walk(
    session: Session, rule: RetentionWalkRule, round_seconds: float, *, begin: bool = False
) -> RetentionWalk | None:
    """The walk of a rule, locked; a new round is begun where the last one ended long enough ago.

    Args:
        session: the caller's transaction, which moves the walk.
        rule: whose walk.
        round_seconds: the least time between the end of a round and the beginning of the next.
        begin: begin a round in any case where none goes on.

    Returns:
        None where another transaction has the walk, or it is too early for a round.
    """
    session.execute(insert(RetentionWalk).values(rule=rule).on_conflict_do_nothing())
    walk = session.scalar(
        select(RetentionWalk).where(RetentionWalk.rule == rule).with_for_update(skip_locked=True)
    )
    if walk is None:
        return None
    if walk.ended_at is not None:
        now = database_time(session)
        if not begin and (now - walk.ended_at).total_seconds() < round_seconds:
            return None
        walk.began_at, walk.ended_at = now, None
    return walk


def list_walks(session: Session) -> Sequence[RetentionWalk]:
    """All walks that were ever begun, by rule."""
    return session.scalars(select(RetentionWalk).order_by(RetentionWalk.rule)).all()
