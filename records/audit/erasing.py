"""What the trail keeps of a patient who is erased, or of studies whose time is over.

The caller deletes the rows; these functions are called before, in its transaction.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.actors import Actor, acting_as
from records.audit.rows import Source
from records.audit.sealing import keep_removed
from records.audit.trail import record
from records.database.tables import Event
from records.states import ActorKind, AuditAction


def keep_acts(session: Session, study_ids: Sequence[uuid.UUID]) -> int:
    """Keep what people did to studies whose events the caller is about to delete.

    Each event with an actor becomes an entry of its actor, which says kind and time of the event,
    and names the patient by the pseudonym alone; what somebody typed is not kept. What the seals
    need of the events is kept, too, so that `verify` takes them for removed by rule.

    Returns:
        How many events these studies have.
    """
    events = session.scalars(
        select(Event).where(Event.study_id.in_(study_ids)).order_by(Event.id)
    ).all()
    for event in events:
        if event.actor_kind is None:
            continue
        actor = Actor(
            ActorKind(event.actor_kind),
            event.actor_name or "",
            event.actor_id or "",
            event.actor_address or "",
        )
        at = event.at.astimezone(dt.UTC).isoformat(timespec="seconds")
        with acting_as(actor):
            record(
                session,
                AuditAction.CHANGE,
                study_ids=[event.study_id],
                detail=f"{event.kind} of {at}, kept when the study was removed",
            )
    ids = [event.id for event in events]
    for begin in range(0, len(ids), 1000):
        keep_removed(session, Source.EVENTS, ids[begin : begin + 1000])
    return len(events)
