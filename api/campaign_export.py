"""The studies of a campaign as CSV, as a stream, for REST and for the command."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator, Sequence

from api.campaign_schemas import CampaignStudyEntry
from records.campaigns import rows
from records.database.campaign_tables import CampaignStudy
from records.database.session import snapshot

EXPORT_AT_ONCE = 5_000
"""Rows of one transaction, and of one part of the text."""

COLUMNS = tuple(CampaignStudyEntry.model_fields)


def stream_csv(campaign_id: uuid.UUID) -> Iterator[tuple[str, int]]:
    """Each study of a campaign with its end and its reason, in parts, as they were found.

    Each part is read in a transaction of its own, so that a slow reader holds none open.

    Yields:
        Some whole lines, and how many studies are in them; first the names of the columns.
    """
    yield _write([list(COLUMNS)]), 0
    for part in read_all(campaign_id):
        yield _write([_cells(row) for row in part]), len(part)


def read_all(campaign_id: uuid.UUID) -> Iterator[Sequence[CampaignStudy]]:
    """All studies of a campaign, a part at a time, so that memory stays flat."""
    after = 0
    while True:
        with snapshot() as session:
            part = rows.list_studies(session, campaign_id, EXPORT_AT_ONCE, after=after)
        if part:
            yield part
        if len(part) < EXPORT_AT_ONCE:
            return
        after = part[-1].id


def _write(lines: list[list[str]]) -> str:
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows(lines)
    return output.getvalue()


def _cells(row: CampaignStudy) -> list[str]:
    entry = CampaignStudyEntry.from_row(row).model_dump(mode="json")
    entry["missing"] = " ".join(entry["missing"])
    return [as_cell(entry[column]) for column in COLUMNS]


def as_cell(value: object) -> str:
    """A value for a spreadsheet: what it would take for a formula begins with an apostrophe."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
