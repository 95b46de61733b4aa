"""Stops: a person stops a bundle, and from that second on none of its drafts is shown."""

from __future__ import annotations

from sqlalchemy import exists, select
from sqlalchemy import func as sql
from sqlalchemy.orm import Session

from records.alarm_kinds import AlarmKind
from records.audit import trail
from records.bundles import known
from records.database.bundle_tables import Bundle, BundleStop
from records.errors import NotAllowed
from records.operations import alarms
from records.states import AuditAction


def stop(session: Session, digest: str, by: str, reason: str) -> BundleStop:
    """Stop a bundle: no draft of it is shown from the commit on, and no worker drafts with it.

    One alarm opens; studies wait. Drafts that are signed already stay reports.

    Args:
        session: the caller's transaction.
        digest: the bundle's digest, or enough of its beginning.
        by: the person.
        reason: why, in words that the trail keeps; no patient is named.

    Raises:
        NotFound: there is no such bundle.
        NotAllowed: no person or reason is given, or it is stopped already.
    """
    if not (by.strip() and reason.strip()):
        raise NotAllowed("a model is stopped by somebody and for a reason: say both")
    bundle = _lock(session, digest)
    if _find_open(session, bundle.digest) is not None:
        raise NotAllowed(f"{bundle.name} {bundle.version} is stopped already")
    row = BundleStop(bundle_digest=bundle.digest, stopped_by=by.strip(), reason=reason.strip())
    session.add(row)
    session.flush()
    alarms.raise_alarm(
        session,
        AlarmKind.MODEL_STOPPED,
        _part(bundle),
        f"A person stopped {bundle.name} {bundle.version} ({bundle.digest[:12]}). None of its "
        "drafts is shown, and no worker drafts with it.",
    )
    trail.record(
        session,
        AuditAction.SETTING,
        detail=f"model {bundle.digest[:12]} stopped by {row.stopped_by}: {row.reason}",
    )
    return row


def lift(session: Session, digest: str, by: str, reason: str) -> BundleStop:
    """Lift the stop of a bundle: its drafts are shown again, and workers draft what waits.

    Args:
        session: the caller's transaction.
        digest: the bundle's digest, or enough of its beginning.
        by: the person.
        reason: why, in words that the trail keeps.

    Raises:
        NotFound: there is no such bundle.
        NotAllowed: no person or reason is given, or it is not stopped.
    """
    if not (by.strip() and reason.strip()):
        raise NotAllowed("a stop is lifted by somebody and for a reason: say both")
    bundle = _lock(session, digest)
    row = _find_open(session, bundle.digest)
    if row is None:
        raise NotAllowed(f"{bundle.name} {bundle.version} is not stopped")
    now = session.scalars(select(sql.clock_timestamp())).one()
    row.lifted_at, row.lifted_by, row.lift_reason = now, by.strip(), reason.strip()
    session.flush()
    alarms.close_alarms(session, _part(bundle))
    trail.record(
        session,
        AuditAction.SETTING,
        detail=f"stop of model {bundle.digest[:12]} lifted by {row.lifted_by}: {row.lift_reason}",
    )
    return row


def is_stopped(session: Session, digest: str) -> bool:
    """Whether a bundle is stopped; workers ask before they claim."""
    return bool(
        session.scalar(
            select(
                exists().where(BundleStop.bundle_digest == digest, BundleStop.lifted_at.is_(None))
            )
        )
    )


def _lock(session: Session, digest: str) -> Bundle:
    """The bundle, locked, so that two persons do not stop it at once."""
    bundle = known.get(session, digest)
    session.refresh(bundle, with_for_update=True)
    return bundle


def _find_open(session: Session, digest: str) -> BundleStop | None:
    return session.scalar(
        select(BundleStop).where(BundleStop.bundle_digest == digest, BundleStop.lifted_at.is_(None))
    )


def _part(bundle: Bundle) -> str:
    """Under which name the alarm opens: one for each bundle."""
    return f"model {bundle.digest[:12]}"
