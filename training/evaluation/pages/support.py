"""The section about image support: what the finding head says of the drafts."""

from __future__ import annotations

from training.evaluation.evaluate import Evaluation
from training.evaluation.image_support import (
    AUC,
    OMISSIONS,
    OMISSIONS_RIGHT,
    RIGHT_SUPPORTED,
    VERDICTS,
    WRONG_CONTRADICTED,
    SupportScores,
)
from training.evaluation.pages.grid import (
    BUNDLE,
    NO_VALUE,
    PLAIN,
    Cell,
    Grid,
    Line,
    Section,
    interval_cells,
)

HEADINGS = {
    **{name: str(verdict) for verdict, name in VERDICTS.items()},
    RIGHT_SUPPORTED: "right ones supported",
    WRONG_CONTRADICTED: "wrong ones not supported",
    AUC: "AUC, right against wrong",
    OMISSIONS: "omissions a study",
    OMISSIONS_RIGHT: "of them in the report",
}


def support_section(evaluation: Evaluation) -> Section | None:
    """Return the section; None where no mode has image support."""
    supports = {
        mode: result.support
        for mode, result in evaluation.modes.items()
        if result.support is not None
    }
    if not supports:
        return None
    lines = []
    for mode, support in supports.items():
        lines.append(Line(f"prior mode {mode}", _cells(support.own), BUNDLE))
        lines.append(Line(f"prior mode {mode}, films swapped", _cells(support.swapped), PLAIN))
    observations = dict.fromkeys(name for each in supports.values() for name in each.own.omissions)
    omitted = tuple(
        Line(name, tuple(Cell(str(s.own.omissions.get(name, 0))) for s in supports.values()))
        for name in observations
    )
    first = next(iter(supports.values()))
    grids = [Grid("Image support", "", ("statements", *HEADINGS.values()), tuple(lines))]
    if omitted:
        modes = tuple(f"prior mode {mode}" for mode in supports)
        grids.append(Grid("Drafts that omit a finding", "finding", modes, omitted))
    return Section(
        "Image support",
        (
            "What the bundle's finding head says of the findings that drafts name, sentence by "
            f"sentence. Its thresholds are from {first.calibration_studies:,} held-out studies and "
            f"allow {first.error_rate:.0%} of errors. A finding is right where "
            f"{evaluation.scoring.labeller.name} reads it in the report too; AUC is the chance "
            "that a rightly named finding scores above a wrongly named one. An omission is a "
            "finding that the head sees and the draft does not name.",
            "Films swapped: the same drafts by the scores of another study's films. Support that "
            "stays there needs no look at the film.",
        ),
        tuple(grids),
    )


def _cells(scores: SupportScores) -> tuple[Cell, ...]:
    if not scores.studies:
        return (Cell("0"), *[Cell(NO_VALUE)] * len(HEADINGS))
    return (Cell(f"{scores.statements:,}"), *interval_cells(scores.scores, list(HEADINGS)))
