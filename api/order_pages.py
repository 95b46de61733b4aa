"""The pages of orders: the list with its search, and one order with all that is known of it."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from api.forms import NONE_IF_EMPTY
from api.list_queries import ListQuery
from api.rendering import render
from api.schemas import SearchText
from records.database.session import snapshot
from records.orders import reading
from records.states import OrderStatus

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGE_SIZE = 50
"""Orders on one page."""


class OrdersQuery(ListQuery):
    """Which orders are shown.

    status: only those with this status. words: what was searched for. after: where the page begins.
    """

    status: Annotated[OrderStatus | None, NONE_IF_EMPTY] = None
    words: SearchText = ""


@router.get("/orders")
def show_orders(query: Annotated[OrdersQuery, Query()]) -> str:
    """The orders, newest change first."""
    with snapshot() as session:
        page = reading.read_page(
            session,
            status=query.status,
            search=query.words,
            after=query.after,
            limit=PAGE_SIZE,
        )
        return render("orders.html", query=query, page=page, statuses=list(OrderStatus))


@router.get("/orders/{order_id}")
def show_order(order_id: uuid.UUID) -> str:
    """One order: its fields, its texts, its studies, its history, and the messages about it."""
    with snapshot() as session:
        return render("order.html", record=reading.read_order(session, order_id))
