"""The pages that people see: the worklist, one study, what was refused. Knows no SQL.

htmx asks for the moving parts every few seconds; everything works without it, by plain links and
forms.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, BeforeValidator, ValidationError

from api.rendering import render
from api.schemas import DecisionGiven, SearchWords
from api.studies import Counting, Whole, decide, whole
from records.database.session import unit_of_work
from records.operations import overview, refusals
from records.states import HOLD_SENTENCES, HoldReason, InstanceState, VisibleState
from records.workflow import requests, studies, worklist

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGE = 50
"""Studies on one page of the worklist."""

_NONE_IF_EMPTY = BeforeValidator(lambda value: value or None)


class Asked(BaseModel):
    """What of the worklist is shown."""

    state: Annotated[VisibleState | None, _NONE_IF_EMPTY] = None
    words: SearchWords = ""
    after: Annotated[str | None, _NONE_IF_EMPTY] = None
    seen: str = ""

    def query(self, **changed: str | None) -> str:
        """The query string of this, with some of it changed; nothing empty in it."""
        said: dict[str, Any] = {"state": self.state, "words": self.words, "after": self.after}
        return urlencode({name: value for name, value in (said | changed).items() if value})


@router.get("/")
def show_worklist(request: Request, asked: Annotated[Asked, Query()]) -> str:
    """The worklist, newest arrival first."""
    return render("worklist.html", asked=asked, live=_live(asked, request.app.state.counting)[0])


@router.get("/live")
def show_live(request: Request, asked: Annotated[Asked, Query()]) -> Response:
    """The moving part of the worklist; 204 where nothing has moved, so the page stays still."""
    html, digest = _live(asked, request.app.state.counting)
    return Response(status_code=204) if digest == asked.seen else HTMLResponse(html)


def _live(asked: Asked, counting: Counting) -> tuple[str, str]:
    with unit_of_work() as session:
        values = {
            "asked": asked,
            "page": worklist.read_page(
                session, state=asked.state, after=asked.after, limit=PAGE, words=asked.words
            ),
            "counts": counting.counts(session),
            "parts": overview.read_parts(session),
            "refused": sum(refusals.count_by_reason(session).values()),
            "expected": overview.EXPECTED_PARTS,
        }
    digest = _digest(render("live.html", **values, digest=""))
    return render("live.html", **values, digest=digest), digest


@router.get("/refusals")
def show_refusals() -> str:
    """What was refused at the door."""
    with unit_of_work() as session:
        return render("refusals.html", refusals=refusals.list_refusals(session, 500))


@router.get("/studies/{study}")
def show_study(study: uuid.UUID) -> str:
    """One study: who it is of, its films, its draft under the warning, and what may be done."""
    with unit_of_work() as session:
        found = whole(session, str(study))
    return render(
        "study.html",
        whole=found,
        row=found.row,
        draft=found.current,
        doubt=worklist.draft_caveat(found.row, found.current.revision) if found.current else "",
        older=[draft for draft in found.drafts if draft is not found.current],
        films=_films(found),
        aside=[i for i in found.instances if i.state != InstanceState.KEPT],
        hold_sentences={str(reason): HOLD_SENTENCES[reason] for reason in HoldReason},
        seen=_digest_of(found),
    )


@router.get("/studies/{study}/changed")
def show_change(study: uuid.UUID, seen: Annotated[str, Query(max_length=64)]) -> Response:
    """Whether the study is still what the page shows; 204 where it is."""
    with unit_of_work() as session:
        found = whole(session, str(study))
    if _digest_of(found) == seen:
        return Response(status_code=204)
    return HTMLResponse(render("changed.html", row=found.row))


async def form(request: Request) -> list[tuple[str, str]]:
    """The fields of a posted form (application/x-www-form-urlencoded)."""
    body = await request.body()
    return parse_qsl(body.decode("utf-8", "replace"), max_num_fields=50)


Form = Annotated[list[tuple[str, str]], Depends(form)]


@router.post("/studies/{study}/decision")
def decide_here(study: uuid.UUID, fields: Form) -> Response:
    """PROCEED or CANCEL, by the form on the study's page."""
    said: dict[str, Any] = dict(fields)
    said["holds"] = [value for name, value in fields if name == "holds"]
    try:
        given = DecisionGiven.model_validate(said)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    with unit_of_work() as session:
        decide(session, str(study), given)
    return _back_to(study)


@router.post("/studies/{study}/retry")
def retry_here(study: uuid.UUID) -> Response:
    """Take a FAILED, SKIPPED or CANCELLED study up again."""
    with unit_of_work() as session:
        requests.retry(session, study_id=studies.get_by_uid(session, str(study)).id)
    return _back_to(study)


@router.post("/studies/{study}/release")
def release_here(study: uuid.UUID) -> Response:
    """End the study's quiet period now."""
    with unit_of_work() as session:
        studies.release(session, str(study))
    return _back_to(study)


def _back_to(study: uuid.UUID) -> Response:
    return RedirectResponse(f"/studies/{study}", status_code=303)


def _films(found: Whole) -> list[dict[str, Any]]:
    """The study's films, those that the model read first, each with what the draft says of it."""
    read: dict[str, Any] = {}
    left: dict[str, Any] = {}
    if found.current is not None:
        read = {view["sop_instance_uid"]: view for view in found.current.views}
        left = {film["sop_instance_uid"]: film for film in found.current.left_out}
    kept = [i for i in found.instances if i.state == InstanceState.KEPT]
    order = {uid: place for place, uid in enumerate([*read, *left])}
    kept.sort(key=lambda film: order.get(film.sop_instance_uid, len(order)))
    return [
        {
            "instance": film,
            "read": read.get(film.sop_instance_uid),
            "left": left.get(film.sop_instance_uid),
        }
        for film in kept
    ]


def _digest_of(found: Whole) -> str:
    """Names what a reader was shown: another state, draft, film or hold gives another."""
    row = found.row
    open_ = sorted(str(hold.id) for hold in found.open_holds)
    return _digest(
        f"{row.state} {row.reason} {row.revision} {row.draft_id} {row.instance_count} {open_}"
    )


def _digest(shown: str) -> str:
    return hashlib.sha256(shown.encode()).hexdigest()[:32]
