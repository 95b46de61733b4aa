"""Reads the studies of a campaign, page by page."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, or_, select, true
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.campaign_tables import CampaignStudy
from records.database.tables import Study
from records.states import CampaignStudyState
from records.workflow.site_scope import is_of_site, visible_sites


def is_of_shown_study() -> ColumnElement[bool]:
    """The condition that a row's study is not here, or is of a site that is shown.

    A study may have been moved to another site after its campaign had found it.
    """
    if visible_sites() is None:
        return true()
    return or_(
        CampaignStudy.study_id.is_(None),
        exists().where(Study.id == CampaignStudy.study_id, is_of_site(Study.site_id)),
    )


def list_studies(
    session: Session,
    campaign_id: uuid.UUID,
    limit: int,
    *,
    state: CampaignStudyState | None = None,
    reason: str | None = None,
    after: int = 0,
) -> Sequence[CampaignStudy]:
    """The studies of a campaign in the order in which they were found.

    Args:
        session: the caller's transaction.
        campaign_id: the campaign.
        limit: how many, at most.
        state: only those in this state.
        reason: only those with this reason; it needs a state.
        after: the id of the last one of the page before.
    """
    query = (
        select(CampaignStudy)
        .where(
            CampaignStudy.campaign_id == campaign_id,
            CampaignStudy.id > after,
            is_of_shown_study(),
        )
        .order_by(CampaignStudy.id)
        .limit(limit)
    )
    if state is not None:
        query = query.where(CampaignStudy.state == state)
        if reason:
            query = query.where(CampaignStudy.reason == reason, CampaignStudy.reason != "")
    rows = session.scalars(query).all()
    # A study that is not here yet is named by its numbers alone.
    if any(row.study_id is None for row in rows):
        note_look(thing=f"campaign {campaign_id}")
    note_look(study_ids=[row.study_id for row in rows])
    return rows
