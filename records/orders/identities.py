"""Which order a message is about, where the numbers that it gives are not always the same ones.

An order is often placed with its placer's number alone. The filler's number comes with a later
message, and a cancellation may name only one of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.order_tables import Order, OrderKey
from records.orders.order import ReceivedOrder
from records.received_text import clean_line
from records.workflow.identifiers import KeyKind, make_keys, plain_key
from records.workflow.site_scope import is_visible


@dataclass(frozen=True, slots=True)
class _Known:
    """The numbers of an order that is known, as keys hold them."""

    identity: str
    source: tuple[str, str]  # interface and sender
    placer: str
    filler: str


def resolve_identities(session: Session, received: Sequence[ReceivedOrder]) -> list[ReceivedOrder]:
    """Give each order the identity of the order that its sender means.

    A number that is known decides. Where the filler's number is not known, an order with the
    placer's number that has no filler's number yet is the same one; where the message has no
    filler's number, the only order with the placer's number is. Two senders never mean one order.
    Two messages of which neither is committed yet do not find each other.

    Args:
        session: the caller's transaction.
        received: orders as sent, in the sequence in which they take effect.
    """
    known = _read_known(session, received)
    resolved = []
    for order in received:
        placer, filler = _number(order.placer_order_number), _number(order.filler_order_number)
        if order.known_identity or not (placer or filler):
            resolved.append(order)
            continue
        source = order.origin.value, clean_line(order.sender)
        same_source = [one for one in known if one.source == source]
        identity = _choose(same_source, order.identity, placer, filler)
        before = next((one for one in same_source if one.identity == identity), None)
        if before is not None:
            known.remove(before)
            placer, filler = placer or before.placer, filler or before.filler
        known.append(_Known(identity, source, placer, filler))
        resolved.append(replace(order, known_identity=identity))
    return resolved


def order_number_keys(numbers: Iterable[str]) -> set[tuple[str, str]]:
    """The keys by which an order is found by its placer's and its filler's number."""
    return make_keys(order=numbers)


def _choose(known: Sequence[_Known], own: str, placer: str, filler: str) -> str:
    if any(one.identity == own for one in known):
        return own
    by_filler = [one for one in known if filler and one.filler == filler]
    by_placer = [
        one for one in known if placer and one.placer == placer and not (filler and one.filler)
    ]
    for found in (by_filler, by_placer):
        if len(found) == 1:
            return found[0].identity
    return own


def _read_known(session: Session, received: Sequence[ReceivedOrder]) -> list[_Known]:
    values = {
        value
        for order in received
        if not order.known_identity
        for _, value in order_number_keys(
            map(clean_line, (order.placer_order_number, order.filler_order_number))
        )
    }
    if not values:
        return []
    by_key = select(OrderKey.order_id).where(
        OrderKey.kind == KeyKind.ORDER, OrderKey.value.in_(values)
    )
    rows = session.execute(
        select(
            Order.identity,
            Order.origin,
            Order.sender,
            Order.placer_order_number,
            Order.filler_order_number,
        )
        .where(Order.id.in_(by_key), is_visible(Order.site_id))
        .order_by(Order.identity)
    )
    return [
        _Known(identity, (origin, sender), _number(placer), _number(filler))
        for identity, origin, sender, placer, filler in rows
    ]


def _number(value: str) -> str:
    return plain_key(clean_line(value))
