"""Taking an order in: its row, its history, and what it changes of studies."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.order_tables import Order, OrderChange, OrderKey
from records.database.site_tables import DEFAULT_SITE_ID
from records.errors import MessageError, NotFound
from records.orders import effects, matching
from records.orders.identities import order_number_keys, resolve_identities
from records.orders.order import OrderAction, ReceivedOrder
from records.received_text import clean_line
from records.states import ChangeOrigin, OrderChangeKind, OrderStatus, Origin
from records.workflow.identifiers import make_keys, patient_ids
from records.workflow.patient_aliases import resolve_columns
from records.workflow.site_scope import shows
from records.workflow.sites import sites_of_senders
from records.workflow.withdrawals import lock_study


class OrderOutcome(StrEnum):
    """What `receive_order` did."""

    PLACED = "PLACED"
    CHANGED = "CHANGED"
    UNCHANGED = "UNCHANGED"
    CANCELLED = "CANCELLED"
    REINSTATED = "REINSTATED"
    OUTDATED = "OUTDATED"


@dataclass(frozen=True, slots=True)
class ReceivedOrderResult:
    """What was done with an order: our id of it, and the studies for which it counts."""

    order_id: uuid.UUID
    outcome: OrderOutcome
    study_ids: tuple[uuid.UUID, ...]


_STATUS = {
    OrderAction.PLACE: OrderStatus.ACTIVE,
    OrderAction.CHANGE: OrderStatus.ACTIVE,
    OrderAction.COMPLETE: OrderStatus.COMPLETED,
    OrderAction.CANCEL: OrderStatus.CANCELLED,
}

# Built once, with its rows as parameters: SQLAlchemy takes longer to build a statement with its
# rows in it than PostgreSQL to answer it.
_INSERT = (
    insert(Order).on_conflict_do_nothing(index_elements=["identity"]).returning(Order.identity)
)


def receive_order(
    session: Session,
    received: ReceivedOrder,
    message_id: uuid.UUID | None = None,
    *,
    identity: str = "",
) -> ReceivedOrderResult:
    """Make, change or cancel one order; see `receive_orders`.

    Args:
        session: the caller's transaction.
        received: the order as sent.
        message_id: the row of `received_messages` that brought it.
        identity: which order it is, where the interface says that by an address of its own.

    Raises:
        MessageError: nothing in it identifies an order or a patient.
    """
    if identity:
        received = replace(received, known_identity=identity)
    return receive_orders(session, [received], [message_id])[0]


def receive_orders(
    session: Session,
    received: Sequence[ReceivedOrder],
    message_ids: Sequence[uuid.UUID | None] = (),
) -> list[ReceivedOrderResult]:
    """Make, change or cancel orders, and apply them to the studies that they are for.

    The same order again changes nothing. A message that is older than the last one (by the sender's
    clock) is kept in the history and changes nothing else. The caller answers the sender after his
    commit. Who has several orders for one transaction gives them in one call: orders and
    studies are each locked in one sequence, so that no two transactions wait for each other, and
    many new orders take hardly more statements than one.

    Args:
        session: the caller's transaction.
        received: the orders as sent.
        message_ids: for each order the row of `received_messages` that brought it; empty where no
            message did.

    A new order belongs to the site of its sender (`records.workflow.sites`).

    Returns:
        What was done, in the sequence of `received`.

    Raises:
        MessageError: nothing in one of them identifies an order or a patient, or it is an order of
            a site that the caller does not see.
        NotAllowed: the caller does not see all sites, and the sender is of none that it sees.
    """
    for order in received:
        check_order(order)
    keys = {
        key
        for order in received
        for key in make_keys(accession=order.accession_numbers, study=order.study_instance_uids)
    }
    matching.hold_keys(session, keys)
    received = resolve_identities(session, received)
    sites = sites_of_senders(session, {order.sender for order in received})
    arrivals = [
        _Arrival(order, message_id, sites.get(order.sender, DEFAULT_SITE_ID))
        for order, message_id in zip(received, message_ids or [None] * len(received), strict=True)
    ]
    for rows in _rounds(arrivals):
        _store(session, rows)
    effective = {
        arrival.row.id: arrival.row
        for arrival in arrivals
        if arrival.outcome not in (OrderOutcome.UNCHANGED, OrderOutcome.OUTDATED)
    }
    counting = apply_orders(session, list(effective.values()))
    return [
        ReceivedOrderResult(
            arrival.row.id, arrival.outcome, tuple(counting.get(arrival.row.id, ()))
        )
        for arrival in arrivals
    ]


@dataclass(slots=True, eq=False)
class _Arrival:
    """An order that is being taken in.

    Attributes:
        received: as it was sent.
        message_id: the message that brought it.
        site_id: the site of its sender.
        row, outcome: its row, and what was done; known once it is stored.
    """

    received: ReceivedOrder
    message_id: uuid.UUID | None
    site_id: uuid.UUID
    row: Order = field(init=False)
    outcome: OrderOutcome = field(init=False)


def _rounds(arrivals: Sequence[_Arrival]) -> list[list[_Arrival]]:
    """The arrivals in rounds, each sorted by identity and with one arrival of an order at most."""
    rounds: list[list[_Arrival]] = []
    counts: Counter[str] = Counter()
    for arrival in arrivals:
        number = counts[arrival.received.identity]
        counts[arrival.received.identity] += 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(arrival)
    return [sorted(group, key=lambda arrival: arrival.received.identity) for group in rounds]


def check_order(received: ReceivedOrder) -> None:
    """Check that an order can be kept.

    Raises:
        MessageError: nothing in it identifies an order or a patient.
    """
    if not received.identity:
        raise MessageError("the order has no number, no accession number and no study UID")
    if not clean_line(received.patient.patient_id):
        raise MessageError("the order names no patient id")


def apply_orders(session: Session, orders: Sequence[Order]) -> dict[uuid.UUID, list[uuid.UUID]]:
    """Match orders that are new or have changed with their studies, and let them take effect.

    Args:
        session: the caller's transaction, which has locked the orders.
        orders: the orders, with their keys written.

    Returns:
        The studies for which each order counts, by the order's id.
    """
    by_study: dict[uuid.UUID, list[Order]] = {}
    for order in matching.orders_with_studies(session, orders):
        for study_id in matching.find_studies(session, order):
            by_study.setdefault(study_id, []).append(order)
    counting: dict[uuid.UUID, list[uuid.UUID]] = {}
    for study_id in sorted(by_study):
        study = lock_study(session, study_id)
        for order in by_study[study_id]:
            if matching.match(session, study, order) in matching.COUNTING:
                counting.setdefault(order.id, []).append(study_id)
        matching.close_settled_hold(session, study)
        effects.apply_to_study(session, study)
    return counting


def _store(session: Session, arrivals: Sequence[_Arrival]) -> None:
    """Write rows, history and keys of different orders, which are sorted by identity."""
    columns = resolve_columns(session, [arrival.received.columns() for arrival in arrivals])
    new_rows = [
        {
            "identity": arrival.received.identity,
            "origin": arrival.received.origin,
            "sender": clean_line(arrival.received.sender),
            "status": _STATUS[arrival.received.action],
            "sent_at": arrival.received.sent_at,
            "site_id": arrival.site_id,
            **values,
        }
        for arrival, values in zip(arrivals, columns, strict=True)
    ]
    created = set(session.scalars(_INSERT, new_rows))
    rows = {
        row.identity: row
        for row in session.scalars(
            select(Order)
            .where(Order.identity.in_([arrival.received.identity for arrival in arrivals]))
            .order_by(Order.identity)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    }
    changes, keyed = [], []
    for arrival, values in zip(arrivals, columns, strict=True):
        received = arrival.received
        arrival.row = rows[received.identity]
        if not shows(arrival.row.site_id):
            raise MessageError("a sender of this name has placed this order for another site")
        status = _STATUS[received.action]
        old: dict[str, Any] = {}
        new: dict[str, Any] = {}
        if received.identity not in created:
            arrival.outcome, old, new = _update(session, arrival, values, status)
        elif status is OrderStatus.CANCELLED:
            arrival.outcome = OrderOutcome.CANCELLED
        else:
            arrival.outcome = OrderOutcome.PLACED
        if arrival.outcome is not OrderOutcome.UNCHANGED:
            changes.append(
                {
                    "order_id": arrival.row.id,
                    "kind": OrderChangeKind(arrival.outcome.value),
                    "origin": received.origin,
                    "sender": clean_line(received.sender),
                    "message_id": arrival.message_id,
                    "old_values": _as_json(old),
                    "new_values": _as_json(new),
                }
            )
            if arrival.outcome is not OrderOutcome.OUTDATED:
                keyed.append(arrival.row)
    if changes:
        session.execute(insert(OrderChange), changes)
    write_keys(session, keyed)


def get_order(session: Session, order_id: uuid.UUID) -> Order:
    """The order with our id.

    Raises:
        NotFound: there is none.
    """
    order = session.get(Order, order_id)
    if order is None or not shows(order.site_id):
        raise NotFound(f"no order has the id {order_id}")
    return order


def cancel_order(
    session: Session, order_id: uuid.UUID, origin: Origin, sender: str
) -> ReceivedOrderResult:
    """Cancel an order by our id, as a message of its sender would.

    Args:
        session: the caller's transaction.
        order_id: our id.
        origin: by which interface it is cancelled.
        sender: who cancels it.

    Raises:
        NotFound: there is no such order.
    """
    order = get_order(session, order_id)
    received = ReceivedOrder(origin, sender, OrderAction.CANCEL, matching.order_patient(order))
    return receive_order(session, received, identity=order.identity)


def write_keys(session: Session, orders: Sequence[Order]) -> None:
    """Write the keys by which orders are found, in place of those that they had."""
    rows = [
        {"order_id": order.id, "kind": kind, "value": value}
        for order in orders
        for kind, value in sorted(
            make_keys(
                accession=order.accession_numbers,
                study=order.study_instance_uids,
                patient=[given.id for given in patient_ids(order)],
                visit=[order.visit_number],
            )
            | order_number_keys([order.placer_order_number, order.filler_order_number])
        )
    ]
    if rows:
        session.execute(
            delete(OrderKey).where(OrderKey.order_id.in_([order.id for order in orders]))
        )
        session.execute(insert(OrderKey), rows)


def _update(
    session: Session, arrival: _Arrival, columns: dict[str, Any], status: OrderStatus
) -> tuple[OrderOutcome, dict[str, Any], dict[str, Any]]:
    """Change the row of an order that is known; what was done, and the columns before and now."""
    order, received = arrival.row, arrival.received
    if order.sent_at and received.sent_at and received.sent_at < order.sent_at:
        return OrderOutcome.OUTDATED, {}, {}
    # A message may name an order by one of its numbers alone; the other one stays.
    numbers = {"placer_order_number", "filler_order_number"}
    if status is OrderStatus.CANCELLED:
        # Cancellations are often sent with little more than the order's number.
        columns = {name: columns[name] for name in numbers}
    columns = {name: value for name, value in columns.items() if value or name not in numbers}
    columns["status"] = status
    if order.site_id == DEFAULT_SITE_ID:  # its sender has been named meanwhile
        columns["site_id"] = arrival.site_id
    changed = {name: value for name, value in columns.items() if getattr(order, name) != value}
    order.sent_at = received.sent_at or order.sent_at
    if not changed:
        session.flush()
        return OrderOutcome.UNCHANGED, {}, {}
    old = {name: getattr(order, name) for name in changed}
    for name, value in changed.items():
        setattr(order, name, value)
    order.version += 1
    order.changed_at = func.clock_timestamp()
    session.flush()
    session.refresh(order)
    outcome = OrderOutcome.CHANGED
    if status is OrderStatus.CANCELLED:
        outcome = OrderOutcome.CANCELLED
    elif old.get("status") == OrderStatus.CANCELLED:
        outcome = OrderOutcome.REINSTATED
    return outcome, old, changed


def note_change(
    session: Session,
    order: Order,
    kind: OrderChangeKind,
    origin: Origin | ChangeOrigin,
    sender: str,
    message_id: uuid.UUID | None,
    old: dict[str, Any],
    new: dict[str, Any],
) -> None:
    """Append a line to an order's history: columns that changed, as they were and as they are."""
    session.add(
        OrderChange(
            order_id=order.id,
            kind=kind,
            origin=origin,
            sender=sender,
            message_id=message_id,
            old_values=_as_json(old),
            new_values=_as_json(new),
        )
    )
    session.flush()


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat()
        if hasattr(value, "isoformat")
        else str(value)
        if isinstance(value, uuid.UUID)
        else value
        for name, value in values.items()
    }
