"""The pages of orders: the list with its search, and one order with all that is known of it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from api.forms import NONE_IF_EMPTY
from api.rendering import render
from api.schemas import SearchText
from records.database.session import unit_of_work
from records.orders import reading
from records.states import OrderStatus

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGE_SIZE = 50
"""Orders on one page."""


class OrdersQuery(BaseModel):
    """Which orders are shown.

    status: only those with this status. words: what was searched for. after: where the page begins.
    """

    status: Annotated[OrderStatus | None, NONE_IF_EMPTY] = None
    words: SearchText = ""
    after: Annotated[str | None, NONE_IF_EMPTY] = None

    def query_string(self, **changes: str | None) -> str:
        """The query string of this query with some values changed; empty ones are left out."""
        values: dict[str, Any] = self.model_dump() | changes
        return urlencode({name: value for name, value in values.items() if value})


@router.get("/orders")
def show_orders(query: Annotated[OrdersQuery, Query()]) -> str:
    """The orders, newest change first."""
    with unit_of_work() as session:
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
    with unit_of_work() as session:
        return render("order.html", record=reading.read_order(session, order_id))
