"""What orders change of a study: its priority, its due time, and whether a new draft is made.

An order that comes, changes or is cancelled after the draft and before a review makes a new draft,
in the same way as late images, where the draft was made from other texts. A signed report is never
touched.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session

from records.database.draft_tables import Draft, DraftRequest
from records.database.order_tables import Order, StudyOrder, StudyQuery
from records.database.session import interval
from records.database.tables import Study
from records.orders import matching
from records.orders.indications import (
    HEADER_SOURCES,
    Candidate,
    choose,
    order_candidates,
    stored_candidates,
)
from records.settings import settings
from records.states import (
    OPEN,
    EndReason,
    EventKind,
    OrderStatus,
    Priority,
    QueryKind,
    QueryState,
    RequestState,
    StudyState,
)
from records.workflow import events, requests, stored_bytes, withdrawals
from records.workflow.study_lookup import study_keys
from records.workflow.withdrawals import lock_study


def counting_orders(session: Session, study_id: uuid.UUID) -> Sequence[Order]:
    """The orders whose texts count for a study, newest first; cancelled ones do not."""
    return counting(matching.matched_orders(session, study_id))


def counting(orders: Sequence[Order]) -> list[Order]:
    """Those of a study's orders whose texts count for it, in the same order."""
    return [order for order in orders if order.status != OrderStatus.CANCELLED]


def take_up_closed(session: Session, study_ids: Sequence[uuid.UUID]) -> None:
    """Match studies that have just been closed with their orders, in the same transaction.

    A study without an order may wait for it (NIGHTDRAFT_ORDER_WAIT_MINUTES).

    Args:
        session: the transaction of `studies.close_quiet`, which has locked the studies.
        study_ids: what it closed.
    """
    if not study_ids:
        return
    closed = session.scalars(select(Study).where(Study.id.in_(study_ids)).order_by(Study.id)).all()
    with_orders = matching.may_have_orders(session, closed)
    for study in closed:
        # An order that gave it another priority may be gone.
        if study.id in with_orders or study.received_priority is not None:
            orders = counting(match_and_apply(session, study))
        else:
            orders = []
        if not orders:
            _begin_to_wait(session, study)


def take_up_for_preparing(session: Session, study_id: uuid.UUID) -> tuple[Study, list[Order]]:
    """Lock a study that is about to be prepared, with every order that there is.

    An order that is being committed by another transaction is waited for; one that comes later
    finds what was prepared, and compares the texts. Nothing may be locked yet in this transaction.

    Returns:
        The study and the orders that are its own; see `matching.matched_orders`.

    Raises:
        NotFound: no such study.
    """
    study = session.get(Study, study_id)
    if study is not None:
        matching.wait_for_keys(session, study_keys(study))
    study = lock_study(session, study_id)
    return study, match_and_apply(session, study)


def match_and_apply(session: Session, study: Study) -> list[Order]:
    """Match a study that is locked with all its orders, and let them take effect.

    Returns:
        The orders that are the study's; see `matching.matched_orders`.
    """
    orders = matching.match_study(session, study)
    _apply(session, study, counting(orders))
    return orders


def apply_to_study(session: Session, study: Study) -> None:
    """Let the study's orders take effect; the caller has locked the study.

    Args:
        session: the caller's transaction.
        study: the study, with its orders matched.
    """
    _apply(session, study, counting_orders(session, study.id))


def _apply(session: Session, study: Study, orders: Sequence[Order]) -> None:
    _set_priority(session, study, orders)
    session.flush()
    request = session.scalar(
        # Who is about to claim it passes it by until this commit, and then reads the order.
        select(DraftRequest)
        .where(DraftRequest.id == study.request_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if request is None or study.state != StudyState.COMPLETE:
        return  # the sweep calls again when the study is closed
    if request.state in OPEN:
        request.priority = study.priority
        request.due_at = min((order.due_at for order in orders if order.due_at), default=None)
        if request.waits_for_order and orders:
            request.waits_for_order = False
            request.not_before = _reports_wait_until(session, study.id)
            events.append_event(
                session, study.id, EventKind.ORDER, "its order came: it waits no longer", request.id
            )
        session.flush()
    if request.state == RequestState.PREPARED:
        # It has no draft yet. A worker that has it loses its lease, and the case is built anew.
        if is_outdated(orders, request.provenance.get("indications")):
            session.execute(
                requests.move(RequestState.WAITING)
                .where(DraftRequest.id == request.id)
                .values(prepared_blob=None, inputs_digest=None, preprocessing_digest=None)
            )
            events.append_event(
                session,
                study.id,
                EventKind.PREPARE_AGAIN,
                "its orders say something else than what was prepared",
                request.id,
            )
    elif request.state == RequestState.DRAFTED:
        _redraft(session, study, request, orders)


def is_outdated(orders: Sequence[Order], used: Sequence[dict[str, Any]] | None) -> bool:
    """Whether orders now give another indication than the one that was used.

    Args:
        orders: the orders that count, newest first.
        used: the candidates that were chosen from, as request and draft keep them.
    """
    before = stored_candidates(used)
    headers = [candidate for candidate in before if not candidate.order_id]
    order = settings().indication_sources
    now = choose([*order_candidates(orders), *headers], order)
    return now.text != choose(before, order).text


def _redraft(
    session: Session, study: Study, request: DraftRequest, orders: Sequence[Order]
) -> None:
    """Draft a study again whose draft was made from other texts, and that nobody has signed."""
    draft = session.get(Draft, request.draft_id)
    if (
        draft is None
        or draft.superseded_at is not None
        or withdrawals.has_signed_report(session, study.id)
    ):
        return
    used = draft.indications
    if used is None:  # a draft of an earlier version: it knew headers alone
        source = draft.indication_source
        known = [Candidate(source, draft.indication)] if source in HEADER_SOURCES else []
        used = [asdict(candidate) for candidate in known]
    if not is_outdated(orders, used):
        return
    detail = "its orders say something else than what it was drafted from"
    if not _used_orders_count(session, study, used):
        # It was made from the text of another patient's order: nobody may read it.
        withdrawals.start_anew(session, study, EndReason.ORDER_CHANGED, detail)
    elif settings().redraft_on_order and not stored_bytes.lacks_bytes(session, study.id):
        # As with late images the draft stays until the next one is there.
        requests.supersede(session, study.id, EndReason.ORDER_CHANGED, detail)
        study.revision += 1
        study.state = StudyState.RECEIVING
        study.released = False
        study.last_received_at = func.clock_timestamp()
        session.flush()
    else:
        return
    events.append_event(session, study.id, EventKind.ORDER, f"drafted again: {detail}", request.id)


def _used_orders_count(session: Session, study: Study, used: Sequence[dict[str, Any]]) -> bool:
    """Whether each order whose text was taken is still matched, if only as cancelled."""
    taken = {
        uuid.UUID(str(text["order_id"])) for text in used if text["taken"] and text["order_id"]
    }
    matched = session.scalars(
        select(StudyOrder.order_id).where(
            StudyOrder.study_id == study.id,
            StudyOrder.order_id.in_(taken),
            StudyOrder.state.in_(matching.COUNTING),
        )
    )
    return taken == set(matched)


def _set_priority(session: Session, study: Study, orders: Sequence[Order]) -> None:
    """Give the study the most urgent priority of films, calling AE and orders.

    A priority that an order gave goes when the order takes it back, as from STAT to routine. That
    of films and calling AE stays: the order does not know of them. What a person chose stays.
    """
    given = [order.priority for order in orders if order.priority is not None]
    received = study.priority if study.received_priority is None else study.received_priority
    priority = min([received, *given])
    if study.chosen_priority is not None or priority == study.priority:
        return
    study.received_priority = received
    events.append_event(
        session,
        study.id,
        EventKind.ORDER,
        f"priority {Priority(priority).name} in place of {Priority(study.priority).name}",
    )
    study.priority = priority


def _begin_to_wait(session: Session, study: Study) -> None:
    """Let a study for which no order counts wait for one, if its calling AE's studies do."""
    minutes = wait_minutes(study)
    if not minutes:
        return
    until = Study.first_received_at + interval(minutes * 60)
    waiting = session.scalar(
        update(DraftRequest)
        .where(
            DraftRequest.id == study.request_id,
            DraftRequest.state == RequestState.WAITING,
            Study.id == DraftRequest.study_id,
            until > func.clock_timestamp(),
        )
        .values(not_before=until, waits_for_order=True)
        .returning(DraftRequest.id)
        .execution_options(synchronize_session=False)
    )
    if waiting is not None:
        detail = f"it has no order, and waits for it until {minutes:g} min after its first film"
        events.append_event(session, study.id, EventKind.ORDER, detail, waiting)


def end_report_wait(session: Session, study_id: uuid.UUID) -> None:
    """Let a study wait no longer for its patient's earlier reports; for its order it still may."""
    study = lock_study(session, study_id)
    until = Study.first_received_at + interval(wait_minutes(study) * 60)
    session.execute(
        update(DraftRequest)
        .where(
            DraftRequest.id == study.request_id,
            DraftRequest.state.in_([state.value for state in OPEN]),
            DraftRequest.not_before.is_not(None),
            Study.id == DraftRequest.study_id,
        )
        .values(not_before=case((DraftRequest.waits_for_order, until), else_=None))
        .execution_options(synchronize_session=False)
    )


def _reports_wait_until(session: Session, study_id: uuid.UUID) -> dt.datetime | None:
    """Until when a study waits for its patient's earlier reports; None where it does not."""
    return session.scalar(
        select(StudyQuery.wait_until).where(
            StudyQuery.study_id == study_id,
            StudyQuery.kind == QueryKind.REPORTS,
            StudyQuery.state == QueryState.WAITING,
            StudyQuery.wait_until > func.clock_timestamp(),
        )
    )


def wait_minutes(study: Study) -> float:
    """How long a study waits for its order after its first film came; 0 is not at all.

    A STAT study does not wait.
    """
    if study.priority == Priority.STAT:
        return 0.0
    table = settings().order_wait_minutes
    return table.get(study.calling_ae, table.get("*", 0.0))
