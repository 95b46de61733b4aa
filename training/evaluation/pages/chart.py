"""A picture of the scores and their intervals over the floors. Knows no markup."""

from __future__ import annotations

import io

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from training.evaluation.evaluate import Evaluation
from training.evaluation.floors import TITLES
from training.evaluation.pages.sections import heading
from training.evaluation.scoring import Scores
from training.metrics.findings import F1

_SCORES = ("bleu_4", "meteor_1_5", "rouge_l", F1)
_OURS, _FLOOR, _GRID, _INK = "#0b6e6e", "#9a9a9a", "#e6e6e6", "#333333"


def draw(evaluation: Evaluation) -> bytes:
    """A PNG: a panel for each score; the bundle's modes on top, the floors under them."""
    rows: list[tuple[str, Scores, str]] = [
        (f"mode {mode}", came.scored.main, _OURS) for mode, came in evaluation.modes.items()
    ]
    rows += [(TITLES[n], one.main, _FLOOR) for n, one in evaluation.floors.items()]
    names = [name for name in _SCORES if name in evaluation.main.scored.main]
    figure = Figure(
        figsize=(2.5 * len(names) + 1.2, 0.34 * len(rows) + 0.9),
        layout=ConstrainedLayoutEngine(wspace=0.08),
    )
    for column, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), column + 1)
        for place, (_, scores, colour) in enumerate(rows):
            one = scores.get(name)
            if one is None:
                continue
            axes.plot(one.value, place, "o", color=colour, markersize=6, clip_on=False)
            if one.low is not None and one.high is not None:
                axes.plot(
                    [one.low, one.high],
                    [place, place],
                    "-",
                    color=colour,
                    linewidth=2,
                    clip_on=False,
                )
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [row[0] for row in rows] if column == 0 else [])
        axes.set_xlim(0, 1)
        axes.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0", ".25", ".5", ".75", "1"))
        axes.set_title(heading(name), fontsize=10, color=_INK, loc="left")
        axes.tick_params(labelsize=9, length=0, colors=_INK)
        axes.grid(axis="x", color=_GRID)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(_GRID)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=160)
    return out.getvalue()
