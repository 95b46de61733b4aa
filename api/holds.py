"""Holds with both sides: what REST gives of them, and what the pages show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.hold_schemas import (
    BulkDecisionRequest,
    BulkDecisionResult,
    HeldFilm,
    HoldSides,
    NotDecided,
    OpenHold,
)
from api.hold_sides import list_held_orders, list_held_reports
from api.problems import problem_responses
from api.schemas import Patient
from records import hold_decisions
from records.database.session import snapshot, unit_of_work
from records.database.tables import Hold, Instance, Study
from records.states import HOLD_SENTENCES, HoldReason
from records.workflow import film_decisions, holds
from records.workflow.site_scope import shows_study

router = APIRouter(prefix="/api", tags=["holds"])


def describe(session: Session, rows: Sequence[Hold]) -> list[OpenHold]:
    """Open holds with both sides of each."""
    described = []
    for hold in rows:
        study = session.get_one(Study, hold.study_id)
        reason = HoldReason(hold.reason)
        described.append(
            OpenHold(
                id=hold.id,
                study=hold.study_id,
                patient=Patient(
                    patient_id=study.patient_id,
                    name=study.patient_name,
                    birth_date=study.patient_birth_date,
                    sex=study.patient_sex,
                ),
                reason=reason,
                sentence=HOLD_SENTENCES[reason],
                detail=hold.detail,
                opened_at=hold.opened_at,
                decisions=hold_decisions.label_decisions(session, study, reason),
                sides=[
                    HoldSides(
                        aside=_film(session, side.aside),
                        standing=_film(session, side.standing)
                        if side.standing and _is_shown(session, side.standing)
                        else None,
                    )
                    for side in film_decisions.list_sides(session, hold.study_id, reason)
                ],
                orders=list_held_orders(session, study)
                if reason is HoldReason.ORDER_MISMATCH
                else [],
                reports=list_held_reports(session, study)
                if reason is HoldReason.FINALS_DIFFER
                else [],
            )
        )
    return described


def decide_many(session: Session, decision: BulkDecisionRequest) -> BulkDecisionResult:
    """Decide many holds in the same way; what cannot be decided so stays open."""
    decided, refused = hold_decisions.decide_many(
        session, decision.holds, decision.decision, decision.by, decision.note
    )
    return BulkDecisionResult(
        decided=decided,
        not_decided=[NotDecided(study=study, why=why) for study, why in refused],
    )


def _is_shown(session: Session, instance: Instance) -> bool:
    """Whether a film is of a site that is shown; the other film of a hold may be of another one."""
    return shows_study(session.get_one(Study, instance.study_id))


def _film(session: Session, instance: Instance) -> HeldFilm:
    return HeldFilm.from_rows(instance, session.get_one(Study, instance.study_id))


@router.get("/holds", responses=problem_responses())
def list_holds(
    reason: Annotated[HoldReason | None, Query(description="Only holds for this reason.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[OpenHold]:
    """The open holds of all studies with both sides, oldest first."""
    with snapshot() as session:
        return describe(session, holds.list_open(session, reason, limit))


@router.post("/holds/decision", responses=problem_responses(400, 403, 409, 411, 413))
def decide_holds(decision: BulkDecisionRequest) -> BulkDecisionResult:
    """Decide up to 200 holds in the same way."""
    with unit_of_work() as session:
        return decide_many(session, decision)
