"""Gives studies that are here to the pipeline, a few ahead of the workers.

It locks a study before the row of the campaign, as everybody who changes a study does.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from records.campaigns import adding, counting, following
from records.campaigns.adding import NewStudy
from records.campaigns.campaigns import save_walk
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.draft_tables import Draft, DraftRequest
from records.database.tables import Study
from records.reports.reading import list_by_study
from records.reports.report import is_final
from records.states import (
    CAMPAIGN_REASON_SENTENCES,
    OPEN,
    CampaignKind,
    CampaignReason,
    CampaignStudyState,
    EndReason,
    Priority,
    Purpose,
    RequestState,
    StudyState,
    WalkState,
)
from records.workflow import requests, stored_bytes, withdrawals
from records.workflow.identifiers import plain_key


def walk_again(session: Session, campaign: Campaign, limit: int) -> int:
    """Add the next studies of a campaign that drafts again what a bundle drafted.

    Those count that the bundle had drafted when the campaign was created.

    Args:
        session: the caller's transaction.
        campaign: of kind AGAIN; `source` has the digest of the bundle as `from_bundle`.
        limit: studies, at most.

    Returns:
        How many drafts were walked; call again while there are `limit` of them.
    """
    position = campaign.walk_position or {}
    lines = list_drafted(
        session, campaign, limit, uuid.UUID(position["draft"]) if "draft" in position else None
    )
    adding.add_studies(session, campaign.id, [study for _, study in lines])
    if lines:
        position = {"draft": str(lines[-1][0])}
    save_walk(
        session,
        campaign.id,
        position,
        WalkState.WALKING if len(lines) == limit else WalkState.WALKED,
    )
    return len(lines)


def list_drafted(
    session: Session, campaign: Campaign, limit: int, after: uuid.UUID | None = None
) -> list[tuple[uuid.UUID, NewStudy]]:
    """The next drafts that a campaign of kind AGAIN is about, each with its study.

    Args:
        session: the caller's transaction.
        campaign: `source` has the digest of the bundle as `from_bundle`.
        limit: drafts, at most.
        after: the draft after which they begin.
    """
    query = (
        select(Draft.id, Draft.study_id, Study.study_instance_uid, Study.accession_number)
        .join(Study, Study.id == Draft.study_id)
        .where(
            Draft.bundle_digest == campaign.source["from_bundle"],
            Draft.purpose == Purpose.PRIMARY,
            Draft.superseded_at.is_(None),
            Draft.created_at <= campaign.created_at,
        )
        .order_by(Draft.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(Draft.id > after)
    if campaign.site_id is not None:
        query = query.where(Study.site_id == campaign.site_id)
    return [
        (draft_id, NewStudy(uid, number, study_id))
        for draft_id, study_id, uid, number in session.execute(query)
    ]


def list_next(
    session: Session, campaign: Campaign, ahead: int
) -> list[tuple[int, uuid.UUID | None]]:
    """The rows that may be given to the pipeline now, with the study where it is known.

    Args:
        session: the caller's transaction.
        campaign: an open one that fetches no images.
        ahead: so many of its studies are under way, at most.
    """
    room = ahead - counting.count_under_way(session, campaign.id, ahead)
    if room <= 0:
        return []
    lines = session.execute(
        select(CampaignStudy.id, CampaignStudy.study_id)
        .where(
            CampaignStudy.campaign_id == campaign.id,
            CampaignStudy.state == CampaignStudyState.WAITING,
            CampaignStudy.not_before.is_(None),
        )
        .order_by(CampaignStudy.id)
        .limit(room)
    )
    return [(id_, study_id) for id_, study_id in lines]


def feed(session: Session, campaign: Campaign, row_id: int, study_id: uuid.UUID | None) -> None:
    """Give one row's study to the pipeline, in a transaction of its own.

    Args:
        session: the caller's transaction, which has locked nothing.
        campaign: a running one.
        row_id: the row.
        study_id: its study; None looks for it by what the row names.
    """
    study = None
    if study_id is None:
        row = session.get_one(CampaignStudy, (campaign.id, row_id))
        found = find_studies(
            session, row.study_instance_uid, row.accession_number, campaign.site_id
        )
        study_id = found[0] if found else None
        adding.add_studies(session, campaign.id, _others(session, found[1:]))
    if study_id is not None:
        study = withdrawals.lock_study(session, study_id)
        requests.lock_open(session, [study_id])
    row = session.get_one(
        CampaignStudy, (campaign.id, row_id), with_for_update=True, populate_existing=True
    )
    if row.state != CampaignStudyState.WAITING:
        return  # somebody else has fed it meanwhile
    if study is None:
        end(row, CampaignStudyState.MISSING, CampaignReason.NOT_HERE)
        session.flush()
    else:
        give(session, campaign, row, study)


def find_studies(
    session: Session,
    study_instance_uid: str,
    accession_number: str,
    site_id: uuid.UUID | None = None,
) -> Sequence[uuid.UUID]:
    """The studies here that a row names; several may have one accession number.

    Args:
        session: the caller's transaction.
        study_instance_uid: (0020,000D), or "".
        accession_number: (0008,0050), where there is no UID.
        site_id: the site of the campaign: studies of others are not found; None is every site.
    """
    if study_instance_uid:
        condition = Study.study_instance_uid == study_instance_uid
    else:
        # The expression of the search's index.
        condition = func.upper(Study.accession_number.collate("C")) == plain_key(accession_number)
    query = select(Study.id).where(condition)
    if site_id is not None:
        query = query.where(Study.site_id == site_id)
    return session.scalars(query.order_by(Study.first_received_at, Study.id).limit(20)).all()


def find_by_uids(
    session: Session, study_instance_uids: Sequence[str]
) -> Sequence[tuple[uuid.UUID, str]]:
    """Those of the studies that are here, each by our id with its study UID."""
    lines = session.execute(
        select(Study.id, Study.study_instance_uid).where(
            Study.study_instance_uid.in_(study_instance_uids)
        )
    )
    return [(study_id, uid) for study_id, uid in lines]


def _others(session: Session, study_ids: Sequence[uuid.UUID]) -> list[NewStudy]:
    lines = session.execute(
        select(Study.study_instance_uid, Study.accession_number, Study.id).where(
            Study.id.in_(study_ids)
        )
    )
    return [NewStudy(uid, number, id_) for uid, number, id_ in lines]


def end(
    row: CampaignStudy, state: CampaignStudyState, reason: CampaignReason, detail: str = ""
) -> None:
    """End a row for a reason of the campaign's own."""
    row.state, row.reason = state, reason
    row.detail = detail or CAMPAIGN_REASON_SENTENCES[reason]
    row.claimed_at = row.not_before = None


def give(
    session: Session,
    campaign: Campaign,
    row: CampaignStudy,
    study: Study,
    *,
    follows_draft: bool = False,
) -> None:
    """Give one study to the pipeline, or end its row with the reason why not.

    For a campaign of one site, a study of another site is like one that is not here.

    The caller has locked the study, its open requests and the row, in this sequence.

    Args:
        session: the caller's transaction.
        campaign: a running one.
        row: of the study in it.
        study: the study.
        follows_draft: whether a draft that is there already is this campaign's, for the study came
            by its own fetch.
    """
    if not is_of_site(campaign, study):
        row.study_id = None
        end(row, CampaignStudyState.MISSING, CampaignReason.NOT_HERE)
        session.flush()
        return
    # The row is written once, at the end: each UPDATE leaves a dead version of it behind.
    with session.no_autoflush:
        row.study_id = study.id
        _take_up_reported(session, campaign, study)
        reason = why_skipped(session, campaign, study)
    is_own = follows_draft and campaign.purpose == Purpose.PRIMARY
    if reason is CampaignReason.ALREADY_DRAFTED and is_own:
        following.follow(session, row, study.id)
    elif reason is not None:
        end(row, CampaignStudyState.SKIPPED, reason)
    elif study.state != StudyState.COMPLETE or not _needs_request(session, campaign, study):
        following.follow(session, row, study.id)
    elif not campaign.pacs and stored_bytes.lacks_bytes(session, study.id):
        # Its request would fail, and the study would no longer show the draft that it has.
        end(row, CampaignStudyState.MISSING, CampaignReason.BYTES_REMOVED)
    else:
        request_id = requests.create_request(
            session,
            study,
            purpose=Purpose(campaign.purpose),
            bundle=campaign.bundle,
            priority=Priority(campaign.priority),
        )
        is_beside = campaign.purpose == Purpose.COMPARISON
        following.follow(session, row, study.id, request_id if is_beside else None)
    session.flush()


def is_of_site(campaign: Campaign, study: Study) -> bool:
    """Whether a campaign may draft a study, by the sites of both."""
    return campaign.site_id in (None, study.site_id)


def why_skipped(session: Session, campaign: Campaign, study: Study) -> CampaignReason | None:
    """Why a campaign drafts nothing of a study that is here; None where it drafts it."""
    if _is_reported(session, campaign, study):
        return CampaignReason.ALREADY_FINAL
    if _is_drafted(session, campaign, study):
        return CampaignReason.ALREADY_DRAFTED
    return None


def _is_reported(session: Session, campaign: Campaign, study: Study) -> bool:
    """Whether a final report keeps the study from being drafted by this campaign."""
    if campaign.purpose == Purpose.PRIMARY and withdrawals.has_signed_report(session, study.id):
        return True  # a signed report is never touched
    return campaign.skip_reported and (
        withdrawals.has_signed_report(session, study.id)
        or any(is_final(report) for report in list_by_study(session, study))
    )


def _take_up_reported(session: Session, campaign: Campaign, study: Study) -> None:
    """Open a request again that a final report had ended, for a campaign that drafts these, too."""
    own = session.get(DraftRequest, study.request_id) if study.request_id else None
    if (
        campaign.purpose == Purpose.PRIMARY
        and not campaign.skip_reported
        and own is not None
        and own.state == RequestState.CANCELLED
        and own.reason == EndReason.REPORTED_ELSEWHERE
        and not withdrawals.has_signed_report(session, study.id)
    ):
        requests.retry(session, study_id=study.id)
        session.refresh(own)
        # It goes on as a request of this campaign: by its bundle, and no sooner than its others.
        own.bundle, own.priority = campaign.bundle, campaign.priority
        session.flush()


def _is_drafted(session: Session, campaign: Campaign, study: Study) -> bool:
    """Whether the campaign's bundle has drafted the study's present revision."""
    drafted = exists().where(
        Draft.study_id == study.id,
        Draft.revision == study.revision,
    )
    if campaign.purpose == Purpose.PRIMARY:
        drafted = drafted.where(Draft.purpose == Purpose.PRIMARY, Draft.superseded_at.is_(None))
    if campaign.bundle is not None:
        drafted = drafted.where(Draft.bundle_digest == campaign.bundle)
    return bool(session.scalar(select(drafted)))


def _needs_request(session: Session, campaign: Campaign, study: Study) -> bool:
    """Whether a request must be made; else the study's own is followed."""
    if campaign.purpose == Purpose.COMPARISON:
        return True
    own = session.get(DraftRequest, study.request_id) if study.request_id else None
    if own is None or own.state in OPEN:
        return False  # it is drafted anyway
    return campaign.bundle is not None or campaign.kind == CampaignKind.AGAIN
