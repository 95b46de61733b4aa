"""Finds films whose files are to be removed, and removes them: first in rows, then on disk.

A walk over what is on disk, by arrival, gives the studies that a rule may be about. Whether a study
may lose its files is decided under the study's lock. The keys of its files are queued in the
same transaction and removed after it, so a process that dies between the two leaves nothing behind.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from records.blobs import Blobs
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.discrepancy_tables import Discrepancy
from records.database.draft_tables import Draft, DraftRequest
from records.database.retention_tables import RetentionWalk
from records.database.review_tables import Review
from records.database.session import database_time, interval, unit_of_work
from records.database.tables import Hold, Instance, Study
from records.failpoints import failpoint
from records.operations import scrub
from records.retention.rules import CountedFrom
from records.retention.site_days import SiteDays, read_site_days
from records.retention.walks import claim_walk
from records.states import (
    CAMPAIGN_ENDED,
    CAMPAIGN_MOVING,
    OPEN,
    CampaignKind,
    EndReason,
    EventKind,
    InstanceState,
    Purpose,
    RequestState,
    RetentionWalkRule,
    ReviewDecision,
    StudyState,
    WalkState,
)
from records.workflow import events, stored_bytes

ROUND_SECONDS = 6 * 3600.0
"""A round over all that is on disk begins at most so often."""

INSTANCES_AT_ONCE = 500
"""Instances that one step of the walk looks at."""

FILES_AT_ONCE = 500
"""Queued files that are removed before their rows are deleted."""

_DAY = 86_400.0


class KeptBecause(StrEnum):
    """Why the files of a study stay."""

    NOT_DUE = "NOT_DUE"
    NOT_DRAFTED = "NOT_DRAFTED"  # its report is unsigned and it is not drafted
    RECEIVING = "RECEIVING"
    REQUESTED = "REQUESTED"  # a request still needs them
    HELD = "HELD"  # a person must decide about it
    COMPARED = "COMPARED"  # films of it are still being compared
    IN_CAMPAIGN = "IN_CAMPAIGN"
    SECOND_LOOK = "SECOND_LOOK"  # a reader is looking at its films
    LOCKED = "LOCKED"  # somebody changes the study now


KEPT_SENTENCES: dict[KeptBecause, str] = {
    KeptBecause.NOT_DUE: "No rule asks for it yet.",
    KeptBecause.NOT_DRAFTED: "The study is neither signed nor drafted.",
    KeptBecause.RECEIVING: "The study is still being received.",
    KeptBecause.REQUESTED: "A draft is still to be made of it.",
    KeptBecause.HELD: "A person must decide about it.",
    KeptBecause.COMPARED: "Films of it are still being compared.",
    KeptBecause.IN_CAMPAIGN: "A campaign has it still to draft or to compare.",
    KeptBecause.SECOND_LOOK: "A reader looks at its films again.",
    KeptBecause.LOCKED: "Somebody is changing the study just now.",
}
"""Each reason in one sentence for a person; "it" is the files of a study."""


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What decides whether the files of a study may go.

    Attributes:
        site_id: the site whose rules hold for it.
        state: its state of arrival.
        request: state and end reason of its newest primary request.
        request_ended_at: when that request came into its state.
        stored_at: when the last object came, or came again, whose file is here.
        drafted_at: the time of its last draft.
        signed_at: the time of the last report that was signed here.
        blocked: whether it is REQUESTED, HELD, COMPARED, IN_CAMPAIGN or in a SECOND_LOOK.
    """

    study_id: uuid.UUID
    site_id: uuid.UUID
    state: StudyState
    request: tuple[RequestState, str] | None
    request_ended_at: dt.datetime | None
    stored_at: dt.datetime
    drafted_at: dt.datetime | None
    signed_at: dt.datetime | None
    blocked: KeptBecause | None


@dataclass(frozen=True, slots=True)
class Due:
    """The rule by which the files of a study go, and its days."""

    counted_from: CountedFrom
    days: float


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed of one study, or would be."""

    files: int
    size: int


def judge(facts: StudyFacts, now: dt.datetime, site_days: SiteDays) -> Due | KeptBecause:
    """Decide about the files of one study.

    Args:
        facts: what is known of it.
        now: the database's clock.
        site_days: the days of every site.
    """
    if facts.state is not StudyState.COMPLETE:
        return KeptBecause.RECEIVING
    if facts.blocked is not None:
        return facts.blocked
    state, reason = facts.request or (None, "")
    signed_at = facts.signed_at
    if signed_at is None and reason == EndReason.REPORTED_ELSEWHERE:
        signed_at = facts.request_ended_at
    drafted_at = facts.drafted_at
    if state not in (RequestState.DRAFTED, RequestState.CANCELLED, RequestState.SUPERSEDED):
        drafted_at = None  # an older revision was drafted, and this one is not
    if state is RequestState.FAILED and signed_at is None:
        return KeptBecause.NOT_DRAFTED
    undrafted_at = None
    if drafted_at is None and state in (RequestState.SKIPPED, RequestState.CANCELLED):
        undrafted_at = facts.stored_at
    days_known = False
    for counted_from, at in (
        (CountedFrom.SIGNATURE, signed_at),
        (CountedFrom.DRAFT, drafted_at),
        (CountedFrom.ARRIVAL, undrafted_at),
    ):
        days = site_days.of_films(counted_from, facts.site_id)
        if at is None or days is None:
            continue
        days_known = True
        # What came again after it had been removed is kept for as long once more.
        if max(at, facts.stored_at) <= now - dt.timedelta(days=days):
            return Due(counted_from, days)
    if not days_known and signed_at is None and drafted_at is None:
        return KeptBecause.NOT_DRAFTED
    return KeptBecause.NOT_DUE


def list_stored(
    session: Session, days: float, after: tuple[dt.datetime, uuid.UUID] | None, limit: int
) -> Sequence[tuple[dt.datetime, uuid.UUID, uuid.UUID]]:
    """Instances whose file is here and that came so many days ago, by arrival.

    Args:
        session: the caller's transaction.
        days: how long ago, at least.
        after: arrival and id of the instance after which they begin.
        limit: how many, at most.

    Returns:
        Arrival, id and study of each.
    """
    query = (
        select(Instance.received_at, Instance.id, Instance.study_id)
        .where(
            Instance.bytes_removed_at.is_(None),
            Instance.received_at < func.now() - interval(days * _DAY),
        )
        .order_by(Instance.received_at, Instance.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(Instance.received_at, Instance.id) > tuple_(*after))
    return [(at, id_, study_id) for at, id_, study_id in session.execute(query)]


def read_facts(session: Session, study_ids: Sequence[uuid.UUID]) -> list[StudyFacts]:
    """What decides about the files of these studies; those without files here are left out."""
    any_request = aliased(DraftRequest)
    stored_at = (
        select(func.max(func.coalesce(Instance.bytes_restored_at, Instance.received_at)))
        .where(Instance.study_id == Study.id, Instance.bytes_removed_at.is_(None))
        .scalar_subquery()
    )
    drafted_at = (
        select(func.max(Draft.created_at)).where(Draft.study_id == Study.id).scalar_subquery()
    )
    signed_at = (
        select(func.max(Review.decided_at))
        .where(Review.study_id == Study.id, Review.decision == ReviewDecision.SIGNED)
        .scalar_subquery()
    )
    query = (
        select(
            Study.id,
            Study.site_id,
            Study.state,
            DraftRequest.state,
            DraftRequest.reason,
            DraftRequest.changed_at,
            stored_at,
            drafted_at,
            signed_at,
            _is_any(
                select(any_request.id).where(
                    any_request.study_id == Study.id, any_request.state.in_(OPEN)
                )
            ),
            _is_any(select(Hold.id).where(Hold.study_id == Study.id, Hold.decision.is_(None))),
            _is_any(
                select(Instance.id).where(
                    Instance.study_id == Study.id, Instance.state == InstanceState.UNCOMPARED
                )
            ),
            or_(*map(_is_any, _in_campaigns())),
            _is_any(
                select(Discrepancy.id).where(
                    Discrepancy.study_id == Study.id, Discrepancy.offered_until > func.now()
                )
            ),
        )
        .outerjoin(DraftRequest, DraftRequest.id == Study.request_id)
        .where(Study.id.in_(study_ids))
        .order_by(Study.id)
    )
    facts = []
    blocks = (
        KeptBecause.REQUESTED,
        KeptBecause.HELD,
        KeptBecause.COMPARED,
        KeptBecause.IN_CAMPAIGN,
        KeptBecause.SECOND_LOOK,
    )
    for row in session.execute(query):
        id_, site_id, state, request, reason, changed_at, stored, drafted, signed, *flags = row
        if stored is not None:
            facts.append(
                StudyFacts(
                    id_,
                    site_id,
                    StudyState(state),
                    None if request is None else (RequestState(request), reason),
                    changed_at,
                    stored,
                    drafted,
                    signed,
                    next((why for why, is_so in zip(blocks, flags, strict=True) if is_so), None),
                )
            )
    return facts


def _is_any(rows: Select[Any]) -> ColumnElement[bool]:
    """Whether there is such a row. An EXISTS might be planned to read the whole table once."""
    return rows.limit(1).scalar_subquery().is_not(None)


def _in_campaigns() -> list[Select[tuple[int]]]:
    """Rows of campaigns that have not ended and still need a study: by our id, by UID, by number.

    A campaign that drafts again what a bundle drafted has no rows yet of what it has not reached.
    """
    is_open = Campaign.state.not_in(CAMPAIGN_ENDED)
    waits = CampaignStudy.state.in_(CAMPAIGN_MOVING)
    rows = (
        select(1)
        .select_from(CampaignStudy)
        .join(Campaign, Campaign.id == CampaignStudy.campaign_id)
    )
    named = [
        CampaignStudy.study_id == Study.id,
        and_(
            CampaignStudy.study_instance_uid == Study.study_instance_uid,
            CampaignStudy.study_instance_uid != "",
        ),
        and_(
            CampaignStudy.study_instance_uid == "",
            CampaignStudy.accession_number.in_(
                (Study.accession_number, func.upper(Study.accession_number))
            ),
            Study.accession_number != "",
        ),
    ]
    walks = (
        select(1)
        .select_from(Campaign)
        .join(Draft, Draft.bundle_digest == Campaign.source["from_bundle"].astext)
        .where(
            is_open,
            Campaign.kind == CampaignKind.AGAIN,
            Campaign.walk_state == WalkState.WALKING,
            Draft.study_id == Study.id,
            Draft.purpose == Purpose.PRIMARY,
            Draft.superseded_at.is_(None),
        )
        .correlate(Study)
    )
    return [rows.where(is_open, waits, by).correlate(Study) for by in named] + [walks]


def remove_bytes(session: Session, study_id: uuid.UUID) -> Removed | KeptBecause | None:
    """Note that the files of a study are removed, and queue them, where a rule says so.

    The study is locked first, as everybody does who changes one. Neither it nor its requests are
    waited for: the next round comes to it again.

    Returns:
        What was removed; why nothing was; None where the study has no file here.
    """
    study = session.scalar(
        select(Study).where(Study.id == study_id).with_for_update(key_share=True, skip_locked=True)
    )
    if study is None:
        return KeptBecause.LOCKED
    # A request that is being opened again just now is locked: `retry` does not lock the study.
    of_study = select(DraftRequest.id).where(DraftRequest.study_id == study_id)
    free = session.scalars(of_study.with_for_update(read=True, skip_locked=True)).all()
    if len(free) != len(session.scalars(of_study).all()):
        return KeptBecause.LOCKED
    facts = read_facts(session, [study_id])
    if not facts:
        return None
    verdict = judge(facts[0], database_time(session), read_site_days(session))
    if isinstance(verdict, KeptBecause):
        return verdict
    was_damaged = exists().where(Instance.study_id == study_id, Instance.damage.is_not(None))
    is_alarming = bool(session.scalar(select(was_damaged)))
    gone = session.execute(
        update(Instance)
        .where(Instance.study_id == study_id, Instance.bytes_removed_at.is_(None))
        .values(bytes_removed_at=func.clock_timestamp(), damage=None)
        .returning(Instance.blob, Instance.size)
        .execution_options(synchronize_session=False)
    ).all()
    stored_bytes.queue_removals(session, [row.blob for row in gone])
    number = "the file of 1 object" if len(gone) == 1 else f"the files of {len(gone)} objects"
    events.append_event(
        session,
        study_id,
        EventKind.BYTES_REMOVED,
        f"{number}, {verdict.days:g} days after the {verdict.counted_from.lower()}",
        reason=verdict.counted_from,
    )
    if is_alarming:
        scrub.settle_alarm(session)
    return Removed(len(gone), sum(row.size for row in gone))


def take_step(blobs: Blobs, *, begin: bool = False) -> bool:
    """Walk over some instances, and remove the files of the studies that a rule is about.

    Args:
        blobs: the blob folder.
        begin: begin a round even where the last one ended lately.

    Returns:
        Whether the round goes on.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next step goes on.
    """
    with unit_of_work() as session:
        site_days = read_site_days(session)
        days = site_days.least_of_films()
        if days is None:
            return False
        walk = claim_walk(session, RetentionWalkRule.INSTANCES, ROUND_SECONDS, begin=begin)
        if walk is None:
            return False
        stored = list_stored(session, days, _position(walk), INSTANCES_AT_ONCE)
        _move(walk, stored)
        study_ids = list(dict.fromkeys(study_id for _, _, study_id in stored))
        now = database_time(session)
        due = [
            facts.study_id
            for facts in read_facts(session, study_ids)
            if isinstance(judge(facts, now, site_days), Due)
        ]
    for study_id in due:
        # One transaction each: nobody holds the lock of one study and waits for another one's.
        with unit_of_work() as session:
            removed = remove_bytes(session, study_id)
            if isinstance(removed, Removed):
                _count(session, removed)
        failpoint("after-removal-rows")
    remove_files(blobs)
    return len(stored) == INSTANCES_AT_ONCE


def remove_files(blobs: Blobs) -> int:
    """Remove the files that are queued; returns how many keys were taken off the queue.

    Raises:
        OSError: the disk does not let a file go; it stays queued.
    """
    count = 0
    while True:
        with unit_of_work() as session:
            keys = stored_bytes.list_removals(session, FILES_AT_ONCE)
        if not keys:
            return count
        for key in keys:
            blobs.remove(key)
            failpoint("after-removing-a-file")
        with unit_of_work() as session:
            stored_bytes.forget_removals(session, keys)
        count += len(keys)


@dataclass(slots=True)
class Outlook:
    """What a round would remove, and why other files stay.

    Attributes:
        due: studies that would lose their files, by rule and its days.
        files: how many files that are.
        size: their bytes.
        kept: studies that a rule might be about by their age, and that keep their files.
    """

    due: dict[Due, int] = field(default_factory=dict)
    files: int = 0
    size: int = 0
    kept: dict[KeptBecause, int] = field(default_factory=dict)

    @property
    def studies(self) -> dict[CountedFrom, int]:
        """Studies that would lose their files, by what the rule counts from."""
        found: dict[CountedFrom, int] = {}
        for due, number in self.due.items():
            found[due.counted_from] = found.get(due.counted_from, 0) + number
        return found


def foresee(site_id: uuid.UUID | None = None) -> Outlook:
    """Walk over everything, and change nothing.

    Args:
        site_id: count studies of this site alone; None counts those of all.

    Raises:
        DatabaseDown: PostgreSQL does not answer.
    """
    outlook = Outlook()
    with unit_of_work() as session:
        site_days = read_site_days(session)
    days = site_days.least_of_films()
    if days is None:
        return outlook
    after = None
    seen: set[uuid.UUID] = set()
    while True:
        with unit_of_work() as session:
            stored = list_stored(session, days, after, INSTANCES_AT_ONCE)
            new = [study_id for _, _, study_id in stored if study_id not in seen]
            now = database_time(session)
            due = []
            for facts in read_facts(session, list(dict.fromkeys(new))):
                seen.add(facts.study_id)
                if site_id is not None and facts.site_id != site_id:
                    continue
                verdict = judge(facts, now, site_days)
                if isinstance(verdict, Due):
                    due.append(facts.study_id)
                    outlook.due[verdict] = outlook.due.get(verdict, 0) + 1
                else:
                    outlook.kept[verdict] = outlook.kept.get(verdict, 0) + 1
            files, size = session.execute(
                select(func.count(), func.coalesce(func.sum(Instance.size), 0)).where(
                    Instance.study_id.in_(due), Instance.bytes_removed_at.is_(None)
                )
            ).one()
            outlook.files += files
            outlook.size += int(size)
        if len(stored) < INSTANCES_AT_ONCE:
            return outlook
        after = stored[-1][:2]


def _position(walk: RetentionWalk) -> tuple[dt.datetime, uuid.UUID] | None:
    if walk.position is None:
        return None
    return (
        dt.datetime.fromisoformat(walk.position["received_at"]),
        uuid.UUID(walk.position["id"]),
    )


def _move(walk: RetentionWalk, stored: Sequence[tuple[dt.datetime, uuid.UUID, uuid.UUID]]) -> None:
    """Move the walk past these instances; the round ends where there are no more."""
    if len(stored) < INSTANCES_AT_ONCE:
        walk.position, walk.ended_at = None, func.clock_timestamp()
    else:
        at, id_, _ = stored[-1]
        walk.position = {"received_at": at.isoformat(), "id": str(id_)}


def _count(session: Session, removed: Removed) -> None:
    session.execute(
        update(RetentionWalk)
        .where(RetentionWalk.rule == RetentionWalkRule.INSTANCES)
        .values(
            removed=RetentionWalk.removed + removed.files,
            removed_bytes=RetentionWalk.removed_bytes + removed.size,
        )
    )
