"""The studies of a campaign as CSV, as a stream: each one's end and its reason."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterator, Sequence

from records.campaigns import rows
from records.database.campaign_tables import CampaignStudy
from records.database.session import unit_of_work
from records.states import CampaignStudyState

EXPORT_AT_ONCE = 2000
"""Rows of one transaction, and of one part of the text."""

COLUMNS = (
    "row",
    "study_instance_uid",
    "accession_number",
    "state",
    "reason",
    "detail",
    "attempts",
    "bytes",
    "images_listed",
    "images_missing",
    "missing_sop_instance_uids",
    "changed_at",
)

_BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def guard_cell(value: str) -> str:
    """A value that a spreadsheet takes for text, whatever it begins with.

    An accession number is what another system wrote: one that begins with "=" would be run.
    """
    return f"'{value}" if value.startswith(_BEGINS_A_FORMULA) else value


def stream_csv(
    campaign_id: uuid.UUID,
    *,
    state: CampaignStudyState | None = None,
    reason: str | None = None,
) -> Iterator[str]:
    """The rows of a campaign as CSV, in parts, in the order in which they were found.

    Each part is read in a transaction of its own, so that a slow reader holds none open.

    Args:
        campaign_id: the campaign.
        state: only studies in this state.
        reason: only those with this reason; it needs a state.
    """
    yield ",".join(COLUMNS) + "\r\n"
    for found in _read(campaign_id, state, reason):
        part = io.StringIO()
        csv.writer(part).writerows(map(_cells, found))
        yield part.getvalue()


def stream_json(
    campaign_id: uuid.UUID,
    *,
    state: CampaignStudyState | None = None,
    reason: str | None = None,
) -> Iterator[str]:
    """The same as JSON, a line for each study; its keys are the columns of the CSV."""
    for found in _read(campaign_id, state, reason):
        yield "".join(
            json.dumps(dict(zip(COLUMNS, _values(row), strict=True))) + "\n" for row in found
        )


def _read(
    campaign_id: uuid.UUID, state: CampaignStudyState | None, reason: str | None
) -> Iterator[Sequence[CampaignStudy]]:
    after = 0
    while True:
        with unit_of_work() as session:
            found = rows.list_studies(
                session, campaign_id, EXPORT_AT_ONCE, state=state, reason=reason, after=after
            )
        if found:
            after = found[-1].id
            yield found
        if len(found) < EXPORT_AT_ONCE:
            return


def _values(row: CampaignStudy) -> list[object]:
    return [
        row.id,
        row.study_instance_uid,
        row.accession_number,
        row.state,
        row.reason,
        row.detail,
        row.attempts,
        row.size,
        row.listed,
        len(row.missing),
        " ".join(row.missing),
        row.changed_at.isoformat(),
    ]


def _cells(row: CampaignStudy) -> list[object]:
    return [guard_cell(value) if isinstance(value, str) else value for value in _values(row)]
