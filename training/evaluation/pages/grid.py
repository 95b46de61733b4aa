"""The parts of a report: sections of sentences and tables. Knows no scores and no markup."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.metrics.resampling import Interval

OURS, FLOOR, PLAIN = "ours", "floor", ""
NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """What stands in a table. detail: what stands beside it, smaller."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Line:
    """A row. kind: OURS, FLOOR or PLAIN."""

    head: str
    cells: tuple[Cell, ...]
    kind: str = PLAIN


@dataclass(frozen=True)
class Grid:
    """A table. columns: headings of the cells; the first, `of`, is over the heads of the rows."""

    caption: str
    of: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Section:
    """A heading, what is said under it, and its tables."""

    title: str
    says: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()


def number(value: float | None) -> str:
    """Three decimals, as the paper prints scores."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.3f}"


def interval(one: Interval | None) -> Cell:
    """A score with its interval."""
    if one is None:
        return Cell(NOTHING)
    if one.low is None or one.high is None:
        return Cell(number(one.value))
    return Cell(number(one.value), f"{number(one.low)} to {number(one.high)}")


def intervals(scores: Mapping[str, Interval], names: Sequence[str]) -> tuple[Cell, ...]:
    """The cells of a row; a score that is not there is a dash."""
    return tuple(interval(scores.get(name)) for name in names)


def share(part: int, of: int) -> Cell:
    """A count and its share."""
    return Cell(f"{part / of:.1%}", f"{part} of {of}") if of else Cell(NOTHING)
