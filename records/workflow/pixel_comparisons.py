"""Films under a known UID whose pixels a worker compares, and what follows from it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.tables import Instance, Study
from records.states import (
    STANDING,
    Comparison,
    EventKind,
    HoldReason,
    InstanceState,
)
from records.workflow import (
    corrections,
    events,
    holds,
)
from records.workflow.withdrawals import lock_study

_CANNOT_BE_COMPARED = "Its pixels could not be compared, in several attempts"


def correct(
    session: Session,
    study: Study,
    standing: Instance | None,
    newer: Instance,
    shown: dict[str, Any],
    comparison: Comparison,
) -> None:
    """Let a film that differs in its words alone take the place of the one that counts."""
    corrections.update_shown(session, study, shown, newer.calling_ae)
    corrections.take_place(
        session, study, standing, newer, redraft=comparison is Comparison.DESCRIBED
    )


def claim_uncompared(session: Session, limit_each: int) -> Instance | None:
    """The oldest film whose pixels are to be compared, with one comparison counted.

    A decoder that dies with a film must not meet it for ever: the count is committed before.

    Args:
        session: the caller's transaction.
        limit_each: a film that was compared so often without an end is not compared again; it is
            taken for another image.
    """
    film = session.scalar(
        select(Instance)
        .where(Instance.state == InstanceState.UNCOMPARED)
        .order_by(Instance.received_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if film is None:
        return None
    film.comparisons += 1
    if film.comparisons > limit_each:
        settle_comparison(session, film.id, Comparison.OTHER, _CANNOT_BE_COMPARED)
        return claim_uncompared(session, limit_each)
    session.flush()
    return film


def list_uncompared(session: Session, limit: int) -> Sequence[uuid.UUID]:
    """The films whose pixels are to be compared, oldest first; the sweep rings for them."""
    return session.scalars(
        select(Instance.id)
        .where(Instance.state == InstanceState.UNCOMPARED)
        .order_by(Instance.received_at)
        .limit(limit)
    ).all()


def find_standing(session: Session, film: Instance) -> Instance | None:
    """The object that counts under a film's UID in its study."""
    return session.scalar(
        select(Instance).where(
            Instance.study_id == film.study_id,
            Instance.sop_instance_uid == film.sop_instance_uid,
            Instance.state.in_(STANDING),
        )
    )


def settle_comparison(
    session: Session, instance_id: uuid.UUID, comparison: Comparison, problem: str = ""
) -> str | None:
    """Do with an UNCOMPARED film what its comparison says.

    Args:
        session: the caller's transaction.
        instance_id: the film.
        comparison: how it differs from the film that counts.
        problem: a sentence without its full stop, where the two could not be compared and count
            as OTHER for that.

    Returns:
        The key of a blob that is not needed any more, to be removed after the commit.
    """
    study_id = session.scalar(select(Instance.study_id).where(Instance.id == instance_id))
    if study_id is None:
        return None
    study = lock_study(session, study_id)
    film = session.get(Instance, instance_id, with_for_update=True, populate_existing=True)
    if film is None or film.state != InstanceState.UNCOMPARED:
        return None
    standing = find_standing(session, film)
    sent = film.sent or {}
    if standing is None:
        comparison = Comparison.OTHER
    if comparison is Comparison.SAME:
        session.delete(film)
        events.append_event(
            session, study.id, EventKind.REPEATED, "the same image came again, encoded otherwise"
        )
        return film.blob
    if comparison in (Comparison.SHOWN, Comparison.DESCRIBED):
        correct(session, study, standing, film, sent, comparison)
        return None
    film.state = InstanceState.CONFLICT
    session.flush()
    ask_about(session, study, film.calling_ae, HoldReason.CONFLICTING_BYTES, problem)
    return None


def ask_about(
    session: Session, study: Study, calling_ae: str, reason: HoldReason, problem: str = ""
) -> None:
    """Open a hold about an object that was kept aside, and note it in the timeline."""
    problem = problem and f". {problem}"
    holds.open_hold(session, study.id, reason, f"sent by {calling_ae}{problem}")
    events.append_event(
        session, study.id, EventKind.CONFLICT, f"kept aside: {reason}{problem}", reason=reason
    )
