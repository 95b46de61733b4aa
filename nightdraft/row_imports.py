"""Taking in the rows of a file of orders or reports, many to a transaction.

Nothing of a row is logged or quoted, because it may name a patient: a refusal gives the line, the
column and the rule.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from model.progress import ProgressCallback
from records.errors import NotAllowed

MAX_LISTED = 1000
"""Refusals that a summary lists; all are counted."""

LONGEST_VALUE = 1 << 20
"""Characters of a value, at most."""

RowT = TypeVar("RowT")


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
        outcomes: how many orders or reports were new, changed and so on, by outcome.
        studies: how many times one counted for a study.
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


def import_rows(
    file: Path,
    summary: ImportSummary,
    *,
    noun: str,
    read: Callable[[io.TextIOBase], Iterator[tuple[int, RowT | str]]],
    take_in: Callable[[Sequence[tuple[int, RowT | str]], ImportSummary], Iterable[RefusedRow]],
    rows_at_once: int,
    encoding: str,
    progress: ProgressCallback,
    refuse: Callable[[RefusedRow], None],
) -> None:
    """Take in the rows of a file.

    Args:
        file: the file.
        summary: what became of its rows; it is filled.
        noun: what the rows are, as "orders".
        read: reads the file; yields the number of each row's last line, and what it holds or the
            reason why it holds nothing.
        take_in: takes in the rows of one transaction, counts them in the summary, and returns those
            that are refused.
        rows_at_once: rows of a transaction.
        encoding: of the file.
        progress: is called with the bytes that were read, after each transaction.
        refuse: is called for each row that is not taken.

    Raises:
        NotAllowed: the file has no header that can be used, or another encoding.
    """
    size = file.stat().st_size
    with file.open("rb") as raw:
        text = io.TextIOWrapper(raw, encoding=encoding, newline="")
        try:
            rows = read(text)
            while batch := list(itertools.islice(rows, rows_at_once)):
                for refused in take_in(batch, summary):
                    summary.refused += 1
                    if len(summary.refusals) < MAX_LISTED:
                        summary.refusals.append(refused)
                    refuse(refused)
                progress(noun, raw.tell(), size)
        except UnicodeDecodeError:
            raise NotAllowed(
                f"{file} is not {encoding} after row {summary.rows:,}; name its encoding, as "
                "--encoding cp1252. Rows before that are taken in"
            ) from None
        except csv.Error as error:
            raise NotAllowed(f"{file} is no CSV after row {summary.rows:,}: {error}") from None


def read_csv_rows(
    text: io.TextIOBase, columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Read the rows of a CSV file whose first line names its columns, in any order.

    Args:
        text: the file. Commas, semicolons or tabs stand between the values.
        columns: all columns that it may have; patient_id must be there.

    Yields:
        The number of a row's last line, and its values by column or the reason why it has none.

    Raises:
        NotAllowed: a column is missing, unknown or there twice.
    """
    csv.field_size_limit(LONGEST_VALUE)
    header = text.readline()
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if unknown := describe_unknown(names, columns):
        raise NotAllowed(f"the file has {unknown}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise NotAllowed(f"the file has a column twice: {', '.join(twice)}")
    if "patient_id" not in names:
        raise NotAllowed("the file has no column patient_id")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        line = reader.line_num + 1
        if len(values) != len(names):
            yield line, f"it has {len(values)} values, and the header names {len(names)} columns"
        else:
            yield line, dict(zip(names, map(str.strip, values), strict=True))


def describe_unknown(names: Iterable[str], columns: Sequence[str]) -> str:
    """Name the columns that are not known, and those that are; "" where all are known."""
    unknown = [name for name in names if name not in columns]
    if not unknown:
        return ""
    return (
        f"columns that are not known: {', '.join(map(repr, unknown))}; known are "
        f"{', '.join(columns)}"
    )


def split_values(text: str) -> list[str]:
    """The values of a column of several, with a backslash between them, as DICOM has it."""
    return [part.strip() for part in text.split("\\") if part.strip()]
