"""Reads tables that people made, row by row: CSV of any delimiter, and JSON Lines.

A row that cannot be read is a `Fault` with its line, and the rows after it are read. The tables of
published collections are read by `training.corpus.files`, where a wrong row means a damaged copy.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records.errors import CorpusError

_DELIMITERS = ",;\t|"
MAX_TEXT = 1_000_000
"""Characters of a field. A report has some thousands; a quote that is never closed has the file."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used.

    Attributes:
        line: Where it begins in the table; 1 is the first line.
        study: The study, if the row names one.
        reason: What is wrong, for a person.
    """

    line: int
    study: str
    reason: str


def read_csv(
    path: Path, is_known: Callable[[str], bool], check: Callable[[list[str]], None]
) -> Iterator[tuple[int, dict[str, str] | Fault]]:
    """Yield the rows of a CSV file with the lines that they begin in, or what is wrong with them.

    Args:
        path: The file, in UTF-8.
        is_known: Whether a column is one that is read. The delimiter that makes the most known
            columns is taken, of `,`, `;`, tab and `|`.
        check: Is called with the columns, and raises where they do not do.

    Raises:
        CorpusError: A line is not UTF-8.
        OSError: The file cannot be read.
    """
    # The limit is the process's own, and one for all its tables.
    csv.field_size_limit(4 * MAX_TEXT)
    with path.open("rb") as file:
        lines = _decoded(path, file)
        header = next(lines, "")
        delimiter = _sniff(header, is_known)
        names = next(csv.reader([header], delimiter=delimiter), [])
        check(names)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            line = 2 + reader.line_num
            try:
                fields = next(reader, None)
            except csv.Error as error:
                reason = (
                    f"the quotes of this row are wrong ({error}), so neither it nor what follows is"
                    " read; a quote within a field is written twice"
                )
                yield line, Fault(line, "", reason)
                return
            if fields is None:
                return
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(names):
                reason = f"it has {len(fields)} fields, and there are {len(names)} columns"
                yield line, Fault(line, "", reason)
                continue
            yield line, dict(zip(names, fields, strict=True))


def _sniff(header: str, is_known: Callable[[str], bool]) -> str:
    """Return the delimiter that makes the most known columns of the first line, or the most."""

    def count(delimiter: str) -> tuple[int, int]:
        try:
            names = next(csv.reader([header], delimiter=delimiter), [])
        except csv.Error:
            return 0, 0
        return sum(map(is_known, names)), len(names)

    return max(_DELIMITERS, key=count)


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """Yield the objects of a file of JSON Lines with their lines, or what is wrong with them.

    Raises:
        CorpusError: A line is not UTF-8.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        for line, text in enumerate(_decoded(path, file), start=1):
            if not text.strip():
                continue
            try:
                values = json.loads(text)
                # JSON can hold half a surrogate pair, which is no text: encoding it raises.
                json.dumps(values, ensure_ascii=False).encode()
            except (ValueError, RecursionError) as error:
                yield line, Fault(line, "", f"it is not JSON ({error})")
                continue
            if not isinstance(values, dict):
                yield line, Fault(line, "", "it is no JSON object")
                continue
            yield line, values


def _decoded(path: Path, file: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a file in UTF-8.

    Raises:
        CorpusError: A line is not UTF-8.
    """
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise CorpusError(
                f"{path} is not UTF-8 at line {number}; save it again as UTF-8 (in a spreadsheet: "
                '"CSV UTF-8")'
            ) from None
