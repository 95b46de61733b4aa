"""Kept numbers: studies by listed state, drafts and refusals, counted as they happen.

Triggers add a row to `tallies` for each change, and a number is the sum of its rows. So no writer
waits for another one, and nobody counts the rows of a large table.
"""

from __future__ import annotations

from sqlalchemy import Select, delete, func, insert, select
from sqlalchemy.orm import Session

from records.database.tables import Tally
from records.states import TallyKind

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


def fold(session: Session, above: int = FOLD_ABOVE) -> int:
    """Make one row of the rows of each number, where there are more than `above` rows in all.

    Rows that are added meanwhile stay as they are, and the next call folds them. Two calls at once
    do no harm: a row is deleted once, and only who deleted it adds its number again.

    Returns:
        How many rows were folded.
    """
    if (session.scalar(select(func.count()).select_from(Tally)) or 0) <= above:
        return 0
    rows = session.execute(delete(Tally).returning(Tally.kind, Tally.name, Tally.number)).all()
    sums: dict[tuple[str, str], int] = {}
    for kind, name, number in rows:
        sums[kind, name] = sums.get((kind, name), 0) + number
    session.execute(
        insert(Tally),
        [
            {"kind": kind, "name": name, "number": number}
            for (kind, name), number in sums.items()
            if number
        ],
    )
    return len(rows)
