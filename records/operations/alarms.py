"""Alarms: what happened, to which part, and what a person on call does about it.

A part opens its alarm. A person closes it, or the part itself once its cause is gone. A worker that
stopped itself has an alarm under its own name, `stage@host`, so that other machines go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, false, func, not_, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.alarm_kinds import ALARM_REMEDIES, AlarmKind
from records.database.operation_tables import Alarm
from records.database.session import interval
from records.telemetry import logger


def raise_alarm(session: Session, kind: AlarmKind, part: str, cause: str, remedy: str = "") -> None:
    """Open an alarm of a part; one that is open already stays as it is.

    Args:
        session: the caller's transaction.
        kind: what it is about: the heading in the runbook.
        part: whose alarm it is; a part has one open alarm.
        cause: what happened, in sentences that name no patient.
        remedy: what to do, in sentences; left out, those of the kind.
    """
    opened = session.scalar(
        insert(Alarm)
        .values(kind=kind, part=part, cause=cause, remedy=remedy or ALARM_REMEDIES[kind])
        .on_conflict_do_nothing()
        .returning(Alarm.id)
    )
    if opened is not None:
        logger().error("an alarm opens", alarm=kind.value, owner=part, reason=cause)


def runbook_path(kind: str) -> str:
    """Where the runbook says more about a kind of alarms, on the server of the pages."""
    return f"/runbook#{kind.lower()}"


def _is_of(part: str) -> ColumnElement[bool]:
    """Alarms of the part; the name of a stage stands for its workers on all hosts."""
    return or_(Alarm.part == part, func.split_part(Alarm.part, "@", 1) == part)


def open_alarms(session: Session, part: str | None = None) -> Sequence[Alarm]:
    """The open alarms of one part or of all, oldest first."""
    query = select(Alarm).where(Alarm.closed_at.is_(None)).order_by(Alarm.id)
    return session.scalars(query.where(_is_of(part)) if part else query).all()


def list_newest(session: Session, limit: int) -> Sequence[Alarm]:
    """The newest alarms, open and closed, newest first."""
    return session.scalars(select(Alarm).order_by(Alarm.id.desc()).limit(limit)).all()


def close_alarms(session: Session, part: str | None = None) -> int:
    """Close the open alarms of one part or of all; returns how many there were."""
    change = update(Alarm).where(Alarm.closed_at.is_(None)).values(closed_at=func.now())
    return len(
        session.scalars((change.where(_is_of(part)) if part else change).returning(Alarm.id)).all()
    )


def _trial_is_due(trial_seconds: float) -> ColumnElement[bool]:
    """An alarm after which the worker may try a study now; never where `trial_seconds` is 0."""
    last = func.coalesce(Alarm.tried_at, Alarm.opened_at)
    due: ColumnElement[bool] = last <= func.clock_timestamp() - interval(trial_seconds)
    return due if trial_seconds else false()


def lock_due_trial(session: Session, worker: str, trial_seconds: float) -> Alarm | None:
    """The worker's open alarm, locked, where a trial is due and no other process makes it."""
    return session.scalars(
        select(Alarm)
        .where(Alarm.part == worker, Alarm.closed_at.is_(None), _trial_is_due(trial_seconds))
        .with_for_update(skip_locked=True)
    ).one_or_none()


def stopped_workers(session: Session, stage: str, trial_seconds: float) -> set[str]:
    """The workers of a stage, as `stage@host`, that would claim nothing now."""
    return set(
        session.scalars(
            select(Alarm.part).where(
                Alarm.closed_at.is_(None), _is_of(stage), not_(_trial_is_due(trial_seconds))
            )
        )
    )
