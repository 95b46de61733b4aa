"""The section that compares two bundles."""

from __future__ import annotations

from training.evaluation.evaluate import Comparison
from training.evaluation.pages.grid import Cell, Grid, Line, Section, format_score, interval_cell
from training.evaluation.pages.sections import heading
from training.metrics.resampling import PairedResult


def comparison_section(comparison: Comparison) -> Section:
    """Return every score of both, their difference, and how easily chance would produce it."""
    first, second = comparison.first, comparison.second
    columns = (f"{first.name} (first)", f"{second.name} (second)", "difference", "p")
    grids = tuple(
        Grid(
            f"Prior mode {mode}, wording by normalisation {first.scoring.first}",
            "score",
            columns,
            tuple(Line(heading(name), _cells(score)) for name, score in scores.items()),
        )
        for mode, scores in comparison.modes.items()
    )
    return Section(
        "Two bundles",
        (
            f"Both drafted the same {len(first.held_out.examples)} studies. First: digest "
            f"{first.manifest.digest}. Second: digest {second.manifest.digest}.",
            "p, two-sided: how often a difference as large comes out when it is left to a coin "
            f"which bundle wrote which draft ({first.scoring.resamples} rounds of approximate "
            "randomisation). The smallest that it can be is "
            f"{1 / (first.scoring.resamples + 1):.4f}. It is not corrected for the number of "
            "scores: choose the one that counts before looking.",
        ),
        grids,
    )


def _cells(score: PairedResult) -> tuple[Cell, ...]:
    difference = interval_cell(score.difference)
    sign = "+" if score.difference.value > 0 else ""
    return (
        Cell(format_score(score.first)),
        Cell(format_score(score.second)),
        Cell(sign + difference.text, difference.detail),
        Cell(f"{score.p:.4f}"),
    )
