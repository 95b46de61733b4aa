"""Orders from a CSV file: read row by row, checked as REST checks them, and taken in.

Nothing of a row is logged or quoted, because it may name a patient: a refusal gives the line, the
column and the rule.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from api.order_schemas import OrderRequest
from model.progress import ProgressCallback
from records.database.session import unit_of_work
from records.errors import MessageError, NotAllowed
from records.orders.receiving import check_order, receive_orders
from records.states import Origin

TEXT_COLUMNS = ("reason", "reason_code", "clinical_information", "note", "diagnosis")
"""Columns of what an order says about why; each is a source of `OrderTextSource`."""

LIST_COLUMNS = ("accession_numbers", "study_instance_uids", "other_patient_ids")
"""Columns of several values, with a backslash between them, as DICOM has it."""

TIME_COLUMNS = ("scheduled_at", "due_at", "sent_at")

COLUMNS = (*(name for name in OrderRequest.model_fields if name != "texts"), *TEXT_COLUMNS)
"""All columns that a file may have."""

MAX_LISTED = 1000
"""Refusals that a summary lists; all are counted."""

_ROWS = 500
"""Rows of a transaction. The studies that they are for stay locked until its commit."""

_LONGEST_VALUE = 1 << 20


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not taken, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class ImportSummary:
    """What became of the rows of a file.

    Attributes:
        rows: how many were read.
        outcomes: how many orders were placed, changed and so on, by `OrderOutcome`.
        studies: how many times an order counted for a study.
        refused: how many rows were not taken.
        refusals: the first of them.
        dry_run: whether nothing was written.
    """

    dry_run: bool
    rows: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    refused: int = 0
    refusals: list[RefusedRow] = field(default_factory=list)


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
    size = file.stat().st_size
    with file.open("rb") as raw:
        text = io.TextIOWrapper(raw, encoding=encoding, newline="")
        try:
            rows = read_rows(text, sender)
            while batch := list(itertools.islice(rows, _ROWS)):
                for refused in _take_in(batch, summary):
                    summary.refused += 1
                    if len(summary.refusals) < MAX_LISTED:
                        summary.refusals.append(refused)
                    refuse(refused)
                progress("orders", raw.tell(), size)
        except UnicodeDecodeError:
            raise NotAllowed(
                f"{file} is not {encoding} after row {summary.rows:,}; name its encoding, as "
                "--encoding cp1252. Rows before that are taken in"
            ) from None
        except csv.Error as error:
            raise NotAllowed(f"{file} is no CSV after row {summary.rows:,}: {error}") from None
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
    csv.field_size_limit(_LONGEST_VALUE)
    header = text.readline()
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    _check_columns(names)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        line = reader.line_num + 1
        if len(values) != len(names):
            yield line, f"it has {len(values)} values, and the header names {len(names)} columns"
            continue
        yield line, _read_row(dict(zip(names, map(str.strip, values), strict=True)), sender)


def _check_columns(names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in COLUMNS]:
        raise NotAllowed(
            f"the file has columns that are not known: {', '.join(map(repr, unknown))}; known are "
            f"{', '.join(COLUMNS)}"
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise NotAllowed(f"the file has a column twice: {', '.join(twice)}")
    if "patient_id" not in names:
        raise NotAllowed("the file has no column patient_id")


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
            filled[name] = [part.strip() for part in filled[name].split("\\") if part.strip()]
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
