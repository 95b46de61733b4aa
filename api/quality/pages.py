"""The page of quality, and the form by which a second reader scores a report."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup
from sqlalchemy.orm import Session

from api.forms import FormFields, validate_form
from api.quality import published
from api.quality.plots import draw_drift, draw_interval
from api.quality.queries import PageQuery, Whose, list_sites, make_choice, may_see_sums
from api.quality.routes import name_value
from api.quality.schemas import NOTE, ScoreRequest
from api.readers import account_id, reader_of
from api.rendering import render
from api.reviews.routes import report_of
from records.bundles import known
from records.database.bundle_tables import Bundle
from records.database.session import database_time, snapshot, unit_of_work
from records.quality import drift, figures, report_scores
from records.quality.cells import NO_FINDING, NO_REASON
from records.quality.counts import Choice, Dimension
from records.quality.drift import DriftLine
from records.quality.figures import SMALL, Acceptance
from records.quality.groups import local_day
from records.settings import settings
from records.states import (
    AGE_LABELS,
    DEVICE_LABELS,
    PEER_LABELS,
    REJECT_LABELS,
    SEX_LABELS,
    ReadingArm,
)

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

ARM_LABELS = {
    ReadingArm.WITH_DRAFT: "with the draft from the beginning",
    ReadingArm.READ_FIRST: "films first, then the draft",
    ReadingArm.WITHOUT_DRAFT: "no draft",
}
"""What a reader saw first, in words for a person."""

_DIMENSION_LABELS = {
    Dimension.MONTH: "month",
    Dimension.MODEL: "model",
    Dimension.SITE: "site",
    Dimension.VIEW: "views",
    Dimension.DEVICE: "portable or not",
    Dimension.AGE: "age",
    Dimension.SEX: "sex",
    Dimension.ARM: "what was seen first",
}

_VALUE_LABELS: dict[Dimension, Mapping[Any, str]] = {
    Dimension.DEVICE: DEVICE_LABELS,
    Dimension.AGE: AGE_LABELS,
    Dimension.SEX: SEX_LABELS,
    Dimension.ARM: {**ARM_LABELS, "": "no reading was noted"},
}

LINES = 6
"""Drift lines on the page; REST gives all."""


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A drift line as the page shows it."""

    line: DriftLine
    site: str
    model: str
    plot: Markup


@router.get("/quality")
def show_quality(query: Annotated[PageQuery, Query()]) -> str:
    """All figures, for who may see them."""
    with snapshot() as session:
        choice = make_choice(session, query)
        names = name_models(known.list_known(session))
        sites = {site.id: site for site in list_sites(session)}
        return render(
            "quality.html",
            query=query,
            choice=choice,
            note=NOTE,
            is_sum=choice.account_id is None,
            whose=_offered(),
            found=figures.read(session, choice),
            breakdown=_break_down(session, choice, query.by, names, sites),
            lines=_read_lines(session, choice, names, sites),
            sites=list(sites.values()),
            models=names,
            views=sorted(
                figures.read_breakdown(session, choice.narrowed(view=None), Dimension.VIEW)
            ),
            dimensions=_DIMENSION_LABELS,
            ages=AGE_LABELS,
            sexes=SEX_LABELS,
            devices=DEVICE_LABELS,
            arms=ARM_LABELS,
            reasons=REJECT_LABELS | {NO_REASON: "The note alone says why"},
            scores=PEER_LABELS,
            no_finding=NO_FINDING,
            published=published,
            small=SMALL,
            drift_days=settings().quality_drift_days,
            draw_interval=draw_interval,
        )


@router.post("/studies/{study}/score")
def post_score(study: uuid.UUID, fields: FormFields) -> Response:
    """Score the report that the page shows."""
    form = validate_form(_ScoreForm, dict(fields))
    with unit_of_work() as session:
        report = report_of(session, str(study), form.report)
        report_scores.score(session, report.id, form.score, reader_of(form.by))
    return RedirectResponse(f"/studies/{study}#editor", status_code=303)


class _ScoreForm(ScoreRequest):
    """The form of a score; it names the report."""

    report: uuid.UUID


def name_models(bundles: Sequence[known.KnownBundle]) -> dict[str, str]:
    """By digest, the name of each model as a page says it."""
    rows: list[Bundle] = [each.bundle for each in bundles]
    return {row.digest: f"{row.name} {row.version} ({row.digest[:12]})" for row in rows}


def _offered() -> list[Whose]:
    """Between whose figures who asks can choose."""
    offered = [Whose.SITES] if may_see_sums() else []
    return [*offered, Whose.OWN] if account_id() is not None else offered


def _break_down(
    session: Session,
    choice: Choice,
    by: Dimension,
    names: Mapping[str, str],
    sites: Mapping[Any, Any],
) -> list[tuple[str, Acceptance]]:
    found = figures.read_breakdown(session, choice, by)
    codes = {site_id: site.name for site_id, site in sites.items()}
    labels = names if by is Dimension.MODEL else _VALUE_LABELS.get(by, {})
    return [
        (labels.get(value, name_value(value, by, codes)), acceptance)
        for value, acceptance in found.items()
    ]


def _read_lines(
    session: Session, choice: Choice, names: Mapping[str, str], sites: Mapping[Any, Any]
) -> list[ShownLine]:
    """The lines of the choice's sites and models; none for who sees only his or her own figures."""
    if choice.account_id is not None:
        return []
    today = local_day(database_time(session))
    shown = []
    for line in drift.read_lines(session, settings(), today):
        if choice.site_id not in (None, line.site_id):
            continue
        if choice.bundle_digest not in (None, line.bundle_digest):
            continue
        site = sites[line.site_id].name
        model = names.get(line.bundle_digest, line.bundle_digest[:12])
        words = (
            f"Share of drafts of {model} at {site} that readers changed or rejected, by day from "
            f"{line.days[0].day} to {line.days[-1].day}. The last {line.run} days are outside."
        )
        shown.append(ShownLine(line, site, model, draw_drift(line, words)))
    return shown[:LINES]
