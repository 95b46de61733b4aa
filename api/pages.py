"""The pages that people see: one study, what is held, and what was refused.

static/nightdraft.js asks for the parts that change every few seconds. Without it everything works
too, by plain links and forms.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.forms import NONE_IF_EMPTY, FormFields, validate_form
from api.hold_schemas import BulkDecisionRequest, DecisionRequest, OpenHold
from api.holds import decide_many, describe
from api.rendering import render
from api.reviews.editor import begin_reading, load_editor
from api.schemas import EventMark
from api.studies import StudyRecord, decide, load_study, move, reinstate, withdraw
from api.study_schemas import ReinstatementRequest, SiteMoveRequest, WithdrawalRequest
from api.viewer.study_films import show_films
from api.worklist.pages import ListText, other_reader
from api.worklist.query import WorklistQuery
from records.accounts import emergencies
from records.audit.looks import note_look
from records.database.session import database_time, snapshot, unit_of_work
from records.database.tables import Hold
from records.emergency_grants import grant_of
from records.errors import NotAllowed
from records.hold_decisions import GENERAL_LABELS, label_reason
from records.operations import refusals
from records.states import Decision, EventKind, HoldReason, InstanceState
from records.workflow import holds as hold_rows
from records.workflow import requests, studies, worklist_rows
from records.workflow.worklist_rows import WorklistRow

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

REFUSALS_SHOWN = 500
HOLDS_SHOWN = 100


@router.get("/refusals")
def show_refusals() -> str:
    """The objects and associations that were refused."""
    with snapshot() as session:
        return render("refusals.html", refusals=refusals.list_refusals(session, REFUSALS_SHOWN))


@router.get("/runbook")
def show_runbook() -> str:
    """What each alarm and each line of `nightdraft doctor` means, and what to do."""
    return render("runbook.html")


@router.get("/holds")
def show_holds(reason: Annotated[HoldReason | None, NONE_IF_EMPTY, Query()] = None) -> str:
    """The open holds with both sides; many can be decided at once."""
    with snapshot() as session:
        described = describe(session, hold_rows.list_open(session, reason, HOLDS_SHOWN))
    shared = _shared_decisions([hold.reason for hold in described]) if reason else {}
    return render(
        "holds.html", holds=described, reason=reason, reasons=list(HoldReason), decisions=shared
    )


@router.post("/holds")
def post_decisions(fields: FormFields) -> Response:
    """Decide the holds whose boxes are checked."""
    hold_ids = [value for name, value in fields if name == "holds"]
    decision = validate_form(BulkDecisionRequest, dict(fields) | {"holds": hold_ids})
    with unit_of_work() as session:
        result = decide_many(session, decision)
    return HTMLResponse(render("decided.html", result=result))


@router.get("/studies/{study}")
def show_study(
    study: uuid.UUID,
    before: Annotated[EventMark | None, Query()] = None,
    listed: Annotated[ListText, Query(alias="list")] = "",
    renderer: Annotated[Literal["2d", "webgl2"] | None, Query()] = None,  # noqa: ARG001  # for viewer.js
) -> str:
    """One study: whose it is, its images, its draft under the warning, and what may be done."""
    begin_reading(str(study))
    with snapshot() as session:
        record = load_study(session, str(study), before)
        grant = grant_of(study)
        opened = emergencies.list_studies(session, grant) if grant else ()
        note_look(study_ids=[other.id for other in opened])
        films = show_films(session, record)
        now = database_time(session)
        row, draft = record.row, record.current_draft
        editor = load_editor(session, row.id, draft, record.drafts)
        if editor.is_hidden:  # how far a draft is from a report tells what it says
            record = replace(record, comparisons=())
        reader = other_reader(session, row.id)
    return render(
        "study.html",
        record=record,
        row=row,
        draft=draft,
        editor=editor,
        caveat=worklist_rows.draft_caveat(row, draft.revision) if draft else "",
        other_drafts=[]
        if editor.is_hidden
        else [other for other in record.drafts if other is not draft],
        withdrawn={
            event.request_id: event.detail
            for event in record.timeline
            if event.kind == EventKind.WITHDRAWN
        },
        images=_study_images(record),
        earlier=films.earlier,
        image_display=films.image_display,
        kept_aside=[i for i in record.instances if i.state != InstanceState.KEPT],
        decisions=_offered_decisions(record.open_holds),
        seen=_study_digest(row, record.holds),
        before=before,
        listed=WorklistQuery.of_list(listed).listed,
        reader=reader,
        waits_until=record.waits_for_order_until,
        emergency_studies=opened,
        emergency_seconds=int((grant.until - now).total_seconds()) if grant else 0,
    )


@router.get("/studies/{study}/changed")
def show_change(study: uuid.UUID, seen: Annotated[str, Query(max_length=64)]) -> Response:
    """A line that the study has changed; 204 where it is still what the page shows."""
    with snapshot() as session:
        row = worklist_rows.read_row(session, studies.get_by_uid(session, str(study)).id)
        digest = _study_digest(row, hold_rows.list_by_study(session, row.id))
    if digest == seen:
        return Response(status_code=204)
    return HTMLResponse(render("changed.html", row=row))


@router.post("/studies/{study}/decision")
def post_decision(study: uuid.UUID, fields: FormFields) -> Response:
    """PROCEED or CANCEL, by the form on the study's page."""
    hold_ids = [value for name, value in fields if name == "holds"]
    decision = validate_form(DecisionRequest, dict(fields) | {"holds": hold_ids})
    with unit_of_work() as session:
        decide(session, str(study), decision)
    return _redirect_to(study)


@router.post("/studies/{study}/withdraw")
def post_withdrawal(study: uuid.UUID, fields: FormFields) -> Response:
    """Withdraw the draft that the page shows."""
    withdrawal = validate_form(WithdrawalRequest, dict(fields))
    with unit_of_work() as session:
        withdraw(session, str(study), withdrawal)
    return _redirect_to(study)


@router.post("/studies/{study}/site")
def post_site(study: uuid.UUID, fields: FormFields) -> Response:
    """Move the study to another site, by the form on its page."""
    request = validate_form(SiteMoveRequest, dict(fields))
    with unit_of_work() as session:
        move(session, str(study), request)
    return _redirect_to(study)


@router.post("/studies/{study}/reinstate")
def post_reinstatement(study: uuid.UUID, fields: FormFields) -> Response:
    """Let rejected films count again."""
    reinstatement = validate_form(ReinstatementRequest, dict(fields))
    with unit_of_work() as session:
        reinstate(session, str(study), reinstatement)
    return _redirect_to(study)


@router.post("/studies/{study}/retry")
def post_retry(study: uuid.UUID) -> Response:
    """Take a FAILED, SKIPPED or CANCELLED study up again."""
    with unit_of_work() as session:
        requests.retry(session, study_id=studies.get_by_uid(session, str(study)).id)
    return _redirect_to(study)


@router.post("/studies/{study}/release")
def post_release(study: uuid.UUID) -> Response:
    """End the study's quiet period now; one that has ended meanwhile is shown as it is."""
    with suppress(NotAllowed), unit_of_work() as session:
        studies.release(session, str(study))
    return _redirect_to(study)


def _offered_decisions(open_holds: Sequence[OpenHold]) -> dict[Decision, str]:
    """What may be decided about a study: each hold's own decisions, between those of all."""
    offered: dict[Decision, str] = {}
    for hold in open_holds:
        offered = hold.decisions | offered  # of two labels that of the older hold
    if len(open_holds) > 1:
        offered[Decision.PROCEED] = GENERAL_LABELS[Decision.PROCEED]
    order = (Decision.PROCEED, Decision.TAKE_NEW, Decision.KEEP_BOTH, Decision.SPLIT)
    return {
        decision: offered[decision] for decision in (*order, Decision.CANCEL) if decision in offered
    }


def _shared_decisions(reasons: Sequence[HoldReason]) -> dict[Decision, str]:
    """The decisions that every one of these holds may have."""
    labels = [label_reason(reason) for reason in set(reasons)]
    if not labels:
        return {}
    return {
        decision: label
        for decision, label in labels[0].items()
        if all(decision in other for other in labels)
    }


def _redirect_to(study: uuid.UUID) -> Response:
    return RedirectResponse(f"/studies/{study}", status_code=303)


def _study_images(record: StudyRecord) -> list[dict[str, Any]]:
    """The study's images, those that the model read first.

    Returns:
        For each image its `instance`, and what the draft records about it: `read` where the model
        read it, `left_out` where it was left out; both None where the draft does not name it.
    """
    read: dict[str, Any] = {}
    left_out: dict[str, Any] = {}
    if record.current_draft is not None:
        read = {view["sop_instance_uid"]: view for view in record.current_draft.views}
        left_out = {image["sop_instance_uid"]: image for image in record.current_draft.left_out}
    instances = [i for i in record.instances if i.state == InstanceState.KEPT]
    order = {uid: position for position, uid in enumerate([*read, *left_out])}
    instances.sort(key=lambda instance: order.get(instance.sop_instance_uid, len(order)))
    return [
        {
            "instance": instance,
            "read": read.get(instance.sop_instance_uid),
            "left_out": left_out.get(instance.sop_instance_uid),
        }
        for instance in instances
    ]


def _study_digest(row: WorklistRow, study_holds: Sequence[Hold]) -> str:
    """A digest of what a reader was shown: another state, draft, image or hold gives another."""
    hold_ids = sorted(str(hold.id) for hold in study_holds if hold.decision is None)
    return _digest(
        f"{row.state} {row.reason} {row.revision} {row.draft_id} {row.instance_count} {hold_ids}"
        f" {row.signed_by}"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
