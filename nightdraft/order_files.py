"""Orders from a CSV file: read row by row, checked as REST checks them, and taken in."""

from __future__ import annotations

import datetime as dt
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from api.order_schemas import OrderRequest
from model.progress import ProgressCallback
from nightdraft.row_imports import (
    ImportSummary,
    RefusedRow,
    import_rows,
    read_csv_rows,
    split_values,
)
from records.database.session import unit_of_work
from records.errors import MessageError
from records.orders.receiving import check_order, receive_orders
from records.states import Origin

TEXT_COLUMNS = ("reason", "reason_code", "clinical_information", "note", "diagnosis")
"""Columns of what an order says about why; each is a source of `OrderTextSource`."""

LIST_COLUMNS = ("accession_numbers", "study_instance_uids", "other_patient_ids")
"""Columns of several values, with a backslash between them, as DICOM has it."""

TIME_COLUMNS = ("scheduled_at", "due_at", "sent_at")

COLUMNS = (*(name for name in OrderRequest.model_fields if name != "texts"), *TEXT_COLUMNS)
"""All columns that a file may have."""

_ROWS = 500
"""Rows of a transaction. The studies that they are for stay locked until its commit."""


def import_orders(
    file: Path,
    sender: str,
    *,
    encoding: str = "utf-8-sig",
    dry_run: bool = False,
    progress: ProgressCallback = lambda *_: None,
    refuse: Callable[[RefusedRow], None] = lambda _: None,
) -> ImportSummary:
    """Take in the orders of a CSV file. The same file again changes nothing.

    Args:
        file: the file; its first line names the columns.
        sender: who sends orders of rows that name no sender. It is a part of an order's identity.
        encoding: of the file; the default takes a byte order mark, too.
        dry_run: find out what would happen, and write nothing.
        progress: is called with the bytes that were read, after each transaction.
        refuse: is called for each row that is not taken.

    Raises:
        NotAllowed: the file has no header that can be used, or another encoding.
    """
    summary = ImportSummary(dry_run)
    import_rows(
        file,
        summary,
        noun="orders",
        read=lambda text: read_rows(text, sender),
        take_in=_take_in,
        rows_at_once=_ROWS,
        encoding=encoding,
        progress=progress,
        refuse=refuse,
    )
    return summary


def read_rows(text: io.TextIOBase, sender: str) -> Iterator[tuple[int, OrderRequest | str]]:
    """Read the rows of a CSV file.

    Args:
        text: the file, with its header.
        sender: of rows that name no sender.

    Yields:
        The number of a row's last line, and its order or the reason why it has none.

    Raises:
        NotAllowed: a column is missing, unknown or there twice.
    """
    for line, row in read_csv_rows(text, COLUMNS):
        yield line, row if isinstance(row, str) else _read_row(row, sender)


def _read_row(row: dict[str, str], sender: str) -> OrderRequest | str:
    """The order of a row, or why it has none. An empty value is one that is not there."""
    filled: dict[str, Any] = {name: value for name, value in row.items() if value}
    texts = [
        {"source": f"order_{name}", "text": filled.pop(name)}
        for name in TEXT_COLUMNS
        if name in filled
    ]
    for name in LIST_COLUMNS:
        if name in filled:
            filled[name] = split_values(filled[name])
    if "other_patient_ids" in filled:
        pairs = (given.partition("^") for given in filled["other_patient_ids"])
        filled["other_patient_ids"] = [{"id": id_, "issuer": issuer} for id_, _, issuer in pairs]
    for name in ("status", "priority", "patient_sex"):
        if name in filled:
            filled[name] = filled[name].upper()
    for name in TIME_COLUMNS:
        if name in filled:
            try:
                # A time without a zone is by this machine's clock.
                filled[name] = dt.datetime.fromisoformat(filled[name]).astimezone()
            except ValueError:
                return f"{name}: it is no date or time, as 2026-11-24T18:00"
    try:
        return OrderRequest(**{"sender": sender, "texts": texts} | filled)
    except ValidationError as error:
        return "; ".join(_sentence(dict(entry)) for entry in error.errors(include_input=False))


def _sentence(entry: dict[str, Any]) -> str:
    message = str(entry["msg"]).removeprefix("Value error, ")
    return f"{entry['loc'][0]}: {message}" if entry["loc"] else message


def _take_in(
    batch: Sequence[tuple[int, OrderRequest | str]], summary: ImportSummary
) -> Iterator[RefusedRow]:
    """Take in the rows of one transaction, and return those that are refused."""
    refused = []
    orders = []
    for line, order in batch:
        if isinstance(order, str):
            refused.append(RefusedRow(line, order))
            continue
        received = order.received(Origin.FILE)
        try:
            check_order(received)
        except MessageError as error:
            refused.append(RefusedRow(line, str(error)))
        else:
            orders.append(received)
    with unit_of_work() as session:
        results = receive_orders(session, orders)
        if summary.dry_run:
            session.rollback()
    summary.rows += len(batch)
    summary.outcomes += Counter(result.outcome.value for result in results)
    summary.studies += sum(len(result.study_ids) for result in results)
    yield from refused
