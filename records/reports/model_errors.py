"""The table of the model's errors: what final reports say, and how much of it drafts do not name.

The numbers are kept as drafts are compared, so nobody counts rows. Of several final reports of a
study, or versions of one, the last that was compared counts for a draft. Each number is of the site
that the study had when it was compared, and the table is of the sites that are shown.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from records.database.discrepancy_tables import ModelErrorTally
from records.database.draft_tables import Draft
from records.database.report_tables import FinalComparison
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Study
from records.states import ErrorCount
from records.workflow.draft_comparisons import campaign_of
from records.workflow.site_scope import is_of_site

FOLD_ABOVE = 2_000
"""So many parts of the numbers are worth folding: 29 numbers of some campaigns."""


@dataclass(frozen=True, slots=True)
class ObservationErrors:
    """The errors of one observation.

    Attributes:
        said: drafts whose final report says that it is present.
        missed: those of them that do not name it.
    """

    said: int
    missed: int


@dataclass(frozen=True, slots=True)
class ModelErrors:
    """The table.

    Attributes:
        compared: drafts that were compared with a final report.
        by_observation: only observations that a report says.
    """

    compared: int
    by_observation: Mapping[str, ObservationErrors]


def count(session: Session, comparison_id: int, said: Sequence[str], missed: Sequence[str]) -> None:
    """Count one comparison, in the transaction that keeps it, and no longer an earlier one.

    Args:
        session: the caller's transaction.
        comparison_id: the comparison of a draft with a final report.
        said: observations that the report says are present.
        missed: those of them that the draft does not name.
    """
    comparison = session.get_one(FinalComparison, comparison_id)
    draft_id = comparison.draft_id
    # Two workers may compare a draft with two reports at once.
    session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"model errors {draft_id}", 0)))
    )
    earlier = session.scalar(
        select(FinalComparison)
        .where(FinalComparison.draft_id == draft_id, FinalComparison.counted.is_not(None))
        .execution_options(populate_existing=True)
    )
    if earlier is not None:
        if earlier.id > comparison_id:
            return
        assert earlier.counted is not None
        _add(session, earlier.counted, -1)
        earlier.counted = None
        session.flush()
    campaign_id = session.scalar(select(campaign_of(Draft)).where(Draft.id == draft_id))
    site_id = session.scalars(select(Study.site_id).where(Study.id == comparison.study_id)).one()
    counted = {
        "campaign": str(campaign_id) if campaign_id else None,
        "site": str(site_id),
        "said": list(said),
        "missed": list(missed),
    }
    comparison.counted = counted
    session.flush()
    _add(session, counted, 1)


def read_table(session: Session, campaign_id: uuid.UUID | None = None) -> ModelErrors:
    """The numbers of all drafts, or of those of a campaign."""
    query = (
        select(
            ModelErrorTally.observation, ModelErrorTally.counted, func.sum(ModelErrorTally.number)
        )
        .where(is_of_site(ModelErrorTally.site_id))
        .group_by(ModelErrorTally.observation, ModelErrorTally.counted)
    )
    if campaign_id is not None:
        query = query.where(ModelErrorTally.campaign_id == campaign_id)
    numbers = {(of, ErrorCount(counted)): int(n) for of, counted, n in session.execute(query)}
    said = {of: n for (of, counted), n in numbers.items() if counted is ErrorCount.SAID and n}
    return ModelErrors(
        numbers.get(("", ErrorCount.COMPARED), 0),
        {
            of: ObservationErrors(n, numbers.get((of, ErrorCount.MISSED), 0))
            for of, n in said.items()
        },
    )


def fold(session: Session) -> None:
    """Make one row of the parts of each number, where there are many; as `tallies.fold`."""
    if (session.scalar(select(func.count()).select_from(ModelErrorTally)) or 0) <= FOLD_ABOVE:
        return
    names = ("campaign_id", "observation", "counted", "site_id")
    columns = [getattr(ModelErrorTally, name) for name in names]
    folded = delete(ModelErrorTally).returning(*columns, ModelErrorTally.number).cte("folded")
    keys = [folded.c[name] for name in names]
    sums = (
        select(*keys, func.sum(folded.c.number))
        .group_by(*keys)
        .having(func.sum(folded.c.number) != 0)
    )
    session.execute(insert(ModelErrorTally).from_select([*names, "number"], sums.add_cte(folded)))


def _add(session: Session, counted: Mapping[str, Any], number: int) -> None:
    campaign = counted["campaign"]
    # Without one it was counted before there was a second site.
    site_id = uuid.UUID(counted["site"]) if "site" in counted else DEFAULT_SITE_ID
    parts = [("", ErrorCount.COMPARED)]
    parts += [(name, ErrorCount.SAID) for name in counted["said"]]
    parts += [(name, ErrorCount.MISSED) for name in counted["missed"]]
    session.execute(
        insert(ModelErrorTally),
        [
            {
                "campaign_id": uuid.UUID(campaign) if campaign else None,
                "observation": observation,
                "counted": kind,
                "site_id": site_id,
                "number": number,
            }
            for observation, kind in parts
        ],
    )
