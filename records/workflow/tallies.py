"""Kept numbers: studies, drafts, refusals, holds and failures, counted as they happen.

Triggers add a row to `tallies` for each change, and a number is the sum of its rows. So no writer
waits for another one, and nobody counts the rows of a large table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy import Select, delete, func, insert, select
from sqlalchemy.orm import Session

from records.database.tables import Tally
from records.states import TallyKind

DRAFT_SECONDS_BOUNDS = (
    60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 57600, 86400, 172800,
)  # fmt: skip
"""Upper bounds of the buckets in which the time to the first draft is counted, in seconds."""

FOLD_ABOVE = 500
"""So many rows are worth folding; their sum is read in a fraction of a millisecond."""


def parts(kind: TallyKind) -> Select[str, int]:
    """The parts of the numbers of a kind: a name, and what is added to its number."""
    return select(Tally.name, Tally.number).where(Tally.kind == kind)


def read_numbers(session: Session, kind: TallyKind) -> dict[str, int]:
    """The numbers of a kind by name; names that are 0 may be missing."""
    kept = parts(kind).subquery()
    sums = session.execute(select(kept.c.name, func.sum(kept.c.number)).group_by(kept.c.name))
    return {name: int(number) for name, number in sums}


def count_saved_drafts(session: Session) -> int:
    """How many drafts were ever saved."""
    return read_numbers(session, TallyKind.DRAFTS).get("", 0)


@dataclass(frozen=True, slots=True)
class TimeToDraft:
    """The times from the first film of a study to its first draft.

    Attributes:
        counts: how many drafts took at most so many seconds; the last bound is infinite.
        seconds: the sum of all times.
    """

    counts: dict[float, int]
    seconds: int


def read_time_to_draft(session: Session) -> TimeToDraft:
    """How long first drafts took, counted since this is kept."""
    numbers = read_numbers(session, TallyKind.DRAFT_SECONDS)
    counts: dict[float, int] = {}
    total = 0
    for bound in (*DRAFT_SECONDS_BOUNDS, math.inf):
        total += numbers.get("+Inf" if bound == math.inf else str(bound), 0)
        counts[float(bound)] = total
    return TimeToDraft(counts, read_numbers(session, TallyKind.DRAFT_SECONDS_SUM).get("", 0))


def add(session: Session, kind: TallyKind, name: str, number: int = 1) -> None:
    """Count something that no trigger counts."""
    session.execute(insert(Tally).values(kind=kind, name=name, number=number))


def fold(session: Session, above: int = FOLD_ABOVE) -> int:
    """Make one row of the rows of each number, where there are more than `above` rows in all.

    Rows that are added meanwhile stay as they are, and the next call folds them. Two calls at once
    do no harm: a row is deleted once, and only who deleted it adds its number again.

    Returns:
        How many rows there were; 0 where nothing was folded.
    """
    rows = session.scalar(select(func.count()).select_from(Tally)) or 0
    if rows <= above:
        return 0
    names = ("kind", "name", "site_id")
    columns = [getattr(Tally, name) for name in names]
    folded = delete(Tally).returning(*columns, Tally.number).cte("folded")
    number = func.sum(folded.c.number)
    keys = [folded.c[name] for name in names]
    sums = select(*keys, number).group_by(*keys).having(number != 0)
    session.execute(insert(Tally).from_select([*names, "number"], sums.add_cte(folded)))
    return rows
