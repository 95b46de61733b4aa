"""The parts of a report: sections of paragraphs and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.metrics.resampling import Interval

BUNDLE, FLOOR, PLAIN = "ours", "floor", ""
NO_VALUE = "–"


@dataclass(frozen=True)
class Cell:
    """A cell of a table; `detail` is shown beside the text, smaller."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a table; `kind` is BUNDLE, FLOOR or PLAIN."""

    head: str
    cells: tuple[Cell, ...]
    kind: str = PLAIN


@dataclass(frozen=True)
class Grid:
    """A table; `columns` are the headings of the cells, `row_heading` that of the rows' heads."""

    caption: str
    row_heading: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Section:
    """A heading, the paragraphs under it, and its tables."""

    title: str
    paragraphs: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()


def format_score(value: float | None) -> str:
    """Return a score with three decimals, as the paper prints it."""
    return NO_VALUE if value is None or math.isnan(value) else f"{value:.3f}"


def interval_cell(score: Interval | None) -> Cell:
    """Return a cell of a score with its interval."""
    if score is None:
        return Cell(NO_VALUE)
    if score.low is None or score.high is None:
        return Cell(format_score(score.value))
    return Cell(
        format_score(score.value), f"{format_score(score.low)} to {format_score(score.high)}"
    )


def interval_cells(scores: Mapping[str, Interval], names: Sequence[str]) -> tuple[Cell, ...]:
    """Return the cells of a row; a missing score is a dash."""
    return tuple(interval_cell(scores.get(name)) for name in names)


def share_cell(count: int, total: int) -> Cell:
    """Return a cell of a share and its count."""
    return Cell(f"{count / total:.1%}", f"{count} of {total}") if total else Cell(NO_VALUE)
