"""REST for comparisons of two drafts of one study by two bundles."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from api.comparison_schemas import (
    BundlePairs,
    ComparisonTable,
    DraftComparisonDetail,
    DraftComparisonEntries,
)
from api.list_queries import PageLimit, PageMark
from api.problems import problem_responses
from api.readers import hide_comparison, hide_comparisons
from records.campaigns import campaigns
from records.database.session import snapshot
from records.workflow import draft_comparisons
from records.workflow.draft_comparisons import ComparisonOf

router = APIRouter(prefix="/api", tags=["comparisons"])

First = Annotated[
    str, Query(max_length=100, description="Digest of the bundle of the earlier drafts.")
]
Second = Annotated[
    str, Query(max_length=100, description="Digest of the bundle of the later drafts.")
]
Campaign = Annotated[
    uuid.UUID | None,
    Query(description="Instead: the campaign that asked for the later drafts."),
]


@router.get("/comparisons", responses=problem_responses())
def list_pairs() -> BundlePairs:
    """The pairs of bundles that drafted the same studies."""
    with snapshot() as session:
        return BundlePairs.from_pairs(draft_comparisons.list_pairs(session))


@router.get("/comparisons/table", responses=problem_responses(404))
def read_table(
    first: First = "", second: Second = "", campaign: Campaign = None
) -> ComparisonTable:
    """Of two bundles or of a campaign: which of two drafts says that an observation is present."""
    with snapshot() as session:
        if campaign is not None:
            campaigns.get(session, campaign)
        table = draft_comparisons.read_table(session, ComparisonOf(first, second, campaign))
        return ComparisonTable.from_table(table)


@router.get("/comparisons/drafts", responses=problem_responses(404, 409))
def list_comparisons(
    first: First = "",
    second: Second = "",
    campaign: Campaign = None,
    after: PageMark = None,
    limit: PageLimit = 50,
) -> DraftComparisonEntries:
    """Pairs of drafts of two bundles or of a campaign, those first that differ most."""
    with snapshot() as session:
        if campaign is not None:
            campaigns.get(session, campaign)
        page = draft_comparisons.read_page(
            session, ComparisonOf(first, second, campaign), after=after, limit=limit
        )
        return DraftComparisonEntries.from_page(hide_comparisons(session, page))


@router.get("/comparisons/drafts/{comparison_id}", responses=problem_responses(404))
def read_comparison(comparison_id: int) -> DraftComparisonDetail:
    """One pair, with both texts."""
    with snapshot() as session:
        return DraftComparisonDetail.from_record(
            hide_comparison(session, draft_comparisons.read_record(session, comparison_id))
        )
