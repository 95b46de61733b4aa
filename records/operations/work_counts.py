"""How much was prepared, drafted, skipped and failed in each quarter of an hour, as it is kept.

A trigger adds a row to `work_count_parts` for each event. The sweep folds them into `work_counts`,
so a night is a few hundred rows, however many studies it had. Each number is of one site: that of
the studies when the work was done. Work is answered of the sites that are shown.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.night_tables import WorkCount, WorkCountPart
from records.states import WorkKind
from records.workflow.site_scope import is_of_site

QUARTER = dt.timedelta(minutes=15)

FOLD_ABOVE = 500
"""So many parts are worth folding; their sum is read in a fraction of a millisecond."""


@dataclass(frozen=True, slots=True)
class Count:
    """A number of one quarter of an hour.

    Attributes:
        quarter: its beginning.
        kind: what was done.
        reason: why it was skipped or failed; else "".
        worker: stage@host; "" where it is not known.
        number: how many.
    """

    quarter: dt.datetime
    kind: WorkKind
    reason: str
    worker: str
    number: int


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a stretch of time, by quarters of an hour."""

    counts: Sequence[Count]

    def total(self, kind: WorkKind) -> int:
        """How many ended so."""
        return sum(count.number for count in self.counts if count.kind is kind)

    def by_reason(self, kind: WorkKind) -> dict[str, int]:
        """How many ended so for each reason, the most frequent first."""
        numbers: Counter[str] = Counter()
        for count in self.counts:
            if count.kind is kind:
                numbers[count.reason] += count.number
        return dict(sorted(numbers.items(), key=lambda item: (-item[1], item[0])))

    def by_worker(self) -> dict[str, int]:
        """How many each prepared or drafted, by stage@host."""
        numbers: Counter[str] = Counter()
        for count in self.counts:
            if count.worker and count.kind in (WorkKind.PREPARED, WorkKind.DRAFTED):
                numbers[count.worker] += count.number
        return dict(sorted(numbers.items()))

    def by_quarter(self, kind: WorkKind) -> dict[dt.datetime, int]:
        """How many ended so in each quarter; quarters without any are left out."""
        numbers: Counter[dt.datetime] = Counter()
        for count in self.counts:
            if count.kind is kind:
                numbers[count.quarter] += count.number
        return dict(numbers)


def read_work(session: Session, begins_at: dt.datetime, ends_at: dt.datetime) -> Work:
    """The work of the quarters that begin in a stretch of time, its end excluded.

    It is of the sites that are shown.
    """
    kept = union_all(
        *(
            select(table.quarter, table.kind, table.reason, table.worker, table.number).where(
                table.quarter >= begins_at, table.quarter < ends_at, is_of_site(table.site_id)
            )
            for table in (WorkCount, WorkCountPart)
        )
    ).subquery()
    keys = (kept.c.quarter, kept.c.kind, kept.c.reason, kept.c.worker)
    rows = session.execute(
        select(*keys, func.sum(kept.c.number)).group_by(*keys).order_by(kept.c.quarter)
    )
    return Work(
        [
            Count(quarter, WorkKind(kind), reason, worker, int(number))
            for quarter, kind, reason, worker, number in rows
        ]
    )


def fold(session: Session, above: int = FOLD_ABOVE) -> int:
    """Add the parts to the numbers, where there are more than `above` parts.

    Two calls at once do no harm: a part is deleted once, and only who deleted it adds it.

    Returns:
        How many parts there were; 0 where nothing was folded.
    """
    parts = session.scalar(select(func.count()).select_from(WorkCountPart)) or 0
    if parts <= above:
        return 0
    names = ("quarter", "kind", "reason", "worker", "site_id")
    folded = (
        delete(WorkCountPart)
        .returning(*(getattr(WorkCountPart, name) for name in (*names, "number")))
        .cte("folded")
    )
    keys = [folded.c[name] for name in names]
    sums = select(*keys, func.sum(folded.c.number)).group_by(*keys).order_by(*keys)
    statement = insert(WorkCount).from_select([*names, "number"], sums.add_cte(folded))
    session.execute(
        statement.on_conflict_do_update(
            index_elements=names,
            set_={"number": WorkCount.number + statement.excluded.number},
        )
    )
    return parts
