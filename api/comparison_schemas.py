"""What REST gives of comparisons of two drafts by two bundles, as pydantic models."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from pydantic import BaseModel

from records.database import tables
from records.database.discrepancy_tables import DraftComparison
from records.states import Agreement
from records.workflow import draft_comparisons


class BundlePair(BaseModel):
    """Two bundles by their digests, and of how many studies their drafts were compared."""

    first: str
    second: str
    compared: int


class BundlePairs(BaseModel):
    """The pairs of bundles that drafted the same studies, most comparisons first."""

    pairs: list[BundlePair]

    @classmethod
    def from_pairs(cls, pairs: list[tuple[str, str, int]]) -> BundlePairs:
        """The pairs of `records`."""
        return cls(
            pairs=[BundlePair(first=first, second=second, compared=n) for first, second, n in pairs]
        )


class ComparisonTable(BaseModel):
    """How often which of two drafts says that an observation is present.

    numbers: by observation, studies in which BOTH, only the FIRST, only the SECOND or NEITHER says
    so.
    """

    compared: int
    numbers: dict[str, dict[Agreement, int]]

    @classmethod
    def from_table(cls, table: draft_comparisons.ComparisonTable) -> ComparisonTable:
        """The table of `records`."""
        return cls(compared=table.compared, numbers=table.numbers)


class DraftComparisonEntry(BaseModel):
    """Two drafts of one study.

    differing: how many observations one of the two says are present and the other does not.
    changed: the characters to change, as a share of those of the longer texts. observations: by
    observation, what the first and the second draft say. distances: by section, characters to
    change and characters of the longer text.
    """

    id: int
    study: uuid.UUID
    study_instance_uid: str
    patient_id: str
    accession_number: str
    first_draft: uuid.UUID
    second_draft: uuid.UUID
    first_bundle: str
    second_bundle: str
    campaign: uuid.UUID | None
    differing: int
    changed: float
    observations: dict[str, Any]
    distances: dict[str, Any]
    compared_at: dt.datetime | None

    @classmethod
    def from_rows(
        cls, row: DraftComparison, study: tables.Study, *, is_withheld: bool
    ) -> DraftComparisonEntry:
        """The comparison of its rows; what drafts say that are not shown is left out."""
        return cls(
            id=row.id,
            study=study.id,
            study_instance_uid=study.study_instance_uid,
            patient_id=study.patient_id,
            accession_number=study.accession_number,
            first_draft=row.first_draft_id,
            second_draft=row.second_draft_id,
            first_bundle=row.first_bundle,
            second_bundle=row.second_bundle,
            campaign=row.campaign_id,
            differing=row.differing,
            changed=round(row.changed, 4),
            observations={} if is_withheld else row.observations or {},
            distances=row.distances or {},
            compared_at=row.compared_at,
        )


class DraftComparisonEntries(BaseModel):
    """Comparisons, those first that differ most; `next` is the `after` of the following page."""

    comparisons: list[DraftComparisonEntry]
    next: str | None

    @classmethod
    def from_page(cls, page: draft_comparisons.ComparisonPage) -> DraftComparisonEntries:
        """The page of a list."""
        return cls(
            comparisons=[
                DraftComparisonEntry.from_rows(
                    entry.comparison, entry.study, is_withheld=entry.is_withheld
                )
                for entry in page.entries
            ],
            next=page.next,
        )


class DraftComparisonDetail(DraftComparisonEntry):
    """A comparison with both drafts, each with its warning."""

    first_text: str
    second_text: str

    @classmethod
    def from_record(cls, record: draft_comparisons.ComparisonRecord) -> DraftComparisonDetail:
        """The comparison of a record."""
        return cls(
            **DraftComparisonEntry.from_rows(
                record.comparison, record.study, is_withheld=not record.shows_both
            ).model_dump(),
            first_text=record.text_of(record.first),
            second_text=record.text_of(record.second),
        )
