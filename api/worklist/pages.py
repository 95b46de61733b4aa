"""The worklist's page, and what it does: views, changes of several studies, the next study.

static/nightdraft.js asks for the part that changes every few seconds. Without it everything works
too, by plain links and forms.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy.orm import Session

from api.forms import FormFields, validate_form
from api.operation_schemas import Counts
from api.readers import account_id, hide_page
from api.rendering import render
from api.schemas import Decider
from api.worklist.query import PriorityName, WorklistQuery
from api.worklist.routes import take_lock
from api.worklist.schemas import ViewRequest
from records.audit.looks import forget_looks
from records.database.session import database_time, snapshot, unit_of_work
from records.errors import NotAllowed
from records.operations import overview, refusals
from records.operations.alarms import runbook_path
from records.states import HoldReason, Priority
from records.workflow import sites, studies, worklist
from records.workflow.search import MATCHES
from records.workflow.site_scope import shows
from records.workflow.worklist_filters import AgeGroup, ListOrder, ReviewStage
from records.worklist import changes, locks, row_details, views
from records.worklist.changes import BulkAction, Change, Verdict

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGE_SIZE = 50
"""Studies on one page of the worklist."""

ListText = Annotated[str, StringConstraints(max_length=views.MOST_QUERY)]

PRIORITIES: tuple[PriorityName, ...] = ("STAT", "URGENT", "ROUTINE", "BACKLOG")

_CHOICES = {
    "order": {
        ListOrder.PRIORITY: "Priority, then newest",
        ListOrder.NEWEST: "Newest first",
        ListOrder.OLDEST: "Oldest first",
    },
    "age": {
        AgeGroup.CHILD: "0 to 17 years",
        AgeGroup.ADULT: "18 to 64 years",
        AgeGroup.OLD: "65 years and more",
        AgeGroup.UNKNOWN: "Not known",
    },
    "review": {
        ReviewStage.OPEN: "Nobody yet",
        ReviewStage.EDITED: "Being written",
        ReviewStage.SIGNED: "Signed",
    },
}


@router.get("/")
def show_worklist(query: Annotated[WorklistQuery, Query()]) -> Response:
    """The worklist; without a query it is the reader's default view."""
    account = account_id()
    with snapshot() as session:
        saved = views.list_views(session, account) if account else ()
        seen_sites = [site for site in sites.list_all(session) if shows(site.id)]
    default = next((view.query for view in saved if view.is_default and view.query), None)
    is_plain = not query.values() and not (query.after or query.before or query.all)
    if is_plain and default is not None:
        return RedirectResponse(f"/?{default}", status_code=303)
    page = render(
        "worklist.html",
        query=query,
        live=render("live.html", **_read_live(query)),
        views=saved,
        sites=seen_sites,
        choices=_CHOICES,
        priorities=PRIORITIES,
        hold_reasons=list(HoldReason),
        may_save=account is not None,
    )
    return HTMLResponse(page)


@router.get("/live")
def show_live(query: Annotated[WorklistQuery, Query()]) -> str:
    """The part of the worklist that changes; only the parts' "last seen" where nothing else did."""
    values = _read_live(query)
    if values["digest"] == query.seen:
        forget_looks()  # the browser shows these studies already, and this answer names none
    return render("parts.html" if values["digest"] == query.seen else "live.html", **values)


def _read_live(query: WorklistQuery) -> dict[str, Any]:
    """What the changing part of the worklist shows, and a digest that no passing second changes."""
    with snapshot() as session:
        parts = overview.read_parts(session)
        page = worklist.read_page(
            session,
            after=query.after,
            before=query.before,
            limit=PAGE_SIZE,
            **query.select(session).arguments(),
        )
        page = hide_page(session, page)
        values = {
            "query": query,
            "page": page,
            "details": row_details.describe(session, page.rows),
            "own_account": account_id(),
            "counts": Counts.from_workload(overview.read_workload(session, parts)),
            "parts": parts,
            "matches_shown": MATCHES,
            "refused": sum(refusals.count_by_reason(session).values()),
            "open_messages": overview.count_open_messages(session),
            "many_messages": overview.OPEN_MESSAGES_COUNTED,
            "runbook_path": runbook_path,
        }
        now = database_time(session)
    text = render("live.html", **values, digest="", now=None)
    return values | {"digest": hashlib.sha256(text.encode()).hexdigest()[:32], "now": now}


# -- The next study of a list, and who reads it --


@router.get("/studies/{study}/next")
def go_next(study: uuid.UUID, listed: Annotated[ListText, Query(alias="list")] = "") -> Response:
    """The next study of a list; at its end the worklist."""
    return _go(study, listed, forward=True)


@router.get("/studies/{study}/previous")
def go_previous(
    study: uuid.UUID, listed: Annotated[ListText, Query(alias="list")] = ""
) -> Response:
    """The study before this one in a list; at its beginning the worklist."""
    return _go(study, listed, forward=False)


def _go(study: uuid.UUID, listed: str, *, forward: bool) -> Response:
    query = WorklistQuery.of_list(listed)
    with snapshot() as session:
        id_ = studies.get_by_uid(session, str(study)).id
        found = worklist.find_neighbour(
            session, id_, forward=forward, **query.select(session).arguments()
        )
    forget_looks()  # the page that follows shows the study
    if found is None:
        return RedirectResponse(f"/?{query.listed}#study-{study}", status_code=303)
    return RedirectResponse(
        f"/studies/{found}?{urlencode({'list': query.listed})}", status_code=303
    )


@router.post("/studies/{study}/lock")
def post_lock(study: uuid.UUID) -> Response:
    """Renew the lock while the study's page is open; a line where somebody else reads it."""
    with unit_of_work() as session:
        id_ = studies.get_by_uid(session, str(study)).id
        lock = take_lock(session, id_) if account_id() else locks.find(session, [id_]).get(id_)
    forget_looks()
    if lock is None or lock.account_id == account_id():
        return Response(status_code=204)
    return HTMLResponse(render("reader.html", reader=lock))


@router.post("/studies/{study}/unlock")
def post_unlock(study: uuid.UUID) -> Response:
    """End the own lock: the study's page was left."""
    account = account_id()
    with unit_of_work() as session:
        id_ = studies.get_by_uid(session, str(study)).id
        if account is not None:
            locks.release(session, id_, account)
    forget_looks()
    return Response(status_code=204)


def other_reader(session: Session, study_id: uuid.UUID) -> locks.Lock | None:
    """Who else reads a study now; None where nobody does."""
    lock = locks.find(session, [study_id]).get(study_id)
    return None if lock is None or lock.account_id == account_id() else lock


# -- Saved views --


class _ViewForm(ViewRequest):
    """The form that saves a view."""


@router.post("/worklist/views")
def post_view(fields: FormFields) -> Response:
    """Save the view that the page shows."""
    values = dict(fields)
    form = validate_form(_ViewForm, values | {"is_default": values.get("is_default") == "on"})
    query = WorklistQuery.of_list(form.query).listed
    with unit_of_work() as session:
        account = account_id()
        if account is None:
            raise NotAllowed("a view is an account's own: log in as a person")
        views.save(session, account, form.name, query, is_default=form.is_default)
    return RedirectResponse(f"/?{query}", status_code=303)


@router.post("/worklist/views/{view_id}/remove")
def post_view_removal(view_id: uuid.UUID) -> Response:
    """Remove an own view."""
    with unit_of_work() as session:
        account = account_id()
        if account is None:
            raise NotAllowed("a view is an account's own: log in as a person")
        views.remove(session, account, view_id)
    return RedirectResponse("/?all=1", status_code=303)


# -- Changes of several studies --


class _ChangeForm(BaseModel):
    """Which studies are ticked, and what is to be done: RETRY, CANCEL, or a priority's name."""

    studies: Annotated[list[uuid.UUID], Field(max_length=changes.MOST_STUDIES)]
    change: Literal["RETRY", "CANCEL", "STAT", "URGENT", "ROUTINE", "BACKLOG"]
    back: ListText = ""

    def wanted(self, by: str) -> Change:
        """The change of `records`."""
        if self.change in PRIORITIES:
            return Change(BulkAction.PRIORITY, Priority[self.change], by)
        return Change(BulkAction(self.change), None, by)


class _ConfirmedForm(_ChangeForm):
    """The same, confirmed by a person."""

    by: Decider = ""


def _form_values(fields: list[tuple[str, str]]) -> dict[str, Any]:
    return dict(fields) | {"studies": [value for name, value in fields if name == "studies"]}


@router.post("/worklist/change")
def post_change(fields: FormFields) -> str:
    """Ask before several studies are changed: how many, of which kinds, and which are not."""
    form = validate_form(_ChangeForm, _form_values(fields))
    with unit_of_work() as session:
        verdicts = changes.plan(session, form.studies, form.wanted(""))
    return _show_change("bulk.html", form, verdicts)


@router.post("/worklist/change/confirmed")
def post_confirmed_change(fields: FormFields) -> str:
    """Change the studies, and say of each what became of it."""
    form = validate_form(_ConfirmedForm, _form_values(fields))
    verdicts = changes.carry_out(unit_of_work, form.studies, form.wanted(form.by))
    return _show_change("bulk_done.html", form, verdicts)


def _show_change(template: str, form: _ChangeForm, verdicts: list[Verdict]) -> str:
    kinds: dict[str, int] = {}
    for verdict in verdicts:
        if not verdict.why_not and verdict.state is not None:
            kinds[verdict.state] = kinds.get(verdict.state, 0) + 1
    return render(
        template,
        change=form.change,
        changed=[verdict for verdict in verdicts if not verdict.why_not],
        left=[verdict for verdict in verdicts if verdict.why_not],
        kinds=kinds,
        back=WorklistQuery.of_list(form.back).listed,
    )
