"""Stored files that are gone or changed on disk: noted at the instance, and healed by a new file.

Whoever reads a file compares it with what was received (`Blobs.find_damage`): preparing, the scrub,
and the listener when an object comes again.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.orm import Session

from records.database.tables import Instance
from records.errors import NotAllowed
from records.states import Damage, EventKind, FailReason, InstanceState
from records.workflow import events, requests
from records.workflow.arrivals import ReceivedInstance

_WORDS = {Damage.GONE: "is gone", Damage.CHANGED: "is not what was received"}


def mark_damaged(session: Session, instance: Instance, damage: Damage) -> bool:
    """Note that the file of an instance is damaged.

    Returns:
        False where the instance has another file by now, or none is kept: nothing is noted then.
    """
    stored = session.scalar(
        select(Instance)
        .where(
            Instance.id == instance.id,
            Instance.blob == instance.blob,
            Instance.bytes_removed_at.is_(None),
        )
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if stored is None:
        return False
    if stored.damage != damage:
        stored.damage = damage
        session.flush()
        events.append_event(
            session,
            stored.study_id,
            EventKind.DAMAGED,
            f"the file of an object {_WORDS[damage]}: its sender can send it again",
            reason=damage,
        )
    return True


def mark_whole(session: Session, instance: Instance) -> None:
    """Note that a file that was damaged is whole again, as after a backup was restored."""
    cleared = session.scalar(
        update(Instance)
        .where(
            Instance.id == instance.id,
            Instance.blob == instance.blob,
            Instance.damage.is_not(None),
        )
        .values(damage=None)
        .returning(Instance.id)
        .execution_options(synchronize_session=False)
    )
    if cleared is not None:
        _go_on(session, instance.study_id, "the file of an object is whole again")


def replace_file(session: Session, stored: Instance, arrived: ReceivedInstance) -> None:
    """Let an instance have the file that came now, and prepare its study again where it failed.

    Args:
        session: the caller's transaction.
        stored: the instance whose file is damaged.
        arrived: the same object, with its new file.
    """
    _take_file(session, stored, arrived)
    _go_on(session, stored.study_id, f"a damaged object was sent again by {arrived.calling_ae}")


def restore_file(session: Session, stored: Instance, arrived: ReceivedInstance) -> None:
    """Let an instance whose file retention removed have the one that came; as `replace_file`.

    Args:
        session: the caller's transaction, which has locked the study.
        stored: the instance whose file was removed.
        arrived: the same object, with its new file.
    """
    stored.bytes_removed_at = None
    stored.bytes_restored_at = func.clock_timestamp()
    _take_file(session, stored, arrived)
    _go_on(
        session,
        stored.study_id,
        f"an object whose file had been removed was sent again by {arrived.calling_ae}",
        EventKind.BYTES_RESTORED,
    )


def _take_file(session: Session, stored: Instance, arrived: ReceivedInstance) -> None:
    stored.blob = arrived.blob
    stored.sha256 = arrived.sha256
    stored.size = arrived.size
    stored.transfer_syntax_uid = arrived.transfer_syntax_uid
    stored.damage = None
    session.flush()


def _go_on(
    session: Session, study_id: uuid.UUID, sentence: str, kind: EventKind = EventKind.HEALED
) -> None:
    """Add the line to the timeline; take the study up again where its last film has its file."""
    events.append_event(session, study_id, kind, sentence)
    still_lacking = exists().where(
        Instance.study_id == study_id,
        Instance.state == InstanceState.KEPT,
        or_(Instance.damage.is_not(None), Instance.bytes_removed_at.is_not(None)),
    )
    if not session.scalar(select(still_lacking)):
        for reason in (FailReason.DAMAGED, FailReason.REMOVED):
            with suppress(NotAllowed):  # it did not fail for this
                requests.retry(session, reason=reason, study_id=study_id)


def list_damaged(session: Session, limit: int = 1000) -> Sequence[Instance]:
    """The instances whose file is damaged."""
    return session.scalars(
        select(Instance).where(Instance.damage.is_not(None)).order_by(Instance.id).limit(limit)
    ).all()


def count_damaged(session: Session) -> int:
    """How many instances have a damaged file."""
    return (
        session.scalar(
            select(func.count()).select_from(Instance).where(Instance.damage.is_not(None))
        )
        or 0
    )
