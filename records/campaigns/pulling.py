"""Fetches of the images of studies: claimed by an `intake` process, with their outcome.

A claim is worth its time only: where the process dies, another one claims again. Every write names
the time of its claim, so a claim that ran out changes nothing. An attempt is counted when it is
claimed, and given back where the fault was the other system's.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select, text, update
from sqlalchemy.orm import Session, aliased

from records.campaigns import adding, counting, feeding
from records.campaigns.adding import NewStudy
from records.database.campaign_tables import Campaign, CampaignFile, CampaignStudy
from records.database.session import interval
from records.database.tables import Instance, Study
from records.errors import LostLease
from records.states import (
    CampaignKind,
    CampaignReason,
    CampaignState,
    CampaignStudyState,
    EventKind,
    StudyState,
)
from records.workflow import events, requests, withdrawals

CLAIM_SECONDS = 900.0
"""A study whose fetching process died waits again after so long."""

RENEW_SECONDS = 60.0
"""A claim is renewed so often while images come."""

_CLAIMS = 7_310_445_131  # an advisory lock: claims go one after the other

_LOOKED_AT = 100
"""Rows of a campaign that a claim looks at: those of studies that others fetch are passed by."""


@dataclass(frozen=True, slots=True)
class ClaimedPull:
    """A study whose images this process may fetch until its claim runs out.

    Attributes:
        campaign_id: the campaign.
        id: of the row in it.
        kind: FOLDER, or a kind whose images are at a PACS.
        pacs: its name.
        source: of the campaign.
        study_instance_uid: "" where only the accession number is known; `resolve` sets it.
        accession_number: (0008,0050), or "".
        attempt: how often the study was fetched, this time included.
        claimed_at: the database's time of the claim, or of its last renewal; every write names it.
        begun_at: the database's time of the claim.
        studies_per_minute: how many the campaign fetches, at most; None is what the PACS allows.
    """

    campaign_id: uuid.UUID
    id: int
    kind: CampaignKind
    pacs: str
    source: Mapping[str, Any]
    study_instance_uid: str
    accession_number: str
    attempt: int
    claimed_at: dt.datetime
    begun_at: dt.datetime
    studies_per_minute: float | None = None


def claim(
    session: Session,
    pacs: str,
    ahead: int,
    kinds: Sequence[CampaignKind],
    resting: Collection[uuid.UUID] = (),
) -> ClaimedPull | None:
    """Claim the next study of an open campaign whose images are to be fetched.

    A study that another campaign is fetching is passed by; when that has ended, what it brought is
    found here, and nothing is fetched twice.

    Args:
        session: the caller's transaction.
        pacs: whose studies; "" with FOLDER.
        ahead: a campaign that has so many studies under way gets no more.
        kinds: of campaigns.
        resting: campaigns that are passed by now, for their own rate.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CLAIMS})
    open_campaigns = session.scalars(
        select(Campaign)
        .where(
            Campaign.state == CampaignState.RUNNING,
            Campaign.is_open,
            ~Campaign.is_denied,
            Campaign.pacs == pacs,
            Campaign.kind.in_(kinds),
        )
        .order_by(Campaign.priority, Campaign.created_at, Campaign.id)
    )
    for campaign in open_campaigns:
        if campaign.id in resting or counting.count_under_way(session, campaign.id, ahead) >= ahead:
            continue
        claimed = _claim_of(session, campaign)
        if claimed is not None:
            return claimed
    return None


def _claim_of(session: Session, campaign: Campaign) -> ClaimedPull | None:
    other = aliased(CampaignStudy)
    first = (
        select(CampaignStudy.id, CampaignStudy.study_instance_uid)
        .where(
            CampaignStudy.campaign_id == campaign.id,
            CampaignStudy.state == CampaignStudyState.WAITING,
            CampaignStudy.not_before.is_(None),
        )
        .order_by(CampaignStudy.id)
        .limit(_LOOKED_AT)
        .subquery()
    )
    fetched_elsewhere = exists().where(
        other.study_instance_uid == first.c.study_instance_uid,
        other.study_instance_uid != "",
        other.state == CampaignStudyState.PULLING,
    )
    row_id = session.scalar(
        select(first.c.id).where(~fetched_elsewhere).order_by(first.c.id).limit(1)
    )
    row = row_id and session.get(
        CampaignStudy, (campaign.id, row_id), with_for_update=True, populate_existing=True
    )
    if not row or row.state != CampaignStudyState.WAITING:
        return None
    now = session.scalar(select(func.clock_timestamp()))
    # All at once: each UPDATE leaves a dead version of the row behind, in every index.
    row.state, row.claimed_at = CampaignStudyState.PULLING, now
    row.attempts += 1
    row.changed_at = func.clock_timestamp()
    session.flush()
    assert row.claimed_at is not None
    return ClaimedPull(
        campaign.id,
        row.id,
        CampaignKind(campaign.kind),
        campaign.pacs,
        campaign.source,
        row.study_instance_uid,
        row.accession_number,
        row.attempts,
        row.claimed_at,
        row.claimed_at,
        campaign.studies_per_minute,
    )


def list_files(session: Session, pull: ClaimedPull) -> Sequence[str]:
    """The files of a study of a folder campaign, as paths below the folder."""
    return session.scalars(
        select(CampaignFile.path)
        .where(
            CampaignFile.campaign_id == pull.campaign_id,
            CampaignFile.campaign_study_id == pull.id,
        )
        .order_by(CampaignFile.path)
    ).all()


def list_present(session: Session, study_instance_uid: str) -> set[str]:
    """The SOP Instance UIDs of a study of which an object is here, whatever became of it.

    One whose file was removed is not here: it is fetched again.
    """
    return set(
        session.scalars(
            select(Instance.sop_instance_uid)
            .join(Study, Study.id == Instance.study_id)
            .where(
                Study.study_instance_uid == study_instance_uid,
                Instance.bytes_removed_at.is_(None),
            )
        )
    )


def resolve(session: Session, pull: ClaimedPull, uids: Sequence[str]) -> bool:
    """Name the studies that an accession number means; the row becomes the first of them.

    Returns:
        Whether the row goes on with `uids[0]`; False where the campaign has that study already, or
        somebody else fetches it: then the row has ended, or waits.

    Raises:
        LostLease: the claim is lost.
    """
    row = _locked(session, pull)
    known = set(
        session.scalars(
            select(CampaignStudy.study_instance_uid).where(
                CampaignStudy.campaign_id == pull.campaign_id,
                CampaignStudy.study_instance_uid.in_(uids),
                CampaignStudy.study_instance_uid != "",
            )
        )
    )
    fresh = [uid for uid in uids if uid not in known]
    others = fresh[1:]
    adding.add_studies(
        session,
        pull.campaign_id,
        [NewStudy(uid, pull.accession_number) for uid in others],
    )
    if not fresh:
        feeding.end(row, CampaignStudyState.SKIPPED, CampaignReason.ALREADY_LISTED)
        session.flush()
        return False
    is_fetched = session.scalar(
        select(
            exists().where(
                CampaignStudy.study_instance_uid == fresh[0],
                CampaignStudy.study_instance_uid != "",
                CampaignStudy.state == CampaignStudyState.PULLING,
            )
        )
    )
    row.study_instance_uid = fresh[0]
    if is_fetched:
        row.state, row.attempts, row.claimed_at = CampaignStudyState.WAITING, row.attempts - 1, None
    session.flush()
    return not is_fetched


def finish(
    session: Session,
    pull: ClaimedPull,
    *,
    listed: int,
    missing: Sequence[str] = (),
    size: int | None = None,
) -> None:
    """End a fetch: what could be had of the study is here, and the pipeline goes on with it.

    A study that came by this fetch gets the campaign's priority and need not be quiet first.

    Args:
        session: the caller's transaction, which has locked nothing.
        pull: the claim.
        listed: how many wanted images the source lists.
        missing: SOP Instance UIDs that did not come; they are named on the row.
        size: bytes of the images, where known.

    Raises:
        LostLease: the claim is lost.
    """
    found = feeding.find_studies(session, pull.study_instance_uid, "")
    if not found:
        fail(session, pull, CampaignStudyState.MISSING, CampaignReason.IMAGES_MISSING, missing)
        return
    campaign = session.get_one(Campaign, pull.campaign_id)
    study = withdrawals.lock_study(session, found[0])
    requests.lock_open(session, [study.id])
    row = _locked(session, pull)
    if study.state == StudyState.RECEIVING and not study.released:
        if study.first_received_at >= pull.begun_at and study.received_priority is None:
            study.priority = campaign.priority
        study.released = True
        events.append_event(session, study.id, EventKind.RELEASED, "a campaign fetched its images")
    session.flush()
    row.listed, row.missing = listed, list(missing)
    row.size = row.size if size is None else size
    # Part of it came before, and it was quiet for so long that it was drafted without the rest.
    came_before = study.first_received_at >= campaign.created_at and (
        row.study_id == study.id or pull.attempt > 1
    )
    feeding.give(session, campaign, row, study, follows_draft=came_before)


def fail(
    session: Session,
    pull: ClaimedPull,
    state: CampaignStudyState,
    reason: CampaignReason,
    missing: Sequence[str] = (),
    detail: str = "",
) -> None:
    """End a row whose images could not be had.

    Raises:
        LostLease: the claim is lost.
    """
    row = _locked(session, pull)
    row.missing = list(missing)
    feeding.end(row, state, reason, detail)
    row.changed_at = func.clock_timestamp()
    session.flush()


def try_again(session: Session, pull: ClaimedPull, seconds: float, detail: str = "") -> None:
    """Let a study be fetched again after some time; the attempt counts.

    Raises:
        LostLease: the claim is lost.
    """
    row = _locked(session, pull)
    came = _find_begun(session, pull)
    row.state, row.claimed_at, row.detail = CampaignStudyState.WAITING, None, detail
    row.study_id = came or row.study_id
    row.not_before = func.clock_timestamp() + interval(seconds)
    row.changed_at = func.clock_timestamp()
    session.flush()


def put_back(session: Session, pull: ClaimedPull) -> None:
    """Give a claim back, uncounted: the fault is the PACS's, the disk's or the database's.

    Raises:
        LostLease: the claim is lost.
    """
    row = _locked(session, pull)
    came = _find_begun(session, pull)
    row.state, row.claimed_at, row.attempts = CampaignStudyState.WAITING, None, pull.attempt - 1
    row.study_id = came or row.study_id
    session.flush()


def expire_claims(session: Session, seconds: float, limit: int = 500) -> int:
    """Take claims back whose process died; the attempt counts, so that no study kills for ever.

    Returns:
        How many there were.
    """
    running: ColumnElement[bool] = CampaignStudy.campaign_id.in_(
        select(Campaign.id).where(Campaign.state == CampaignState.RUNNING)
    )
    old = (
        select(CampaignStudy.campaign_id, CampaignStudy.id)
        .where(
            running,
            CampaignStudy.state == CampaignStudyState.PULLING,
            CampaignStudy.claimed_at < func.clock_timestamp() - interval(seconds),
        )
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("old")
    )
    begun = (
        select(Study.id)
        .where(
            Study.study_instance_uid == CampaignStudy.study_instance_uid,
            Study.state == StudyState.RECEIVING,
        )
        .scalar_subquery()
    )
    return len(
        session.scalars(
            update(CampaignStudy)
            .where(
                CampaignStudy.campaign_id == old.c.campaign_id,
                CampaignStudy.id == old.c.id,
            )
            .values(
                state=CampaignStudyState.WAITING,
                claimed_at=None,
                study_id=func.coalesce(CampaignStudy.study_id, begun),
            )
            .returning(CampaignStudy.id)
            .execution_options(synchronize_session=False)
        ).all()
    )


def renew(session: Session, pull: ClaimedPull) -> ClaimedPull:
    """Keep a claim for longer: its images still come.

    Raises:
        LostLease: the claim is lost.
    """
    row = _locked(session, pull)
    row.claimed_at = session.scalar(select(func.clock_timestamp()))
    session.flush()
    assert row.claimed_at is not None
    return replace(
        pull,
        study_instance_uid=row.study_instance_uid,
        accession_number=row.accession_number,
        claimed_at=row.claimed_at,
    )


def _find_begun(session: Session, pull: ClaimedPull) -> uuid.UUID | None:
    """The study of which a part came by this fetch.

    `finish` asks for it, and it is not closed while the rest is still to come.
    """
    return session.scalar(
        select(Study.id).where(
            Study.study_instance_uid == pull.study_instance_uid,
            Study.first_received_at >= pull.begun_at,
        )
    )


def _locked(session: Session, pull: ClaimedPull) -> CampaignStudy:
    row = session.get(
        CampaignStudy, (pull.campaign_id, pull.id), with_for_update=True, populate_existing=True
    )
    if row is None or row.state != CampaignStudyState.PULLING or row.claimed_at != pull.claimed_at:
        raise LostLease("somebody else fetches this study now")
    return row
