"""What a person decides about a study's open holds, and what follows from it."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from records.database.draft_tables import DraftRequest
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Hold, Study
from records.errors import NotAllowed, NotFound
from records.orders import effects, matching
from records.states import (
    DECISION_LABELS,
    HOLD_DECISIONS,
    OPEN,
    Decision,
    EndReason,
    EventKind,
    HoldReason,
)
from records.workflow import events, film_decisions, holds, rejections, requests, withdrawals
from records.workflow.site_scope import is_visible, shows
from records.workflow.withdrawals import lock_study

GENERAL_LABELS = {
    Decision.PROCEED: "Proceed with the draft",
    Decision.CANCEL: "Cancel: withdraw the draft, or make none",
}
"""The words on the buttons that every hold has, whatever its study is."""


def label_reason(reason: HoldReason) -> dict[Decision, str]:
    """What may be decided about every hold for a reason, in the words of its buttons."""
    decisions = (Decision.PROCEED, *HOLD_DECISIONS.get(reason, ()), Decision.CANCEL)
    return {
        decision: DECISION_LABELS.get((reason, decision)) or GENERAL_LABELS[decision]
        for decision in decisions
    }


def label_decisions(session: Session, study: Study, reason: HoldReason) -> dict[Decision, str]:
    """What may be decided about a hold of a study, and what each decision does to its draft."""
    labels = label_reason(reason)
    state = session.scalar(select(DraftRequest.state).where(DraftRequest.id == study.request_id))
    is_open = state is None or state in OPEN
    is_signed = withdrawals.has_signed_report(session, study.id)
    if withdrawals.current_draft(session, study.id) is not None:
        kept, cancelled = "The draft stays, too", "withdraw the draft"
    elif is_open:
        kept, cancelled = "The study is drafted", "make no draft"
    else:
        kept, cancelled = "There is no draft", "leave the study without a draft"
    if is_signed:
        cancelled += ". The signed report stays, but is no longer trained on or used as a prior"
    labels[Decision.CANCEL] = f"Cancel: {cancelled}"
    if reason is HoldReason.FINALS_DIFFER:
        labels[Decision.PROCEED] += f". {kept}"
    return labels


def decide(
    session: Session,
    study_id: uuid.UUID,
    decision: Decision,
    by: str,
    note: str = "",
    hold_ids: Collection[uuid.UUID] | None = None,
) -> int:
    """Close open holds of the study as a person decided.

    PROCEED lets the study go on with the objects that are kept. CANCEL ends its request and
    withdraws its draft, which stays on record and is no longer shown as the study's own. A report
    that was signed of it stays, and is no longer trained on. Images that are still coming do not
    change that, nor does a final from elsewhere that is cancelled; `requests.retry` does. Both
    close all open holds. The
    other decisions say which films or orders count, and close the holds that they solve
    (`HOLD_DECISIONS`); the rest stays open.

    Args:
        session: the caller's transaction.
        study_id: the study.
        decision: what the person decided.
        by: who decided.
        note: why.
        hold_ids: the holds that the person looked at; None takes all. PROCEED and CANCEL need all.

    Returns:
        How many holds of the study were closed.

    Raises:
        NotFound: the study has no open hold.
        NotAllowed: other holds are open than were looked at, or none can be decided so.
    """
    for id_ in sorted(_involved(session, study_id)):
        if not shows(lock_study(session, id_).site_id):
            raise NotAllowed("the other study is of another site: who sees both sites decides")
    if not all(
        order.site_id == DEFAULT_SITE_ID or shows(order.site_id)
        for order in matching.list_mismatches(session, study_id)
    ):
        raise NotAllowed("the order is of another site: who sees both sites decides")
    study = lock_study(session, study_id)
    open_holds = holds.list_open_of_study(session, study_id)
    if not open_holds and hold_ids is None:
        raise NotFound("the study has no open hold")
    chosen = [
        hold
        for hold in open_holds
        if decision in (Decision.PROCEED, Decision.CANCEL)
        or decision in HOLD_DECISIONS.get(HoldReason(hold.reason), ())
    ]
    if hold_ids is not None:
        seen = set(hold_ids)
        is_general = decision in (Decision.PROCEED, Decision.CANCEL)
        if not seen <= {hold.id for hold in open_holds} or (is_general and len(chosen) > len(seen)):
            raise NotAllowed("the study's open holds are not the ones that were looked at")
        chosen = [hold for hold in chosen if hold.id in seen]
    if not chosen:
        raise NotAllowed(f"no open hold of the study can be decided with {decision}")
    for hold in chosen:
        reason = HoldReason(hold.reason)
        if reason is HoldReason.REJECTION_UNCLEAR:
            rejections.settle_unclear(session, study, decision, by)
        elif reason is HoldReason.ORDER_MISMATCH:
            is_accepted = decision is Decision.TAKE_NEW
            matching.decide_mismatches(session, study, by, is_accepted=is_accepted)
        else:
            film_decisions.carry_out(session, study, reason, decision, by)
    for hold in chosen:
        hold.decision, hold.decided_at = decision, func.now()
        hold.decided_by, hold.note = by, note
    session.flush()
    reasons = ", ".join(hold.reason for hold in chosen)
    events.append_event(session, study_id, EventKind.DECIDED, f"{decision} by {by}: {reasons}")
    if decision is Decision.CANCEL:
        detail = f"held ({reasons}), and cancelled by {by}"
        withdrawals.cancel(session, study, detail, EndReason.DECIDED)
        requests.keep_cancelled(session, study, detail)
    elif any(hold.reason == HoldReason.ORDER_MISMATCH for hold in chosen):
        effects.apply_to_study(session, study)
    return len(chosen)


def decide_many(
    session: Session, hold_ids: Collection[uuid.UUID], decision: Decision, by: str, note: str = ""
) -> tuple[int, list[tuple[uuid.UUID, str]]]:
    """Decide holds of many studies in the same way; what cannot be decided so stays open.

    Args:
        session: the caller's transaction.
        hold_ids: the holds that the person looked at.
        decision: what the person decided.
        by: who decided.
        note: why.

    Returns:
        How many holds were closed, and for each study whose holds stay open its id and the reason.
    """
    seen = session.scalars(
        select(Hold)
        .join(Study, Study.id == Hold.study_id)
        .where(Hold.id.in_(hold_ids), Hold.decision.is_(None), is_visible(Study.site_id))
    ).all()
    refused = []
    for study_id in sorted({hold.study_id for hold in seen}):
        ids = {hold.id for hold in seen if hold.study_id == study_id and hold.decision is None}
        if not ids:
            continue  # it was closed with the other study of a moved film
        try:
            with session.begin_nested():
                decide(session, study_id, decision, by, note, ids)
        except NotAllowed as error:
            refused.append((study_id, str(error)))
    for hold in seen:
        session.refresh(hold)
    return sum(hold.decision is not None for hold in seen), refused


def _involved(session: Session, study_id: uuid.UUID) -> set[uuid.UUID]:
    """The studies that a decision may change: one of two studies may hold the film that counts."""
    ids = {study_id}
    for hold in holds.list_open_of_study(session, study_id):
        ids |= film_decisions.involved_studies(session, study_id, HoldReason(hold.reason))
    return ids
