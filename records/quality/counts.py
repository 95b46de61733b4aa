"""The kept numbers: added up by the sweep, and read for a choice of months, sites and groups.

What a lead reads is the sum of rows that no account is in. What a reader reads is his or her own
outcomes, by the index of accounts. There is no third way, so nobody reads another one's figures.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ColumnExpressionArgument,
    Date,
    DateTime,
    cast,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.quality_tables import DraftOutcome, QualityCount, QualityDay, QualityPart
from records.quality.cells import CELLS, DIFFERING, WATCHED
from records.workflow.site_scope import is_of_site

FOLD_ABOVE = 500
"""So many parts are worth adding up; their sum is read in a few milliseconds."""

FOLD_AT_ONCE = 5_000
"""Parts of one transaction."""

_GROUP = ("bundle_digest", "view", "device", "age_group", "sex", "arm")


class Dimension(StrEnum):
    """By what figures are broken down."""

    MONTH = "month"
    MODEL = "model"
    SITE = "site"
    VIEW = "view"
    DEVICE = "device"
    AGE = "age"
    SEX = "sex"
    ARM = "arm"


_COLUMNS = {
    Dimension.MODEL: "bundle_digest",
    Dimension.SITE: "site_id",
    Dimension.VIEW: "view",
    Dimension.DEVICE: "device",
    Dimension.AGE: "age_group",
    Dimension.SEX: "sex",
    Dimension.ARM: "arm",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """Of what figures are asked.

    Attributes:
        since, until: the first days of the first and of the last month.
        account_id: whose own figures; None is the sum of the sites that are shown.
        bundle_digest, site_id, view, device, age_group, sex, arm: only these; None is all.
    """

    since: dt.date
    until: dt.date
    account_id: uuid.UUID | None = None
    bundle_digest: str | None = None
    site_id: uuid.UUID | None = None
    view: str | None = None
    device: str | None = None
    age_group: str | None = None
    sex: str | None = None
    arm: str | None = None

    def narrowed(self, **changes: Any) -> Choice:
        """The same choice with some parts of it changed."""
        return replace(self, **changes)


def read(session: Session, choice: Choice) -> Counter[str]:
    """What was counted, by the names of `CELLS`; what was not counted is 0."""
    numbers: Counter[str] = Counter()
    if choice.account_id is not None:
        rows = session.execute(_own_cells(choice))
        numbers.update({CELLS[cell - 1]: int(number) for cell, number in rows})
        return numbers
    sums = [func.sum(QualityCount.numbers[place]) for place in range(1, len(CELLS) + 1)]
    kept = session.execute(select(*sums).where(*_conditions(QualityCount, choice))).one()
    numbers.update({name: int(sum_ or 0) for name, sum_ in zip(CELLS, kept, strict=True)})
    for cell, number in session.execute(_part_cells(choice)):
        numbers[CELLS[cell - 1]] += int(number)
    return numbers


def read_by(
    session: Session, choice: Choice, dimension: Dimension, names: Sequence[str]
) -> dict[Any, Counter[str]]:
    """Some of what was counted, by the values of a dimension.

    Args:
        session: the caller's transaction.
        choice: of what.
        dimension: by what; a month is its first day.
        names: which of `CELLS`.
    """
    places = {CELLS.index(name) + 1: name for name in names}
    found: dict[Any, Counter[str]] = {}
    if choice.account_id is None:
        key = _key(QualityCount, dimension)
        sums = [func.sum(QualityCount.numbers[place]) for place in places]
        kept = select(key, *sums).where(*_conditions(QualityCount, choice)).group_by(key)
        for value, *row in session.execute(kept):
            numbers = {name: int(sum_ or 0) for name, sum_ in zip(names, row, strict=True)}
            found.setdefault(value, Counter()).update(numbers)
        rest = _part_cells(choice, _key(QualityPart, dimension))
    else:
        rest = _own_cells(choice, _key(DraftOutcome, dimension))
    for value, cell, number in session.execute(rest):
        if cell in places:
            found.setdefault(value, Counter())[places[cell]] += int(number)
    return {value: counted for value, counted in found.items() if any(counted.values())}


def count_waiting(session: Session) -> int:
    """How many outcomes a worker is still to complete, at the sites that are shown."""
    return (
        session.scalar(
            select(func.count())
            .select_from(DraftOutcome)
            .where(DraftOutcome.cells.is_(None), is_of_site(DraftOutcome.site_id))
        )
        or 0
    )


def fold(session: Session, above: int = FOLD_ABOVE) -> int:
    """Add the parts to the kept numbers, where there are more than `above`.

    Two calls at once do no harm: a part is deleted once, and only who deleted it adds it.

    Returns:
        How many parts were added; FOLD_AT_ONCE at most.
    """
    if (session.scalar(select(func.count()).select_from(QualityPart)) or 0) <= above:
        return 0
    oldest = (
        select(QualityPart.id)
        .order_by(QualityPart.id)
        .limit(FOLD_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    parts = session.scalars(
        delete(QualityPart)
        .where(QualityPart.id.in_(oldest.scalar_subquery()))
        .returning(QualityPart)
        .execution_options(synchronize_session=False)
    ).all()
    _add_to_months(session, parts)
    _add_to_days(session, parts)
    return len(parts)


def _add_to_months(session: Session, parts: Iterable[QualityPart]) -> None:
    sums: dict[tuple[Any, ...], list[int]] = {}
    for part in parts:
        group = (getattr(part, name) for name in _GROUP)
        key = (part.site_id, part.day.replace(day=1), *group)
        numbers = sums.setdefault(key, [0] * len(CELLS))
        for cell in part.cells:
            numbers[cell - 1] += part.number
    for key in sorted(sums):
        row = insert(QualityCount).values(
            **dict(zip(("site_id", "month", *_GROUP), key, strict=True)), numbers=sums[key]
        )
        session.execute(
            row.on_conflict_do_update(
                index_elements=["site_id", "month", *_GROUP],
                set_={"numbers": func.add_numbers(QualityCount.numbers, row.excluded.numbers)},
            )
        )


def _add_to_days(session: Session, parts: Iterable[QualityPart]) -> None:
    sums: dict[tuple[Any, ...], list[int]] = {}
    for part in parts:
        numbers = sums.setdefault((part.site_id, part.bundle_digest, part.day), [0, 0])
        numbers[0] += part.number * (WATCHED in part.cells)
        numbers[1] += part.number * (DIFFERING in part.cells)
    for key in sorted(sums):
        site_id, digest, day = key
        watched, differing = sums[key]
        row = insert(QualityDay).values(
            site_id=site_id, bundle_digest=digest, day=day, watched=watched, differing=differing
        )
        session.execute(
            row.on_conflict_do_update(
                index_elements=["site_id", "bundle_digest", "day"],
                set_={
                    "watched": QualityDay.watched + row.excluded.watched,
                    "differing": QualityDay.differing + row.excluded.differing,
                },
            )
        )


def _conditions(table: Any, choice: Choice) -> list[ColumnExpressionArgument[bool]]:
    """The conditions of a choice on one of the three tables."""
    conditions: list[ColumnExpressionArgument[bool]] = [is_of_site(table.site_id)]
    if table is QualityCount:
        conditions += [table.month >= choice.since, table.month <= choice.until]
    else:
        after = (choice.until + dt.timedelta(days=31)).replace(day=1)
        conditions += [table.day >= choice.since, table.day < after]
    if table is DraftOutcome:
        conditions += [table.account_id == choice.account_id, table.cells.is_not(None)]
    if choice.site_id is not None:
        conditions.append(table.site_id == choice.site_id)
    for name in _GROUP:
        value = getattr(choice, name)
        if value is not None:
            conditions.append(getattr(table, name) == value)
    return conditions


def _key(table: Any, dimension: Dimension) -> ColumnElement[Any]:
    if dimension is not Dimension.MONTH:
        column: ColumnElement[Any] = getattr(table, _COLUMNS[dimension])
        return column
    if table is QualityCount:
        return QualityCount.month.expression
    return cast(func.date_trunc("month", cast(table.day, DateTime(timezone=False))), Date)


def _own_cells(choice: Choice, *keys: ColumnElement[Any]) -> Any:
    cell = func.unnest(DraftOutcome.cells).column_valued("cell", joins_implicitly=True)
    return (
        select(*keys, cell, func.count())
        .select_from(DraftOutcome)
        .where(*_conditions(DraftOutcome, choice))
        .group_by(*keys, cell)
    )


def _part_cells(choice: Choice, *keys: ColumnElement[Any]) -> Any:
    cell = func.unnest(QualityPart.cells).column_valued("cell", joins_implicitly=True)
    return (
        select(*keys, cell, func.sum(QualityPart.number))
        .select_from(QualityPart)
        .where(*_conditions(QualityPart, choice))
        .group_by(*keys, cell)
    )
