"""REST for differences between draft and final report, and for the second look at their films."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from api.discrepancy_schemas import (
    DiscrepancyDetail,
    DiscrepancyEntries,
    ModelErrorTable,
    NextQuestion,
    Observation,
    SecondLookAnswer,
    SecondLookQuestion,
    SecondLookSummary,
    WeeklyBudget,
)
from api.list_queries import PageLimit, PageMark
from api.problems import problem_responses
from records.campaigns import campaigns
from records.database.session import snapshot, unit_of_work
from records.reports import model_errors, second_looks
from records.states import DiscrepancySide, DiscrepancyState

router = APIRouter(prefix="/api", tags=["second look"])


@router.get("/discrepancies", responses=problem_responses(404, 409))
def list_discrepancies(
    side: Annotated[
        DiscrepancySide,
        Query(description="Who is silent: the report, or the model (its list of errors)."),
    ] = DiscrepancySide.MISS_OF_REPORT,
    state: Annotated[
        DiscrepancyState, Query(description="How far they are.")
    ] = DiscrepancyState.OPEN,
    campaign: Annotated[
        uuid.UUID | None, Query(description="Only those of drafts that it asked for.")
    ] = None,
    observation: Annotated[
        Observation | None, Query(description="Only those of one of the 14 observations.")
    ] = None,
    after: PageMark = None,
    limit: PageLimit = 50,
) -> DiscrepancyEntries:
    """Findings that draft and final report do not share, the most certain first."""
    with snapshot() as session:
        if campaign is not None:
            campaigns.get(session, campaign)
        page = second_looks.read_page(
            session,
            side,
            state,
            campaign_id=campaign,
            observation=observation or "",
            after=after,
            limit=limit,
        )
        return DiscrepancyEntries.from_page(page)


@router.get("/discrepancies/errors", responses=problem_responses(404))
def read_errors(
    campaign: Annotated[
        uuid.UUID | None, Query(description="Only of drafts that it asked for.")
    ] = None,
) -> ModelErrorTable:
    """The model's errors by observation: what reports say, and what of it drafts do not name."""
    with snapshot() as session:
        if campaign is not None:
            campaigns.get(session, campaign)
        return ModelErrorTable.from_errors(model_errors.read_table(session, campaign))


@router.get("/discrepancies/{discrepancy_id}", responses=problem_responses(404))
def read_discrepancy(discrepancy_id: uuid.UUID) -> DiscrepancyDetail:
    """One of them with both texts; who is to look at the films blindly must not read it."""
    with snapshot() as session:
        return DiscrepancyDetail.from_record(second_looks.read_record(session, discrepancy_id))


@router.get("/second-looks", responses=problem_responses())
def read_summary() -> SecondLookSummary:
    """The counts, and the week's budget of reads."""
    with snapshot() as session:
        return SecondLookSummary.make(
            second_looks.read_counts(session), second_looks.read_budget(session)
        )


@router.post("/second-looks", responses=problem_responses(403, 409, 411, 413))
def ask_next() -> NextQuestion:
    """The next question; nobody else is asked it for some minutes."""
    with unit_of_work() as session:
        question = second_looks.ask_next(session)
        return NextQuestion(
            question=SecondLookQuestion.from_question(question) if question else None
        )


@router.post(
    "/second-looks/{discrepancy_id}/answer",
    responses=problem_responses(400, 403, 404, 409, 411, 413),
)
def answer_question(discrepancy_id: uuid.UUID, given: SecondLookAnswer) -> WeeklyBudget:
    """Keep what was seen on the films: one read, which is counted once."""
    with unit_of_work() as session:
        return WeeklyBudget.from_budget(second_looks.answer(session, discrepancy_id, given.state))
