"""REST for orders: lists of them and one with its history; a system places and changes them."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from api.list_queries import PageLimit, PageMark
from api.order_schemas import (
    CancellationRequest,
    OrderDetail,
    OrderOut,
    OrderPage,
    OrderRequest,
    OrderResult,
)
from api.problems import problem_responses
from api.schemas import SearchText
from records.database.session import snapshot, unit_of_work
from records.orders import reading, receiving
from records.orders.receiving import OrderOutcome, ReceivedOrderResult
from records.states import OrderStatus, Origin

router = APIRouter(prefix="/api", tags=["orders"])

_PLACED: dict[int | str, dict[str, Any]] = {
    201: {"description": "The order is new", "model": OrderResult}
}


@router.get("/orders", responses=problem_responses(409))
def list_orders(
    status: Annotated[
        OrderStatus | None, Query(description="Only orders with this status.")
    ] = None,
    words: Annotated[
        SearchText,
        Query(
            description="A whole accession number, patient id, visit number or study UID, in any "
            "capitals."
        ),
    ] = "",
    after: PageMark = None,
    limit: PageLimit = 50,
) -> OrderPage:
    """Orders, newest change first."""
    with snapshot() as session:
        page = reading.read_page(session, status=status, search=words, after=after, limit=limit)
        return OrderPage.from_page(page)


@router.get("/orders/{order_id}", responses=problem_responses(404))
def read_order(order_id: uuid.UUID) -> OrderDetail:
    """One order with its history and its studies."""
    with snapshot() as session:
        return OrderDetail.from_record(reading.read_order(session, order_id))


@router.post("/orders", responses=problem_responses(400, 403, 411, 413) | _PLACED)
def place_order(request: OrderRequest, response: Response) -> OrderResult:
    """Place an order, or change the one that has the same number.

    The same order again changes nothing.
    """
    with unit_of_work() as session:
        result = receiving.receive_order(session, request.received(Origin.REST))
        answer = _describe(session, result)
    if result.outcome is OrderOutcome.PLACED:
        response.status_code = 201
        response.headers["location"] = f"/api/orders/{result.order_id}"
    return answer


@router.put("/orders/{order_id}", responses=problem_responses(400, 403, 404, 411, 413))
def replace_order(order_id: uuid.UUID, request: OrderRequest) -> OrderResult:
    """Replace what an order says, by our id. It stays the same order under another number."""
    with unit_of_work() as session:
        order = receiving.get_order(session, order_id)
        received = request.received(Origin.REST)
        result = receiving.receive_order(session, received, identity=order.identity)
        return _describe(session, result)


@router.post("/orders/{order_id}/cancel", responses=problem_responses(400, 403, 404, 409, 411, 413))
def cancel_order(order_id: uuid.UUID, request: CancellationRequest) -> OrderResult:
    """Cancel an order: its texts do not count any more. Its next message can place it again."""
    with unit_of_work() as session:
        result = receiving.cancel_order(session, order_id, Origin.REST, request.by)
        return _describe(session, result)


def _describe(session: Session, result: ReceivedOrderResult) -> OrderResult:
    record = reading.read_order(session, result.order_id)
    return OrderResult(
        outcome=result.outcome,
        order=OrderOut.from_row(record.order),
        studies=[study.id for _, study in record.studies if study.id in result.study_ids],
    )
