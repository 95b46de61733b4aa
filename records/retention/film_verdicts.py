"""Decides whether the files of a study may go, and what keeps them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.discrepancy_tables import Discrepancy
from records.database.draft_tables import Draft, DraftRequest
from records.database.review_tables import Review
from records.database.tables import Hold, Instance, Study
from records.retention.rules import CountedFrom
from records.retention.site_days import SiteDays
from records.states import (
    CAMPAIGN_ENDED,
    CAMPAIGN_MOVING,
    OPEN,
    CampaignKind,
    EndReason,
    InstanceState,
    Purpose,
    RequestState,
    ReviewDecision,
    StudyState,
    WalkState,
)


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
