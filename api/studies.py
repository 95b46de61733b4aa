"""REST for studies: pages of them, one with all that is known, and what a person may do to it.

Knows records' questions and verbs, and no SQL; the pages ask the same functions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from api.problems import problems
from api.schemas import (
    Counts,
    DecisionGiven,
    DraftSeen,
    EventSeen,
    HoldSeen,
    InstanceSeen,
    Parts,
    RefusalSeen,
    SearchWords,
    StudyLine,
    StudyPage,
    StudySeen,
    StudyUid,
)
from records.database.session import unit_of_work
from records.database.tables import Draft, Event, Hold, Instance
from records.errors import NotAllowed
from records.operations import overview, refusals
from records.states import VisibleState
from records.workflow import drafts, events, holds, requests, studies, worklist
from records.workflow.worklist import WorklistRow

router = APIRouter(prefix="/api", tags=["studies"])

@dataclass(frozen=True, slots=True)
class Whole:
    """One study with everything that is known of it."""

    row: WorklistRow
    instances: Sequence[Instance]
    drafts: Sequence[Draft]
    holds: Sequence[Hold]
    timeline: Sequence[Event]

    @property
    def current(self) -> Draft | None:
        """The draft that a reader is shown."""
        return next((draft for draft in self.drafts if draft.id == self.row.draft_id), None)

    @property
    def open_holds(self) -> list[Hold]:
        """What a person must decide."""
        return [hold for hold in self.holds if hold.decision is None]


def whole(session: Session, uid: str) -> Whole:
    """Everything of one study, by its UID or our id.

    Raises:
        NotFound: no such study.
    """
    id_ = studies.get_by_uid(session, uid).id
    return Whole(
        row=worklist.read_row(session, id_),
        instances=studies.list_instances(session, id_),
        drafts=drafts.list_by_study(session, id_),
        holds=holds.list_by_study(session, id_),
        timeline=events.timeline(session, id_),
    )


class Counting:
    """Counts that are asked for every two seconds by every open page.

    A count of millions of studies takes a second of the database: such a one is not asked for again
    before REST times as long, and one that is under way serves all who ask meanwhile.
    """

    DEAR = 0.5
    """Seconds; a count that is cheaper is always made anew."""
    REST = 10.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counts | None = None
        self._until = 0.0

    def counts(self, session: Session) -> Counts:
        """Studies by state, and the time left at the present pace."""
        with self._lock:
            began = time.monotonic()
            if self._counts is None or began >= self._until:
                self._counts = count(session)
                took = time.monotonic() - began
                self._until = began + took * (self.REST if took > self.DEAR else 0.0)
            return self._counts


def count(session: Session) -> Counts:
    """Studies by state, and the time left at the present pace."""
    return Counts.of(overview.read_workload(session))


def decide(session: Session, uid: str, given: DecisionGiven) -> None:
    """Close the study's open holds as a person decided who saw just these.

    Raises:
        NotFound: no such study.
        NotAllowed: other holds are open than the person saw; nothing is decided.
    """
    id_ = studies.get_by_uid(session, uid).id
    open_ = {hold.id for hold in holds.list_by_study(session, id_) if hold.decision is None}
    decided = 0
    if open_ and open_ == set(given.holds):
        decided = holds.decide(session, id_, given.decision, given.by, given.note)
    # A hold that opened between the two questions was not seen either.
    if not decided or decided != len(open_):
        raise NotAllowed("the study's open holds are not the ones that were looked at")


@router.get("/studies", responses=problems(409, 422))
def list_studies(
    state: Annotated[VisibleState | None, Query(description="Only studies in this state.")] = None,
    after: Annotated[
        str | None, Query(max_length=200, description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    words: Annotated[
        SearchWords,
        Query(description="Part of a patient id or name, accession number or study UID."),
    ] = "",
) -> StudyPage:
    """Studies with their states and drafts, the newest arrival first."""
    with unit_of_work() as session:
        page = worklist.read_page(session, state=state, after=after, limit=limit, words=words)
    return StudyPage(studies=[StudyLine.of(row) for row in page.rows], next=page.next)


@router.get("/studies/{uid}", responses=problems(404, 422))
def read_study(uid: StudyUid) -> StudySeen:
    """One study with its instances, drafts, holds and timeline."""
    with unit_of_work() as session:
        found = whole(session, uid)
    return StudySeen(
        study=StudyLine.of(found.row),
        instances=[InstanceSeen.of(instance) for instance in found.instances],
        drafts=[DraftSeen.of(draft) for draft in found.drafts],
        holds=[HoldSeen.of(hold) for hold in found.holds],
        timeline=[EventSeen.of(event) for event in found.timeline],
    )


@router.post("/studies/{uid}/release", responses=problems(403, 404, 422))
def release_study(uid: StudyUid) -> StudyLine:
    """End the study's quiet period now: the next sweep closes it."""
    with unit_of_work() as session:
        return StudyLine.of(worklist.read_row(session, studies.release(session, uid)))


@router.post("/studies/{uid}/retry", responses=problems(403, 404, 409, 422))
def retry_study(uid: StudyUid) -> StudyLine:
    """Take a FAILED, SKIPPED or CANCELLED study up again, from the start and with all attempts."""
    with unit_of_work() as session:
        id_ = studies.get_by_uid(session, uid).id
        requests.retry(session, study_id=id_)
        return StudyLine.of(worklist.read_row(session, id_))


@router.post("/studies/{uid}/decision", responses=problems(400, 403, 404, 409, 411, 413, 422))
def decide_study(uid: StudyUid, given: DecisionGiven) -> StudyLine:
    """PROCEED with a held study, or CANCEL its draft."""
    with unit_of_work() as session:
        decide(session, uid, given)
        return StudyLine.of(worklist.read_row(session, studies.get_by_uid(session, uid).id))


@router.get("/counts", responses=problems())
def read_counts(request: Request) -> Counts:
    """Studies by state, the pace, and the time left."""
    counting: Counting = request.app.state.counting
    with unit_of_work() as session:
        return counting.counts(session)


@router.get("/refusals", responses=problems(422))
def list_refusals(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[RefusalSeen]:
    """What was refused at the door, newest first."""
    with unit_of_work() as session:
        return [RefusalSeen.model_validate(line) for line in refusals.list_refusals(session, limit)]


@router.get("/parts", responses=problems())
def list_parts() -> Parts:
    """The running parts, the missing ones and the open alarms."""
    with unit_of_work() as session:
        return Parts.of(overview.read_parts(session))
