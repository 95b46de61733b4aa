"""The pages of nights: tonight with its promise, the nights before, and one of them."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from api.date_wording import date_minute
from api.forms import NONE_IF_EMPTY, FormFields, validate_form
from api.night_schemas import GroupRetry
from api.nights import retry_group
from api.plots import Bar, draw_bars, draw_share, say_pace
from api.rendering import render
from api.times import Day
from records.database.session import snapshot
from records.operations import night_summaries, night_wording, overview, work_counts
from records.operations.alarms import runbook_path
from records.operations.night_summaries import NightRecord
from records.operations.nights import local_words, to_local
from records.operations.tonight import Tonight, read_tonight
from records.operations.work_counts import QUARTER, Work
from records.settings import settings
from records.states import FailReason, Stage, WorkKind
from records.workflow import requests

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

NIGHTS_DRAWN = 30
NIGHTS_LISTED = 60
_LABELS = 13
"""Times or dates below a chart, at most."""

_DRAWN = (
    (WorkKind.DRAFTED, "drafted"),
    (WorkKind.SKIPPED, "skipped"),
    (WorkKind.FAILED, "failed"),
)


@router.get("/tonight")
def show_tonight(retried: Annotated[int | None, Query(ge=0)] = None) -> str:
    """The promise for the night, the pace of stages and workers, and what was done and failed."""
    return render("tonight.html", live=render("tonight_live.html", **_read()), retried=retried)


@router.get("/tonight/live")
def show_live() -> str:
    """The part of the page that changes."""
    return render("tonight_live.html", **_read())


def _read() -> dict[str, Any]:
    with snapshot() as session:
        parts = overview.read_parts(session)
        workload = overview.read_workload(session, parts)
        tonight = read_tonight(session, settings(), workload, parts)
        nights = night_summaries.list_newest(session, NIGHTS_DRAWN)
        failed = requests.list_failed(session)
    return {
        "tonight": tonight,
        "parts": parts,
        "others": Counter(part.part for part in parts.running if part.part != Stage.DRAFT),
        "queue": {state: workload.shown.get(state, 0) for state in overview.MOVING},
        "runbook_path": runbook_path,
        "time": lambda at: local_words(at, tonight.zone, tonight.now),
        "total": {name: tonight.work.total(kind) for kind, name in _DRAWN}
        | {"prepared": tonight.work.total(WorkKind.PREPARED)},
        "reasons": {name: tonight.work.by_reason(kind) for kind, name in _DRAWN},
        "work_plot": _draw_tonight(tonight),
        "nights": nights,
        "nights_plot": draw_nights(nights),
        "failed": failed,
        "failures_counted": requests.FAILURES_COUNTED,
        "share": draw_share,
        "pace": say_pace,
    }


@router.get("/tonight/retry")
def show_retry(reason: FailReason) -> str:
    """Ask whether all that failed for a reason are to be drafted again, and say how many it is."""
    with snapshot() as session:
        number = requests.count_failed(session, reason)
    return render(
        "retry_group.html",
        reason=reason,
        number=number,
        is_more=number >= requests.FAILURES_COUNTED,
    )


@router.post("/tonight/retry")
def post_retry(fields: FormFields) -> Response:
    """Draft again all that failed for a reason."""
    retry = validate_form(GroupRetry, dict(fields))
    return RedirectResponse(f"/tonight?retried={retry_group(retry.reason)}", status_code=303)


@router.get("/nights")
def show_nights(
    before: Annotated[Day | None, NONE_IF_EMPTY, Query()] = None,
) -> str:
    """The summaries of nights, the newest first."""
    with snapshot() as session:
        records = night_summaries.list_newest(session, NIGHTS_LISTED + 1, before)
    shown = records[:NIGHTS_LISTED]
    return render(
        "nights.html",
        nights=shown,
        plot=draw_nights(shown[:NIGHTS_DRAWN]),
        before=before,
        next=shown[-1].row.night if len(records) > NIGHTS_LISTED else None,
        nights_left=night_wording.describe_nights_left,
    )


@router.get("/nights/{night}")
def show_night(night: Day) -> str:
    """One night: its counts, its reasons, its pace beside that of the night before."""
    with snapshot() as session:
        record = night_summaries.read_night(session, night)
        work = work_counts.read_work(session, record.row.begins_at, record.row.ends_at)
    row, zone = record.row, night_wording.zone_of_night(record)
    return render(
        "night.html",
        record=record,
        row=row,
        time=lambda at: date_minute(to_local(at, zone)),
        reasons={
            name: night_wording.sort_reasons(getattr(row, name))
            for name in ("skipped", "failed", "held", "missing")
        },
        workers=dict(sorted(row.workers.items())),
        pace=night_wording.describe_pace(record),
        nights_left=night_wording.describe_nights_left(record),
        plot=draw_work(work, row.begins_at, row.ends_at, zone),
    )


def _draw_tonight(tonight: Tonight) -> Markup:
    return draw_work(tonight.work, tonight.since, tonight.until, tonight.zone, tonight.now)


def draw_work(
    work: Work,
    begins_at: dt.datetime,
    ends_at: dt.datetime,
    zone: dt.tzinfo | None,
    now: dt.datetime | None = None,
) -> Markup:
    """The work of a stretch of time, a bar for each quarter of an hour."""
    count = math.ceil((ends_at - begins_at) / QUARTER)
    numbers = {name: work.by_quarter(kind) for kind, name in _DRAWN}
    hours_between = math.ceil(count / 4 / _LABELS) or 1
    bars = []
    for index in range(count):
        quarter = begins_at + index * QUARTER
        local = quarter.astimezone(zone)
        parts = [(name, by_quarter.get(quarter, 0)) for name, by_quarter in numbers.items()]
        # Each hour by the time since the beginning: a clock may skip or repeat one.
        is_labelled = index % (4 * hours_between) == 0
        bars.append(
            Bar(parts, f"{local:%H:%M}: {_list(parts)}", f"{local:%H:%M}" if is_labelled else "")
        )
    mark = (now - begins_at) / QUARTER if now is not None else None
    total = _list([(name, work.total(kind)) for kind, name in _DRAWN])
    return draw_bars(bars, f"Studies by quarter of an hour: {total}.", mark)


def draw_nights(records: Sequence[NightRecord]) -> Markup:
    """Nights, the oldest at the left, a bar for each."""
    every = math.ceil(len(records) / _LABELS) or 1
    bars = []
    for index, record in enumerate(reversed(records)):
        night = record.row.night
        parts = [
            ("drafted", record.row.drafted),
            ("skipped", record.skipped),
            ("failed", record.failed),
        ]
        is_labelled = (len(records) - 1 - index) % every == 0
        bars.append(
            Bar(
                parts,
                f"Night of {night}: {_list(parts)}",
                f"{night:%d %b}" if is_labelled else "",
                f"/nights/{night}",
            )
        )
    return draw_bars(bars, f"Studies of each of {len(records)} nights.")


def _list(parts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{number} {name}" for name, number in parts)
