"""The pages of models: all of them with their stops and modes, and the drafts of one."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.bundle_scores import read_scores
from api.forms import FormFields, validate_form
from api.list_queries import ListQuery
from api.model_schemas import Digest, ProposalDecision, ProposalRequest, StopRequest
from api.models import lift_stop, propose_mode, stop_model
from api.rendering import render
from records.bundles import known, modes, recall
from records.bundles.acceptance import ENOUGH
from records.database.session import snapshot, unit_of_work
from records.states import SiteMode

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGE_SIZE = 50
"""Drafts on one page of a recall."""


@router.get("/models")
def show_models() -> str:
    """All models, the modes of sites, and proposals."""
    with snapshot() as session:
        return render(
            "models.html",
            models=known.list_known(session),
            sites=modes.list_sites(session),
            proposals=modes.list_proposals(session),
            modes=list(SiteMode),
            enough=ENOUGH,
            read_scores=read_scores,
        )


@router.get("/models/{digest}/drafts")
def show_recall(digest: Digest, query: Annotated[ListQuery, Query()]) -> str:
    """Every draft of a model, newest first."""
    with snapshot() as session:
        bundle = known.get(session, digest)
        return render(
            "recall.html",
            bundle=bundle,
            query=query,
            page=recall.read_page(session, bundle.digest, after=query.after, limit=PAGE_SIZE),
        )


@router.post("/models/{digest}/stop")
def post_stop(digest: Digest, fields: FormFields) -> Response:
    """Stop a model."""
    stop_model(digest, validate_form(StopRequest, dict(fields)))
    return _back()


@router.post("/models/{digest}/lift")
def post_lift(digest: Digest, fields: FormFields) -> Response:
    """Lift the stop of a model."""
    lift_stop(digest, validate_form(StopRequest, dict(fields)))
    return _back()


@router.post("/mode-proposals")
def post_proposal(fields: FormFields) -> Response:
    """Propose a mode and a model for a site."""
    propose_mode(validate_form(ProposalRequest, dict(fields)))
    return _back("#proposals-title")


@router.post("/mode-proposals/{proposal_id}/decision")
def post_decision(proposal_id: uuid.UUID, fields: FormFields) -> Response:
    """Consent to a proposal, or refuse it."""
    values = dict(fields)
    consents = values.pop("answer", "") == "consent"
    decision = validate_form(ProposalDecision, values)
    with unit_of_work() as session:
        modes.decide(session, proposal_id, consents=consents, note=decision.note)
    return _back("#proposals-title")


def _back(place: str = "") -> Response:
    return RedirectResponse(f"/models{place}", status_code=303)
