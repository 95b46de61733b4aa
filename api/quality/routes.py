"""REST for the figures of quality, their CSV, the drift, and the score of a second reader."""

from __future__ import annotations

import csv
import io
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.campaign_export import as_cell
from api.problems import problem_responses
from api.quality.queries import QualityQuery, list_sites, make_choice
from api.quality.schemas import (
    Acceptance,
    Breakdown,
    BreakdownRow,
    DriftLine,
    DriftLines,
    Estimate,
    GivenScore,
    Quality,
    ScoreRequest,
)
from api.readers import reader_of
from api.reviews.routes import report_of
from api.schemas import StudyUid
from records.database.session import database_time, snapshot, unit_of_work
from records.quality import drift, figures, report_scores
from records.quality.counts import Dimension
from records.quality.groups import local_day
from records.settings import settings

router = APIRouter(prefix="/api", tags=["quality"])

_COLUMNS = ("figure", "of", "value", "low", "high", "part", "number")


@router.get("/quality", responses=problem_responses(403, 404, 409))
def read_quality(query: Annotated[QualityQuery, Query()]) -> Quality:
    """The figures of what readers made of drafts: the sum of one's sites, or one's own."""
    with snapshot() as session:
        return Quality.of(figures.read(session, make_choice(session, query)))


@router.get("/quality/by/{dimension}", responses=problem_responses(403, 404, 409))
def read_breakdown(dimension: Dimension, query: Annotated[QualityQuery, Query()]) -> Breakdown:
    """What became of drafts by month, model, site, view, device, age, sex or arm."""
    with snapshot() as session:
        choice = make_choice(session, query)
        codes = {site.id: site.code for site in list_sites(session)}
        found = figures.read_breakdown(session, choice, dimension)
        return Breakdown(
            dimension=dimension,
            rows=[
                BreakdownRow(
                    value=name_value(value, dimension, codes), acceptance=Acceptance.of(of)
                )
                for value, of in found.items()
            ],
        )


@router.get("/quality.csv", responses=problem_responses(403, 404, 409), response_class=Response)
def export_quality(query: Annotated[QualityQuery, Query()]) -> Response:
    """The figures as CSV, one a line."""
    text = write_csv(read_quality(query))
    return Response(
        text,
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="quality.csv"'},
    )


@router.get("/quality/drift", responses=problem_responses())
def read_drift() -> DriftLines:
    """The daily share of drafts that readers changed or rejected, beside each model's baseline."""
    with snapshot() as session:
        sites = {site.id: site for site in list_sites(session)}
        today = local_day(database_time(session))
        lines = drift.read_lines(session, settings(), today)
        return DriftLines(lines=[DriftLine.of(line, sites) for line in lines])


@router.post(
    "/studies/{uid}/reviews/{review_id}/score",
    responses=problem_responses(400, 403, 404, 409, 411, 413),
)
def score_report(uid: StudyUid, review_id: uuid.UUID, body: ScoreRequest) -> GivenScore:
    """Score a report that somebody else has signed; a score is given once."""
    with unit_of_work() as session:
        report = report_of(session, uid, review_id)
        made = report_scores.score(session, report.id, body.score, reader_of(body.by))
        return GivenScore(id=made, review=report.id, score=body.score)


def name_value(value: Any, dimension: Dimension, codes: dict[uuid.UUID, str]) -> str:
    """A value of a dimension as REST and CSV name it."""
    if dimension is Dimension.MONTH:
        return f"{value:%Y-%m}"
    return codes.get(value, str(value)) if dimension is Dimension.SITE else str(value)


def write_csv(quality: Quality) -> str:
    """The figures as lines of CSV; first the names of the columns."""
    lines: list[list[object]] = [["whose", quality.whose.value, "", "", "", "", ""]]
    for name in ("unedited", "small_edit", "either", "rejected", "differing"):
        lines.append(_line("acceptance", name, getattr(quality.acceptance, name)))
    for edits in quality.edits:
        lines.append(_line("edit median", edits.section, edits.median))
        lines.append(_line("untouched", edits.section, edits.untouched))
    for arm, time in quality.times.items():
        lines.append(_line("seconds to signature, median", arm.value, time.median))
    lines.append(["begun without the draft", "reports", quality.own_texts, "", "", "", ""])
    lines.append(["begun without the draft", "draft shown", quality.asked, "", "", "", ""])
    lines.append(_line("seconds to draft, median", "", quality.to_draft.median))
    for reason, number in quality.reject_reasons.items():
        lines.append(["rejected for", reason, number, "", "", "", quality.acceptance.rejected.part])
    for each in quality.observations:
        for name in ("precision", "recall", "kappa"):
            lines.append(_line(name, each.observation, getattr(each, name)))
    total = quality.peer_review.significant.number
    for score, number in quality.peer_review.by_score.items():
        lines.append(["second reader", score.value, number, "", "", "", total])
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    # Only words may look like a formula: a kappa can be below zero.
    writer.writerows(
        [
            _COLUMNS,
            *([as_cell(one) if isinstance(one, str) else one for one in line] for line in lines),
        ]
    )
    return output.getvalue()


def _line(figure: str, of: str, estimate: Estimate) -> list[object]:
    return [
        figure,
        of,
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.part,
        estimate.number,
    ]
