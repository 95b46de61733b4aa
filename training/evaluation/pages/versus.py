"""Two bundles side by side. Knows no markup."""

from __future__ import annotations

from training.evaluation.evaluate import Comparison
from training.evaluation.pages.grid import Cell, Grid, Line, Section, interval, number
from training.evaluation.pages.sections import heading
from training.metrics.resampling import Paired


def versus(comparison: Comparison) -> Section:
    """Every score of both, their difference, and how easily chance would make it."""
    first, second = comparison.first, comparison.second
    columns = (f"{first.name} (first)", f"{second.name} (second)", "difference", "p")
    grids = tuple(
        Grid(
            f"Prior mode {mode}, wording by normalisation {first.how.first}",
            "score",
            columns,
            tuple(Line(heading(name), _cells(one)) for name, one in scores.items()),
        )
        for mode, scores in comparison.modes.items()
    )
    return Section(
        "Two bundles",
        (
            f"Both drafted the same {len(first.held.examples)} studies. First: digest "
            f"{first.manifest.digest}. Second: digest {second.manifest.digest}.",
            "p, two-sided: how often a difference as large comes out when it is left to a coin "
            f"which bundle wrote which draft ({first.how.resamples} rounds of approximate "
            "randomisation). The smallest that it can be is "
            f"{1 / (first.how.resamples + 1):.4f}. It is not corrected for the number of scores: "
            "choose the one that counts before looking.",
        ),
        grids,
    )


def _cells(one: Paired) -> tuple[Cell, ...]:
    difference = interval(one.difference)
    sign = "+" if one.difference.value > 0 else ""
    return (
        Cell(number(one.first)),
        Cell(number(one.second)),
        Cell(sign + difference.text, difference.detail),
        Cell(f"{one.p:.4f}"),
    )
