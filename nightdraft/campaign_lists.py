"""Reads a list of studies for a campaign: a CSV file of study UIDs or accession numbers."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

from intake.dicom.limits import is_valid_uid
from records.campaigns.adding import NewStudy
from records.errors import NotAllowed

COLUMNS = ("study_instance_uid", "accession_number")
"""One of them is enough. Other columns are left out, and nothing of them is kept."""

MAX_LISTED = 20
"""Wrong lines that an error lists."""

_MAX_ACCESSION_NUMBER = 64  # (0008,0050) is SH with 16; some systems write more


@dataclass(slots=True)
class WrongLines:
    """Lines that name no study.

    Attributes:
        count: how many there are.
        first: the first of them, each with its number and what is wrong; no value is quoted.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        """Count a wrong line."""
        self.count += 1
        if len(self.first) < MAX_LISTED:
            self.first.append(f"line {line}: {reason}")


def read_list(file: Path, encoding: str, wrong: WrongLines) -> Iterator[NewStudy]:
    """Read a list as a stream.

    Args:
        file: CSV whose first line names the columns; commas, semicolons or tabs between them.
        encoding: of the file.
        wrong: is given the lines that name no study.

    Raises:
        NotAllowed: it has neither column, is of another encoding, or is no CSV.
    """
    try:
        with file.open(encoding=encoding, newline="") as text:
            yield from _read(text, file, wrong)
    except UnicodeDecodeError:
        raise NotAllowed(
            f"{file} is not {encoding}: name its encoding, as --encoding cp1252"
        ) from None
    except csv.Error as error:
        raise NotAllowed(f"{file} is no CSV: {error}") from None
    except OSError as error:
        raise NotAllowed(f"{file} cannot be read ({error.strerror})") from None


def _read(text: TextIO, file: Path, wrong: WrongLines) -> Iterator[NewStudy]:
    header = text.readline()
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if not set(COLUMNS) & set(names):
        raise NotAllowed(
            f"{file}: its first line names neither {COLUMNS[0]} nor {COLUMNS[1]}: begin the file "
            "with the names of its columns"
        )
    places = {name: names.index(name) for name in COLUMNS if name in names}
    reader = csv.reader(text, delimiter=delimiter)
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        uid, number = (
            values[places[name]].strip() if places.get(name, len(values)) < len(values) else ""
            for name in COLUMNS
        )
        line = reader.line_num + 1
        if not uid and not number:
            wrong.add(line, "neither a study UID nor an accession number")
        elif uid and not is_valid_uid(uid):
            wrong.add(
                line, "study_instance_uid is no UID: numbers joined by dots, at most 64 characters"
            )
        elif len(number) > _MAX_ACCESSION_NUMBER or not number.isprintable():
            wrong.add(
                line, "accession_number is longer than 64 characters, or has a control character"
            )
        else:
            yield NewStudy(uid, number)


def check_list(file: Path, encoding: str) -> int:
    """Read the whole list, and count its studies.

    Raises:
        NotAllowed: it cannot be read, names no study, or has wrong lines, which are named.
    """
    wrong = WrongLines()
    count = sum(1 for _ in read_list(file, encoding, wrong))
    if wrong.count:
        lines = "\n".join(wrong.first)
        more = (
            f"\n... and {wrong.count - len(wrong.first):,} more"
            if wrong.count > len(wrong.first)
            else ""
        )
        raise NotAllowed(f"{file}: {wrong.count:,} lines name no study:\n{lines}{more}")
    if not count:
        raise NotAllowed(f"{file} names no study")
    return count


def batches(studies: Iterator[NewStudy], size: int) -> Iterator[list[NewStudy]]:
    """The studies in lists of at most `size`."""
    while batch := list(itertools.islice(studies, size)):
        yield batch


def keep_input(source: BinaryIO, file: Path) -> None:
    """Copy standard input to a file, so that it can be read twice."""
    with file.open("wb") as copy:
        while block := source.read(1 << 20):
            copy.write(block)
