"""Reads orders for people: lists of them, one with its history, and those of a study."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, or_, select, tuple_
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.order_tables import Order, OrderChange, OrderKey, ReceivedMessage, StudyOrder
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Study
from records.database.time_marks import TimeMark
from records.errors import NotFound
from records.orders.matching import COUNTING, order_patient
from records.states import MatchState, OrderStatus
from records.workflow import sites
from records.workflow.identifiers import KeyKind, plain_key
from records.workflow.site_lists import newest_visible
from records.workflow.site_scope import is_visible, shows

_SEARCHED = (KeyKind.ACCESSION, KeyKind.PATIENT, KeyKind.STUDY, KeyKind.VISIT)


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Some orders, newest change first; `next` is the mark of the following page, or None."""

    orders: Sequence[Order]
    next: str | None


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """One order with all that is known of it.

    Attributes:
        changes: its history, oldest first.
        studies: the studies that it was matched with, and whether it counts for them.
        messages: the messages that brought it and are still kept, oldest first.
        site_codes: the code of each site, by our id as text; the history has the ids.
    """

    order: Order
    changes: Sequence[OrderChange]
    studies: Sequence[tuple[StudyOrder, Study]]
    messages: Sequence[ReceivedMessage]
    site_codes: Mapping[str, str]

    @property
    def site_code(self) -> str:
        """The code of the site that the order belongs to."""
        return self.site_codes[str(self.order.site_id)]


def read_page(
    session: Session,
    *,
    status: OrderStatus | None = None,
    search: str = "",
    after: str | None = None,
    limit: int = 50,
) -> OrderPage:
    """A page of all orders, or of those that a search finds, newest change first.

    Args:
        session: the caller's transaction.
        status: only orders with this status.
        search: a whole accession number, patient id, study UID or visit number, in any capitals.
        after: the `next` of the page before.
        limit: orders on the page, at most.

    Raises:
        NotAllowed: `after` is not a mark that this function gave.
    """
    query = select(Order)
    if status is not None:
        query = query.where(Order.status == status)
    if search.strip():
        query = query.where(
            Order.id.in_(
                select(OrderKey.order_id).where(
                    OrderKey.kind.in_(_SEARCHED), OrderKey.value == plain_key(search)
                )
            )
        )
    if after is not None:
        mark = TimeMark.parse(after)
        query = query.where(tuple_(Order.changed_at, Order.id) < tuple_(mark.at, mark.id))
    rows = session.scalars(newest_visible(query, Order, Order.changed_at, limit + 1)).all()
    orders = rows[:limit]
    note_look(patients=[order_patient(order) for order in orders])
    is_last = len(rows) <= limit
    return OrderPage(
        orders, None if is_last else str(TimeMark(orders[-1].changed_at, orders[-1].id))
    )


def read_order(session: Session, order_id: uuid.UUID) -> OrderRecord:
    """One order with its history, its studies and its messages.

    Raises:
        NotFound: there is no such order.
    """
    order = session.get(Order, order_id)
    if order is None or not shows(order.site_id):
        raise NotFound("there is no such order")
    changes = session.scalars(
        select(OrderChange).where(OrderChange.order_id == order_id).order_by(OrderChange.id)
    ).all()
    message_ids = {change.message_id for change in changes if change.message_id is not None}
    messages = session.scalars(
        select(ReceivedMessage)
        .where(ReceivedMessage.id.in_(message_ids), is_visible(ReceivedMessage.site_id))
        .order_by(ReceivedMessage.received_at, ReceivedMessage.id)
    ).all()
    studies = session.execute(
        select(StudyOrder, Study)
        .join(Study, Study.id == StudyOrder.study_id)
        .where(StudyOrder.order_id == order_id, is_visible(Study.site_id))
        .order_by(StudyOrder.matched_at, Study.id)
    ).all()
    note_look(study_ids=[row[1].id for row in studies], patients=[order_patient(order)])
    return OrderRecord(
        order,
        changes,
        [(row[0], row[1]) for row in studies],
        messages,
        {str(site_id): code for site_id, code in sites.read_codes(session).items()},
    )


def list_by_message(session: Session, message_id: uuid.UUID) -> list[uuid.UUID]:
    """Our ids of the orders that a message brought or changed."""
    return sorted(
        set(
            session.scalars(
                select(OrderChange.order_id)
                .join(Order, Order.id == OrderChange.order_id)
                .where(OrderChange.message_id == message_id, is_visible(Order.site_id))
            )
        )
    )


def list_by_study(session: Session, study_id: uuid.UUID) -> Sequence[tuple[StudyOrder, Order]]:
    """The orders that a study was matched with, newest change first, with what was decided.

    An order of a site that is not shown is one of them where it counts, for the draft has its
    texts, and where a person must decide about it and nothing says to which site it belongs.
    """
    rows = session.execute(
        select(StudyOrder, Order)
        .join(Order, Order.id == StudyOrder.order_id)
        .where(
            StudyOrder.study_id == study_id,
            or_(
                StudyOrder.state.in_(COUNTING),
                is_visible(Order.site_id),
                and_(StudyOrder.state == MatchState.MISMATCH, Order.site_id == DEFAULT_SITE_ID),
            ),
        )
        .order_by(Order.changed_at.desc(), Order.id.desc())
    ).all()
    note_look(patients=[order_patient(row[1]) for row in rows])
    return [(row[0], row[1]) for row in rows]
