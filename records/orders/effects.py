"""What orders change of a study: its priority, and whether a new draft is made.

An order that comes, changes or is cancelled after the draft and before a review makes a new draft,
in the same way as late images, where the draft was made from other texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from records.database.order_tables import Order, StudyOrder
from records.database.tables import DraftRequest, LiveLease, Study
from records.orders.matching import COUNTING
from records.settings import settings
from records.states import EndReason, EventKind, OrderStatus, RequestState, StudyState
from records.workflow import events, withdrawals


def counting_orders(session: Session, study: Study) -> Sequence[Order]:
    """The orders whose texts count for a study, newest first; cancelled ones do not."""
    return session.scalars(
        select(Order)
        .join(StudyOrder, StudyOrder.order_id == Order.id)
        .where(
            StudyOrder.study_id == study.id,
            StudyOrder.state.in_(COUNTING),
            Order.status != OrderStatus.CANCELLED,
        )
        .order_by(Order.changed_at.desc(), Order.id.desc())
    ).all()


def apply_to_study(session: Session, study: Study) -> None:
    """Let the study's orders take effect; the caller has locked the study.

    Args:
        session: the caller's transaction.
        study: the study, with its orders matched.
    """
    orders = counting_orders(session, study)
    urgent = [order.priority for order in orders if order.priority is not None]
    if urgent and min(urgent) < study.priority:
        study.priority = min(urgent)
        events.append_event(session, study.id, EventKind.ORDER, "the order is more urgent")
    session.flush()
    request = session.scalar(
        # Who is about to claim it passes it by until this commit, and then reads the order.
        select(DraftRequest)
        .where(DraftRequest.id == study.request_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if request is None or study.state != StudyState.COMPLETE:
        return
    if request.state == RequestState.WAITING:
        request.priority = min(request.priority, study.priority)
        request.not_before = None  # it does not wait for its order any longer
        session.flush()
        if not session.scalar(select(exists().where(LiveLease.request_id == request.id))):
            return
    elif request.state not in (RequestState.PREPARED, RequestState.DRAFTED):
        return
    if withdrawals.has_signed_report(session, study.id):
        return
    if request.state == RequestState.DRAFTED and not settings().redraft_on_order:
        return
    withdrawals.start_anew(
        session, study, EndReason.ORDER_CHANGED, "an order came or changed after it was prepared"
    )
