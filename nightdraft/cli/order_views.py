"""Finds orders by what a person typed, and renders them for `nightdraft orders`."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from records.errors import NotFound
from records.states import MatchState, OrderTextSource, Origin

if TYPE_CHECKING:
    from rich.console import RenderableType
    from sqlalchemy.orm import Session

    from records.database.order_tables import Order
    from records.orders.reading import OrderRecord

SEVERAL = 100
"""Orders of one number that are listed, at most."""


def find_orders(session: Session, number: str) -> list[uuid.UUID]:
    """Our ids of the orders of a number that a person typed.

    Args:
        session: The session to read in.
        number: Our own id, an accession number, a patient id, a visit number or a study UID.

    Raises:
        NotFound: No order has that number.
    """
    from records.orders import reading

    with suppress(ValueError, NotFound):
        return [reading.read_order(session, uuid.UUID(number)).order.id]
    found = reading.read_page(session, search=number, limit=SEVERAL).orders
    if not found or not number.strip():
        raise NotFound(
            "no order has that id, accession number, patient id, visit number or study UID"
        )
    return [order.id for order in found]


def render_orders(orders: Sequence[Order]) -> RenderableType:
    """Render orders, a line each."""
    from rich.table import Table
    from rich.text import Text

    from model.dicom.characters import remove_controls

    if not orders:
        return Text("no orders")
    table = Table(
        "changed", "status", "patient", "accession", "procedure", "from", "id",
        box=None, pad_edge=False,
    )  # fmt: skip
    for order in orders:
        cells = (
            f"{order.patient_name}  {order.patient_id}",
            ", ".join(order.accession_numbers),
            order.procedure,
            f"{order.origin} {order.sender}",
        )
        table.add_row(
            _local(order.changed_at),
            order.status,
            *(Text(remove_controls(cell)) for cell in cells),
            Text(str(order.id), no_wrap=True),
        )
    return table


def render_order(record: OrderRecord) -> RenderableType:
    """Render one order: its fields, why it was requested, its studies and its history."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from api.order_wording import (
        FIELD_LABELS,
        MATCH_SENTENCES,
        ORIGIN_LABELS,
        TEXT_LABELS,
        describe_cause,
        describe_change,
        describe_value,
    )
    from model.dicom.characters import remove_controls

    order = record.order
    facts = Table(box=None, show_header=False, pad_edge=False)
    rows = [("Order", str(order.id))]
    rows += [
        (label, describe_value(name, getattr(order, name)))
        for name, label in FIELD_LABELS.items()
        if name != "texts"
    ]
    rows += [(TEXT_LABELS[OrderTextSource(text["source"])], text["text"]) for text in order.texts]
    rows.append(("Belongs to site", record.site_code))
    rows.append(("From", f"{ORIGIN_LABELS[Origin(order.origin)]}, {order.sender}"))
    for name, value in rows:
        if value:
            facts.add_row(Text(name, style="dim"), Text(remove_controls(value)))
    sections: list[RenderableType] = [facts, Text()]
    for match, study in record.studies:
        decided = f" ({match.decided_by})" if match.decided_by else ""
        sentence = MATCH_SENTENCES[MatchState(match.state)]
        sections.append(Text(f"study {study.study_instance_uid}: {sentence}{decided}"))
    if not record.studies:
        sections.append(Text("no study of it has arrived yet"))
    history = Table(box=None, show_header=False, pad_edge=False)
    for change in record.changes:
        fields = [
            f"{name}: {old or '(nothing)'} -> {new or '(nothing)'}"
            for name, old, new in describe_change(change, record.site_codes)
        ]
        cause = f"by {describe_cause(change.origin, change.sender)}"
        history.add_row(
            Text(_local(change.at), style="dim"),
            change.kind,
            Text(remove_controls("; ".join([*fields, cause]))),
        )
    return Group(*sections, Text(), history)


def _local(at: dt.datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
