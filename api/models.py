"""REST for models: stop and lift, recall, modes of sites, and the consent to their change."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator, Sequence

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api.campaign_export import as_cell
from api.list_queries import PageLimit, PageMark
from api.model_schemas import (
    Digest,
    Models,
    Proposal,
    ProposalDecision,
    ProposalRequest,
    RecalledDraft,
    RecalledDrafts,
    SiteModeEntry,
    Stop,
    StopRequest,
)
from api.model_schemas import Model as ModelOfRest
from api.problems import problem_responses
from records.bundles import known, modes, recall, stops
from records.database.session import snapshot, unit_of_work

router = APIRouter(prefix="/api", tags=["models"])

_COLUMNS = tuple(RecalledDraft.model_fields)


@router.get("/models", responses=problem_responses())
def list_models() -> Models:
    """All models with their stops, the modes of sites, and the newest proposals."""
    with snapshot() as session:
        return Models(
            models=[ModelOfRest.from_known(each) for each in known.list_known(session)],
            sites=[SiteModeEntry.from_site(site) for site in modes.list_sites(session)],
            proposals=[Proposal.from_listed(each) for each in modes.list_proposals(session)],
        )


@router.post("/models/{digest}/stop", responses=problem_responses(400, 403, 404, 409, 411, 413))
def stop_model(digest: Digest, request: StopRequest) -> Stop:
    """Stop a model: from now on no draft of it is shown, at no site."""
    with unit_of_work() as session:
        return Stop.model_validate(stops.stop(session, digest, request.by, request.reason))


@router.post("/models/{digest}/lift", responses=problem_responses(400, 403, 404, 409, 411, 413))
def lift_stop(digest: Digest, request: StopRequest) -> Stop:
    """Lift the stop of a model: its drafts are shown again, and what waits is drafted."""
    with unit_of_work() as session:
        return Stop.model_validate(stops.lift(session, digest, request.by, request.reason))


@router.get("/models/{digest}/drafts", responses=problem_responses(404, 409))
def recall_drafts(digest: Digest, after: PageMark = None, limit: PageLimit = 50) -> RecalledDrafts:
    """Every draft of a model, newest first: which study, and whether and by whom it was signed."""
    with snapshot() as session:
        bundle = known.get(session, digest)
        page = recall.read_page(session, bundle.digest, after=after, limit=limit)
        return RecalledDrafts.from_page(bundle.digest, page)


@router.get(
    "/models/{digest}/drafts.csv",
    responses=problem_responses(404, 409),
    response_class=StreamingResponse,
)
def export_drafts(digest: Digest) -> StreamingResponse:
    """Every draft of a model as CSV, as a stream."""
    with snapshot() as session:
        bundle = known.get(session, digest)
        name = f"model-{bundle.digest[:12]}-drafts.csv"
    return StreamingResponse(
        stream_csv(bundle.digest),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


@router.post("/mode-proposals", responses=problem_responses(400, 403, 404, 409, 411, 413))
def propose_mode(request: ProposalRequest) -> Proposal:
    """Propose a mode and a model for a site; it is in force once another person consents."""
    with unit_of_work() as session:
        row = modes.propose(session, request.site, request.model, request.mode, request.reason)
        return find_proposal(modes.list_proposals(session), row.id)


@router.post(
    "/mode-proposals/{proposal_id}/consent",
    responses=problem_responses(400, 403, 404, 409, 411, 413),
)
def consent(proposal_id: uuid.UUID, decision: ProposalDecision) -> Proposal:
    """Consent to what another person proposed: it is in force from now on."""
    with unit_of_work() as session:
        modes.decide(session, proposal_id, consents=True, note=decision.note)
        return find_proposal(modes.list_proposals(session), proposal_id)


@router.post(
    "/mode-proposals/{proposal_id}/refuse",
    responses=problem_responses(400, 403, 404, 409, 411, 413),
)
def refuse(proposal_id: uuid.UUID, decision: ProposalDecision) -> Proposal:
    """Refuse a proposal; who proposed it can take it back like this."""
    with unit_of_work() as session:
        modes.decide(session, proposal_id, consents=False, note=decision.note)
        return find_proposal(modes.list_proposals(session), proposal_id)


def find_proposal(listed: Sequence[modes.ListedProposal], proposal_id: uuid.UUID) -> Proposal:
    """The proposal of an id, which was changed just now and so is among the newest."""
    return next(Proposal.from_listed(each) for each in listed if each.proposal.id == proposal_id)


def stream_csv(digest: str) -> Iterator[str]:
    """The drafts of a model as CSV, whole lines at a time; first the names of the columns."""
    yield _write([list(_COLUMNS)])
    for part in recall.walk(digest):
        rows = [RecalledDraft.from_draft(draft).model_dump(mode="json") for draft in part]
        yield _write([[as_cell(row[column]) for column in _COLUMNS] for row in rows])


def _write(lines: list[list[str]]) -> str:
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows(lines)
    return output.getvalue()
