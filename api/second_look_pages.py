"""The pages of the second look: the ranked list, one entry with both texts, the blind question."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.discrepancy_schemas import (
    CLINICAL_WORTH,
    ModelErrorTable,
    Observation,
    SecondLookAnswer,
    ask,
)
from api.forms import NONE_IF_EMPTY, FormFields, validate_form
from api.list_queries import ListQuery
from api.rendering import render
from model.labels import OBSERVATIONS
from records.campaigns import campaigns
from records.database.session import snapshot, unit_of_work
from records.reports import model_errors, second_looks
from records.states import SECOND_LOOK_FINDINGS, DiscrepancySide, DiscrepancyState

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGE_SIZE = 50
"""Entries on one page."""


class DiscrepanciesQuery(ListQuery):
    """Which list is shown. campaign: of drafts that it asked for. after: the page's mark."""

    side: DiscrepancySide = DiscrepancySide.MISS_OF_REPORT
    state: DiscrepancyState = DiscrepancyState.OPEN
    campaign: Annotated[uuid.UUID | None, NONE_IF_EMPTY] = None
    observation: Annotated[Observation | None, NONE_IF_EMPTY] = None


@router.get("/discrepancies")
def show_discrepancies(query: Annotated[DiscrepanciesQuery, Query()]) -> str:
    """One side of the list in one state, the most certain first, with counts and budget."""
    with snapshot() as session:
        campaign = campaigns.get(session, query.campaign) if query.campaign else None
        page = second_looks.read_page(
            session,
            query.side,
            query.state,
            campaign_id=query.campaign,
            observation=query.observation or "",
            after=query.after,
            limit=PAGE_SIZE,
        )
        errors = model_errors.read_table(session, query.campaign)
        return render(
            "discrepancies.html",
            query=query,
            page=page,
            note=CLINICAL_WORTH,
            sides=list(DiscrepancySide),
            states=list(DiscrepancyState),
            counts=second_looks.read_counts(session, query.campaign),
            all_counts=second_looks.read_counts(session),
            campaign=campaign,
            observations=_observations_of(query.side),
            errors=ModelErrorTable.from_errors(errors),
            budget=second_looks.read_budget(session),
        )


def _observations_of(side: DiscrepancySide) -> Sequence[str]:
    """The observations that a list may hold."""
    return SECOND_LOOK_FINDINGS if side is DiscrepancySide.MISS_OF_REPORT else OBSERVATIONS


@router.get("/discrepancies/{discrepancy_id}")
def show_discrepancy(discrepancy_id: uuid.UUID) -> str:
    """One of them, with draft and report beside each other."""
    with snapshot() as session:
        record = second_looks.read_record(session, discrepancy_id)
        return render("discrepancy.html", record=record, note=CLINICAL_WORTH)


@router.get("/second-look")
def show_second_look(nothing_open: bool = False) -> str:
    """What a second look is, with the week's budget, and whether no question is open."""
    with snapshot() as session:
        budget = second_looks.read_budget(session)
        return render(
            "second_look.html",
            budget=budget,
            question=None,
            nothing_open=nothing_open,
            note=CLINICAL_WORTH,
        )


@router.post("/second-look")
def post_next() -> Response:
    """Ask the next question."""
    with unit_of_work() as session:
        question = second_looks.ask_next(session)
    target = f"/second-look/{question.id}" if question else "/second-look?nothing_open=true"
    return RedirectResponse(target, status_code=303)


@router.get("/second-look/{discrepancy_id}")
def show_question(discrepancy_id: uuid.UUID) -> str:
    """A question: the films and the finding, and not who says so."""
    with snapshot() as session:
        question = second_looks.read_question(session, discrepancy_id)
        return render(
            "second_look.html",
            budget=second_looks.read_budget(session),
            question=question,
            sentence=ask(question.observation),
            note=CLINICAL_WORTH,
        )


@router.post("/second-look/{discrepancy_id}/answer")
def post_answer(discrepancy_id: uuid.UUID, fields: FormFields) -> Response:
    """Keep the answer of the form on the page."""
    given = validate_form(SecondLookAnswer, dict(fields))
    with unit_of_work() as session:
        second_looks.answer(session, discrepancy_id, given.state)
    return RedirectResponse("/second-look", status_code=303)
