"""The studies of a campaign from a CSV file: read row by row, and added many at a time.

Nothing of a row is quoted, because a number may name a patient: a refusal gives the line, the
column and the rule.
"""

from __future__ import annotations

import csv
import io
import itertools
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.orm import Session

from intake.dicom.limits import is_valid_uid
from model.progress import ProgressCallback
from nightdraft.row_imports import MAX_LISTED, RefusedRow, read_csv_rows
from records.campaigns import rows
from records.campaigns.rows import ADD_AT_ONCE, NewStudy
from records.errors import NotAllowed

COLUMNS = ("accession_number", "study_instance_uid")
"""The columns that a list may have; one of them must be there. Others are named as unknown."""

STANDARD_INPUT = Path("-")

LONGEST_NUMBER = 64
"""Characters of an accession number, at most. DICOM has 16; HL7 and real systems have more."""


@dataclass(slots=True)
class ListSummary:
    """What became of the lines of a list.

    Attributes:
        rows: how many were read.
        studies: how many studies they name; one that is named twice counts once.
        refused: how many lines are wrong.
        refusals: the first of them.
    """

    rows: int = 0
    studies: int = 0
    refused: int = 0
    refusals: list[RefusedRow] = field(default_factory=list)


def add_list(
    session: Session,
    campaign_id: uuid.UUID,
    file: Path,
    *,
    encoding: str = "utf-8-sig",
    progress: ProgressCallback = lambda *_: None,
    refuse: Callable[[RefusedRow], None] = lambda _: None,
) -> ListSummary:
    """Add the studies of a list to a campaign, within the caller's transaction.

    After the first wrong line nothing is added any more: the caller rolls back, and the other lines
    are only read, so that all that is wrong is said at once.

    Args:
        session: the caller's transaction.
        campaign_id: the campaign.
        file: the list; "-" is standard input.
        encoding: of the file; the default takes a byte order mark, too.
        progress: is called with the bytes that were read, after each batch.
        refuse: is called for each wrong line.

    Raises:
        NotAllowed: the file cannot be read, has no header that can be used, or another encoding.
    """
    summary = ListSummary()
    with _open(file) as raw, _decode(raw, encoding) as text:
        size = file.stat().st_size if file != STANDARD_INPUT else None
        try:
            lines = read_studies(text)
            while batch := list(itertools.islice(lines, ADD_AT_ONCE)):
                summary.rows += len(batch)
                for line, study in batch:
                    if isinstance(study, str):
                        refused = RefusedRow(line, study)
                        summary.refused += 1
                        if len(summary.refusals) < MAX_LISTED:
                            summary.refusals.append(refused)
                        refuse(refused)
                if not summary.refused:
                    studies = [study for _, study in batch if isinstance(study, NewStudy)]
                    summary.studies += rows.add_studies(session, campaign_id, studies)
                if size is not None:
                    progress("list", raw.tell(), size)
        except UnicodeDecodeError:
            raise NotAllowed(
                f"{file} is not {encoding} after row {summary.rows:,}; name its encoding, as "
                "--encoding cp1252"
            ) from None
        except csv.Error as error:
            raise NotAllowed(f"{file} is no CSV after row {summary.rows:,}: {error}") from None
    return summary


def read_studies(text: io.TextIOBase) -> Iterator[tuple[int, NewStudy | str]]:
    """Read the lines of a list.

    Yields:
        The number of a row's last line, and the study that it names or the reason why it names
        none.

    Raises:
        NotAllowed: a column is missing, unknown or there twice.
    """
    for line, row in read_csv_rows(text, COLUMNS, COLUMNS):
        yield line, row if isinstance(row, str) else _read_row(row)


def _read_row(row: dict[str, str]) -> NewStudy | str:
    uid, number = (row.get("study_instance_uid", ""), row.get("accession_number", ""))
    if uid and not is_valid_uid(uid):
        return "study_instance_uid: it is no UID: numbers with dots between them, 64 characters"
    if len(number) > LONGEST_NUMBER or not number.isprintable():
        return (
            f"accession_number: it is longer than {LONGEST_NUMBER} characters, or has characters "
            "that cannot be printed"
        )
    return NewStudy(uid, number)


@contextmanager
def _open(file: Path) -> Iterator[BinaryIO]:
    """A file, or standard input, which stays open."""
    if file == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        raw = file.open("rb")
    except OSError as error:
        raise NotAllowed(f"{file} cannot be read ({error.strerror})") from None
    with raw:
        yield raw


@contextmanager
def _decode(raw: BinaryIO, encoding: str) -> Iterator[io.TextIOWrapper]:
    """The text of a file, which the caller closes."""
    text = io.TextIOWrapper(raw, encoding=encoding, newline="")
    try:
        yield text
    finally:
        text.detach()
