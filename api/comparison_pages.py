"""The pages of comparisons of two drafts: the table of two bundles, the list, and one pair."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from api.forms import NONE_IF_EMPTY
from api.list_queries import ListQuery
from api.readers import hide_comparison, hide_comparisons
from api.rendering import render
from api.schemas import SearchText
from records.campaigns import campaigns
from records.database.session import snapshot
from records.workflow import draft_comparisons
from records.workflow.draft_comparisons import ComparisonOf

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGE_SIZE = 50
"""Pairs of drafts on one page."""


class ComparisonsQuery(ListQuery):
    """Whose comparisons are shown; the fields are those of `ComparisonOf`. after: the mark."""

    first: SearchText = ""
    second: SearchText = ""
    campaign: Annotated[uuid.UUID | None, NONE_IF_EMPTY] = None


@router.get("/comparisons")
def show_comparisons(query: Annotated[ComparisonsQuery, Query()]) -> str:
    """The table of two bundles, or of a campaign, and the pairs that differ most."""
    with snapshot() as session:
        if query.campaign is not None:
            campaigns.get(session, query.campaign)
        pairs = draft_comparisons.list_pairs(session)
        of = ComparisonOf(query.first, query.second, query.campaign)
        if of == ComparisonOf() and pairs:
            of = ComparisonOf(*pairs[0][:2])
        return render(
            "comparisons.html",
            query=query.model_copy(update={"first": of.first_bundle, "second": of.second_bundle}),
            pairs=pairs,
            table=draft_comparisons.read_table(session, of),
            page=hide_comparisons(
                session,
                draft_comparisons.read_page(session, of, after=query.after, limit=PAGE_SIZE),
            ),
        )


@router.get("/comparisons/{comparison_id}")
def show_comparison(comparison_id: int) -> str:
    """One pair of drafts beside each other."""
    with snapshot() as session:
        return render(
            "comparison.html",
            record=hide_comparison(session, draft_comparisons.read_record(session, comparison_id)),
        )
