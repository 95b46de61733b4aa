"""Studies that a sender wanted to be urgent, and that are not: nothing says who the sender is."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from records.database.campaign_tables import CampaignStudy
from records.database.session import interval
from records.database.tables import Event, Study
from records.states import CampaignStudyState, EventKind, Priority
from records.workflow import events
from records.workflow.request_priorities import set_open_request

RECENT_HOURS = 24
"""Studies that arrived within so many hours are counted."""

_MAX_TITLES = 10


@dataclass(frozen=True, slots=True)
class DoubtedStudies:
    """Studies of the last hours whose wanted priority did not count.

    Attributes:
        count: how many.
        calling_aes: who sent their first films, by the alphabet; ten at most.
    """

    count: int
    calling_aes: tuple[str, ...]


def note(session: Session, study: Study, wanted: Priority, calling_ae: str) -> None:
    """Say on the timeline that a study is not as urgent as its sender wanted; once for a study.

    Nothing is said where the study is as urgent by something else, such as its order, and where a
    campaign fetches it, whose priority counts in any case.

    Args:
        session: the caller's transaction.
        study: the study, locked, with the priority that counts.
        wanted: the priority that the sender wanted.
        calling_ae: the sender's title.
    """
    if wanted >= study.priority:
        return
    said = exists().where(Event.study_id == study.id, Event.kind == EventKind.PRIORITY)
    fetched = exists().where(
        CampaignStudy.study_instance_uid == study.study_instance_uid,
        CampaignStudy.study_instance_uid != "",
        CampaignStudy.state == CampaignStudyState.PULLING,
    )
    if session.scalar(select(said | fetched)):
        return
    events.append_event(
        session,
        study.id,
        EventKind.PRIORITY,
        f"{wanted.name}, wanted by {calling_ae}, does not count: neither an address nor a "
        f"certificate says that the sender is {calling_ae}. Name one of them in "
        "NIGHTDRAFT_CALLER_ADDRESSES or NIGHTDRAFT_CALLER_CERTIFICATES.",
    )


def believe(session: Session, study: Study, wanted: Priority, calling_ae: str) -> None:
    """Let a priority count that was doubted, and that its sender, who is believed now, wants again.

    It makes a study more urgent and never less. A study whose priority nobody doubted stays as it
    is. An open request becomes as urgent, and a STAT study no longer waits for its order.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        wanted: the priority that the sender wants.
        calling_ae: the sender's title.
    """
    received = study.priority if study.received_priority is None else study.received_priority
    if wanted >= received:
        return
    doubted = exists().where(Event.study_id == study.id, Event.kind == EventKind.PRIORITY)
    if not session.scalar(select(doubted)):
        return
    if study.received_priority is not None:
        study.received_priority = wanted  # an order may take back what it gave
    study.priority = min(study.priority, wanted)
    session.flush()
    request = set_open_request(session, study, Priority(study.priority), only_raise=True)
    events.append_event(
        session,
        study.id,
        EventKind.PRIORITY,
        f"{wanted.name}, wanted by {calling_ae}, counts now: it is known who the sender is.",
        request.id if request is not None else None,
    )


def recent(session: Session) -> DoubtedStudies:
    """The studies of the last `RECENT_HOURS` whose wanted priority did not count."""
    # A count for each study reads the index of its events; EXISTS may walk all events there are.
    lines = (
        select(func.count())
        .where(Event.study_id == Study.id, Event.kind == EventKind.PRIORITY)
        .scalar_subquery()
    )
    titles = session.scalars(
        select(Study.calling_ae).where(
            Study.priority.in_(list(Priority)),  # so that the index of all studies is read
            Study.first_received_at > func.now() - interval(RECENT_HOURS * 3600),
            lines == 1,  # a further line says that the priority counts now
        )
    ).all()
    return DoubtedStudies(len(titles), tuple(sorted(set(titles))[:_MAX_TITLES]))
