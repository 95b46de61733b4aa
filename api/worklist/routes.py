"""REST of the worklist: its rows, neighbours, saved views, who reads what, changes of several."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from api.access.visitor import current_visitor
from api.problems import problem_responses
from api.readers import account_id, hide_page
from api.schemas import StudyUid
from api.worklist.query import ListFilter, StudyQuery
from api.worklist.schemas import (
    ChangeAnswer,
    Neighbours,
    ReadBy,
    StudyChangeRequest,
    View,
    ViewRequest,
    WorklistAnswer,
)
from records.audit.looks import forget_looks
from records.database.session import snapshot, unit_of_work
from records.errors import NotAllowed, NotFound
from records.workflow import studies, worklist
from records.worklist import changes, locks, row_details, views
from records.worklist.locks import Lock

router = APIRouter(prefix="/api", tags=["worklist"])

_BODY = (400, 403, 404, 409, 411, 413)


@router.get("/worklist", responses=problem_responses(404, 409))
def read_worklist(query: Annotated[StudyQuery, Query()]) -> WorklistAnswer:
    """A page of the worklist with what its rows tell: flags, who reads, what readers made of it."""
    with snapshot() as session:
        page = worklist.read_page(
            session,
            after=query.after,
            before=query.before,
            limit=query.limit,
            **query.select(session).arguments(),
        )
        page = hide_page(session, page)
        return WorklistAnswer.from_page(page, row_details.describe(session, page.rows))


@router.get("/worklist/views", responses=problem_responses(409))
def list_views() -> list[View]:
    """The saved views of the account that asks."""
    with snapshot() as session:
        return [View.model_validate(view) for view in views.list_views(session, _own_account())]


@router.post("/worklist/views", responses=problem_responses(400, 403, 409, 411, 413))
def save_view(request: ViewRequest) -> View:
    """Save a view of the account that asks; one of the same name is replaced."""
    with unit_of_work() as session:
        view = views.save(
            session, _own_account(), request.name, request.query, is_default=request.is_default
        )
        return View.model_validate(view)


@router.delete(
    "/worklist/views/{view_id}", responses=problem_responses(403, 404, 409), status_code=204
)
def remove_view(view_id: uuid.UUID) -> Response:
    """Remove a view of the account that asks."""
    account = account_id()
    if account is None:
        raise NotFound("you have no view of that id")
    with unit_of_work() as session:
        views.remove(session, account, view_id)
    return Response(status_code=204)


@router.post("/worklist/plan", responses=problem_responses(*_BODY))
def plan_change(request: StudyChangeRequest) -> ChangeAnswer:
    """Say what a change of several studies would do to each; nothing is changed."""
    with unit_of_work() as session:
        verdicts = changes.plan(session, request.studies, request.change())
    return ChangeAnswer.from_verdicts(verdicts)


@router.post("/worklist/changes", responses=problem_responses(*_BODY))
def change_studies(request: StudyChangeRequest) -> ChangeAnswer:
    """Change several studies, each by itself: what cannot be changed is named and left alone."""
    verdicts = changes.carry_out(unit_of_work, request.studies, request.change())
    return ChangeAnswer.from_verdicts(verdicts)


@router.get("/studies/{uid}/neighbours", responses=problem_responses(404, 409))
def read_neighbours(uid: StudyUid, query: Annotated[ListFilter, Query()]) -> Neighbours:
    """The studies before and after this one in a list of the worklist."""
    with snapshot() as session:
        id_ = studies.get_by_uid(session, uid).id
        arguments = query.select(session).arguments()
        previous, following = (
            worklist.find_neighbour(session, id_, forward=forward, **arguments)
            for forward in (False, True)
        )
    forget_looks()  # ids of ours, which name nobody
    return Neighbours(previous=previous, next=following)


@router.post("/studies/{uid}/lock", responses=problem_responses(403, 404, 409))
def lock_study(uid: StudyUid) -> ReadBy:
    """Say that the account that asks reads the study; the answer says who has it.

    It ends by itself after NIGHTDRAFT_STUDY_LOCK_SECONDS and stops nobody.
    """
    with unit_of_work() as session:
        return ReadBy.from_lock(take_lock(session, studies.get_by_uid(session, uid).id))


@router.delete("/studies/{uid}/lock", responses=problem_responses(403, 404, 409), status_code=204)
def unlock_study(uid: StudyUid) -> Response:
    """Say that the account that asks reads the study no longer."""
    with unit_of_work() as session:
        locks.release(session, studies.get_by_uid(session, uid).id, _own_account())
    return Response(status_code=204)


def take_lock(session: Session, study_id: uuid.UUID) -> Lock:
    """Take or renew the lock of a study for the account that asks.

    Raises:
        NotAllowed: no account asks.
    """
    visitor = current_visitor()
    own = _own_account()
    assert visitor is not None
    assert visitor.session is not None
    return locks.take(session, study_id, own, visitor.session.name)


def _own_account() -> uuid.UUID:
    account = account_id()
    if account is None:
        raise NotAllowed("this is an account's own: log in as a person")
    return account
