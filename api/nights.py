"""REST for nights: the promise for tonight, the summaries of nights, and failures in groups."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.night_schemas import (
    FailedGroup,
    GroupRetry,
    NightPage,
    NightSummary,
    Retried,
    Tonight,
)
from api.problems import problem_responses
from api.times import Day
from records.database.session import snapshot, unit_of_work
from records.operations import night_summaries
from records.operations.tonight import read_tonight_now
from records.settings import settings
from records.states import FailReason
from records.workflow import requests

router = APIRouter(prefix="/api", tags=["nights"])

RETRY_AT_ONCE = 1000
"""Studies that are taken up in one transaction."""


@router.get("/tonight", responses=problem_responses())
def read_promise() -> Tonight:
    """When all will be drafted at the measured pace, and whether the night is long enough."""
    with snapshot() as session:
        return Tonight.from_tonight(read_tonight_now(session, settings()))


@router.get("/nights", responses=problem_responses())
def list_nights(
    before: Annotated[Day | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=400)] = 30,
) -> NightPage:
    """The summaries of nights, the newest first."""
    with snapshot() as session:
        records = night_summaries.list_newest(session, limit + 1, before)
        return NightPage.from_records(records, limit)


@router.get("/nights/{night}", responses=problem_responses(404))
def read_night(night: Day) -> NightSummary:
    """The summary of one night, by the date of its beginning."""
    with snapshot() as session:
        return NightSummary.from_record(night_summaries.read_night(session, night))


@router.get("/failures", responses=problem_responses())
def list_failures() -> list[FailedGroup]:
    """The studies that failed and can be drafted again, by reason."""
    with snapshot() as session:
        return [FailedGroup.from_group(group) for group in requests.list_failed(session)]


@router.post("/failures/retry", responses=problem_responses(400, 403, 411, 413))
def retry_failures(retry: GroupRetry) -> Retried:
    """Draft again all studies that failed for a reason, from the start and with all attempts."""
    return Retried(studies=retry_group(retry.reason))


def retry_group(reason: FailReason) -> int:
    """Take up the studies that failed for a reason; returns how many."""
    count, batch = 0, RETRY_AT_ONCE
    while batch == RETRY_AT_ONCE:
        with unit_of_work() as session:
            batch = requests.retry(session, reason=reason, limit=RETRY_AT_ONCE)
        count += batch
    return count
