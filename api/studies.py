"""REST for studies: lists of them, one with all that is known, and what a person may do to it.

The pages read and decide through the same functions.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api import draft_schemas, hold_schemas, related_schemas, study_schemas
from api.hold_schemas import DecisionRequest
from api.holds import describe
from api.list_queries import PageLimit, PageMark
from api.operation_schemas import Counts, Parts, PastAlarm, Refusal
from api.problems import problem_responses
from api.readers import hide_page, hides
from api.schemas import EventMark, SearchText, StudyUid
from api.study_schemas import (
    ReinstatementRequest,
    SiteMoveRequest,
    StudyDetail,
    StudyPage,
    StudySummary,
    WithdrawalRequest,
)
from api.times import Time
from records import hold_decisions, site_moves
from records.database.draft_tables import Draft, DraftRequest
from records.database.order_tables import Order, StudyOrder
from records.database.report_tables import FinalComparison, ReceivedReport
from records.database.session import snapshot, unit_of_work
from records.database.site_tables import Site
from records.database.tables import Event, Hold, Instance, Rejection, StudyChange
from records.operations import overview, refusals, troubles
from records.orders import reading as order_reading
from records.reports import reading as report_reading
from records.states import VisibleState, Withheld
from records.workflow import (
    corrections,
    drafts,
    events,
    holds,
    rejections,
    requests,
    studies,
    withdrawals,
    worklist,
    worklist_rows,
)
from records.workflow.showing import find_withheld
from records.workflow.worklist_rows import WorklistRow

router = APIRouter(prefix="/api", tags=["studies"])


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """One study with everything that is known of it, as rows.

    Attributes:
        modalities: the modality of each series, by our id of the series.
        orders: the orders that it was matched with, newest change first.
        reports: what other systems reported of it, newest first; no older versions.
        comparisons: how far these reports are from its drafts, newest first.
        withheld: its drafts that are shown to nobody, each with why; they are not among `drafts`.
        request: its newest request; None while images are still coming.
        timeline: the newest lines of the timeline, or those before the mark that was asked for.
        earlier: the mark of the lines before these; None where there are none.
        site: the site that it belongs to.
        other_sites: those to which who asks may move it.
    """

    row: WorklistRow
    instances: Sequence[Instance]
    modalities: Mapping[UUID, str]
    drafts: Sequence[Draft]
    withheld: Sequence[tuple[Draft, Withheld]]
    holds: Sequence[Hold]
    rejections: Sequence[Rejection]
    changes: Sequence[StudyChange]
    open_holds: Sequence[hold_schemas.OpenHold]
    orders: Sequence[tuple[StudyOrder, Order]]
    reports: Sequence[ReceivedReport]
    comparisons: Sequence[FinalComparison]
    request: DraftRequest | None
    timeline: Sequence[Event]
    earlier: int | None
    site: Site
    other_sites: Sequence[Site]

    @property
    def current_draft(self) -> Draft | None:
        """The draft that a reader is shown; None where there is none."""
        return next((draft for draft in self.drafts if draft.id == self.row.draft_id), None)

    @property
    def current_withheld(self) -> Withheld | None:
        """Why the current draft is shown to nobody; None where there is none, or it is shown."""
        return self.row.withheld

    @property
    def waits_for_order_until(self) -> dt.datetime | None:
        """Until when it waits for its order; None where it does not."""
        request = self.request
        return request.not_before if request is not None and request.waits_for_order else None


def load_study(session: Session, uid: str, before: int | None = None) -> StudyRecord:
    """Read everything of one study.

    Args:
        session: the caller's transaction.
        uid: its Study Instance UID, or our id.
        before: the mark before which the timeline's lines are read; None reads the newest ones.

    Raises:
        NotFound: no such study.
    """
    study = studies.get_by_uid(session, uid)
    id_ = study.id
    all_holds = holds.list_by_study(session, id_)
    all_drafts = drafts.list_by_study(session, id_)
    withheld = find_withheld(session, [draft.id for draft in all_drafts])
    # One line more than is shown tells whether there are earlier ones.
    lines = events.timeline(session, id_, before=before, limit=events.TIMELINE_LINES + 1)
    shown = lines[-events.TIMELINE_LINES :]
    return StudyRecord(
        row=worklist_rows.read_row(session, id_),
        instances=studies.list_instances(session, id_),
        modalities=studies.list_modalities(session, id_),
        drafts=[draft for draft in all_drafts if draft.id not in withheld],
        withheld=[(draft, withheld[draft.id]) for draft in all_drafts if draft.id in withheld],
        holds=all_holds,
        rejections=rejections.list_by_study(session, study.study_instance_uid),
        changes=corrections.list_changes(session, id_),
        open_holds=describe(session, [hold for hold in all_holds if hold.decision is None]),
        orders=order_reading.list_by_study(session, id_),
        reports=report_reading.list_by_study(session, study),
        comparisons=[
            comparison
            for comparison in report_reading.list_comparisons(session, id_)
            if comparison.draft_id not in withheld
        ],
        request=session.get(DraftRequest, study.request_id) if study.request_id else None,
        timeline=shown,
        earlier=shown[0].id if len(lines) > len(shown) else None,
        site=session.get_one(Site, study.site_id),
        other_sites=site_moves.list_targets(session, id_),
    )


def count_studies(session: Session) -> Counts:
    """Count the studies by state, with the time left at the present pace, or why there is none."""
    return Counts.from_workload(overview.read_workload(session, overview.read_parts(session)))


def decide(session: Session, uid: str, decision: DecisionRequest) -> None:
    """Close the study's open holds as a person decided who saw these.

    Raises:
        NotFound: no such study.
        NotAllowed: other holds are open than the person saw, or none of them can be decided so;
            nothing is decided.
    """
    id_ = studies.get_by_uid(session, uid).id
    hold_decisions.decide(
        session, id_, decision.decision, decision.by, decision.note, decision.holds
    )


def withdraw(session: Session, uid: str, withdrawal: WithdrawalRequest) -> None:
    """Withdraw the study's current draft.

    Raises:
        NotFound: no such study.
        NotAllowed: there is no draft, another one than was looked at, or its report is signed.
    """
    id_ = studies.get_by_uid(session, uid).id
    withdrawals.withdraw(session, id_, withdrawal.by, withdrawal.reason, withdrawal.draft)


def move(session: Session, uid: str, request: SiteMoveRequest) -> None:
    """Move the study to another site; who asks sees both.

    Raises:
        NotFound: no such study or site.
        NotAllowed: it belongs there already.
    """
    id_ = studies.get_by_uid(session, uid).id
    site_moves.move_study(session, id_, request.site, request.by, request.because)


def reinstate(session: Session, uid: str, request: ReinstatementRequest) -> None:
    """Take the rejections of the study's films back.

    Raises:
        NotFound: no such study.
        NotAllowed: no film of the study is rejected.
    """
    id_ = studies.get_by_uid(session, uid).id
    rejections.reinstate(session, id_, request.by, request.note)


@router.get("/studies", responses=problem_responses(409))
def list_studies(
    state: Annotated[VisibleState | None, Query(description="Only studies in this state.")] = None,
    since: Annotated[
        Time | None,
        Query(description="Only studies that arrived since then; UTC where no zone is given."),
    ] = None,
    after: PageMark = None,
    limit: PageLimit = 50,
    words: Annotated[
        SearchText,
        Query(
            description="A patient id, accession number or study UID; the beginning of an id, a "
            "number or a name; or whole words of these, in any order."
        ),
    ] = "",
) -> StudyPage:
    """Studies with their states and drafts, in the order of the worklist."""
    with snapshot() as session:
        page = worklist.read_page(
            session,
            state=state,
            since=since and (since if since.tzinfo else since.replace(tzinfo=dt.UTC)),
            after=after,
            limit=limit,
            search=words,
        )
        page = hide_page(session, page)
    return StudyPage.from_page(page)


@router.get("/studies/{uid}", responses=problem_responses(404))
def read_study(
    uid: StudyUid,
    before: Annotated[
        EventMark | None,
        Query(description="`earlier` of an answer: earlier lines of the timeline."),
    ] = None,
) -> StudyDetail:
    """One study with its instances, drafts, holds and the newest lines of its timeline."""
    with snapshot() as session:
        record = load_study(session, uid, before)
        draft = record.current_draft
        is_hidden = draft is not None and hides(session, draft)
    if is_hidden:
        row = dataclasses.replace(record.row, findings="", impression="")
        record = dataclasses.replace(record, row=row, drafts=(), comparisons=())
    return StudyDetail(
        study=StudySummary.from_row(record.row),
        instances=[
            study_schemas.Instance.from_row(instance, record.modalities[instance.series_id])
            for instance in record.instances
        ],
        drafts=[draft_schemas.Draft.from_row(draft) for draft in record.drafts],
        withheld=[
            draft_schemas.WithheldDraft.from_row(draft, why) for draft, why in record.withheld
        ],
        draft_hidden=is_hidden,
        holds=[hold_schemas.Hold.from_row(hold) for hold in record.holds],
        rejections=[study_schemas.Rejection.from_row(rejection) for rejection in record.rejections],
        changes=[study_schemas.StudyChange.model_validate(change) for change in record.changes],
        orders=[
            related_schemas.StudyOrder.from_rows(match, order) for match, order in record.orders
        ],
        reports=[
            related_schemas.StudyReport.from_row(report, record.comparisons)
            for report in record.reports
        ],
        waits_for_order_until=record.waits_for_order_until,
        timeline=[study_schemas.Event.from_row(event) for event in record.timeline],
        earlier=record.earlier,
    )


@router.post("/studies/{uid}/release", responses=problem_responses(403, 404, 409))
def release_study(uid: StudyUid) -> StudySummary:
    """End the study's quiet period now: the next sweep closes it."""
    with unit_of_work() as session:
        return _summary(session, studies.release(session, uid))


@router.post("/studies/{uid}/retry", responses=problem_responses(403, 404, 409))
def retry_study(uid: StudyUid) -> StudySummary:
    """Take a FAILED, SKIPPED or CANCELLED study up again, from the start and with all attempts."""
    with unit_of_work() as session:
        id_ = studies.get_by_uid(session, uid).id
        requests.retry(session, study_id=id_)
        return _summary(session, id_)


@router.post("/studies/{uid}/decision", responses=problem_responses(400, 403, 404, 409, 411, 413))
def decide_study(uid: StudyUid, decision: DecisionRequest) -> StudySummary:
    """Decide a held study: PROCEED, CANCEL its draft, or say which of two films counts."""
    with unit_of_work() as session:
        decide(session, uid, decision)
        return _summary(session, studies.get_by_uid(session, uid).id)


@router.post("/studies/{uid}/withdraw", responses=problem_responses(400, 403, 404, 409, 411, 413))
def withdraw_draft(uid: StudyUid, withdrawal: WithdrawalRequest) -> StudySummary:
    """Withdraw a study's draft: it stays on record and is no longer shown as the study's own."""
    with unit_of_work() as session:
        withdraw(session, uid, withdrawal)
        return _summary(session, studies.get_by_uid(session, uid).id)


@router.post("/studies/{uid}/reinstate", responses=problem_responses(400, 403, 404, 409, 411, 413))
def reinstate_films(uid: StudyUid, reinstatement: ReinstatementRequest) -> StudySummary:
    """Let films count again that a rejection note rejected; a new draft is made."""
    with unit_of_work() as session:
        reinstate(session, uid, reinstatement)
        return _summary(session, studies.get_by_uid(session, uid).id)


@router.post("/studies/{uid}/site", responses=problem_responses(400, 403, 404, 409, 411, 413))
def move_study(uid: StudyUid, request: SiteMoveRequest) -> StudySummary:
    """Let a study belong to another site, with all that is its own; only who sees both may."""
    with unit_of_work() as session:
        move(session, uid, request)
        return _summary(session, studies.get_by_uid(session, uid).id)


@router.get("/counts", responses=problem_responses())
def read_counts() -> Counts:
    """Studies by state, the pace, and the time left."""
    with snapshot() as session:
        return count_studies(session)


@router.get("/refusals", responses=problem_responses())
def list_refusals(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[Refusal]:
    """What was refused, newest first."""
    with snapshot() as session:
        return [Refusal.model_validate(row) for row in refusals.list_refusals(session, limit)]


@router.get("/parts", responses=problem_responses())
def list_parts() -> Parts:
    """The running parts, the missing ones, the open alarms, and a light for each part."""
    with snapshot() as session:
        return Parts.from_overview(overview.read_parts(session))


@router.get("/alarms", responses=problem_responses())
def list_alarms(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[PastAlarm]:
    """The newest alarms, open and closed, with the messages about them, newest first."""
    with snapshot() as session:
        return [PastAlarm.from_history(entry) for entry in troubles.list_history(session, limit)]


def _summary(session: Session, id_: UUID) -> StudySummary:
    return StudySummary.from_row(worklist_rows.read_row(session, id_))
