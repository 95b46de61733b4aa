"""Draws a chart of the scores with their intervals, over the floors."""

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
_BUNDLE, _FLOOR, _GRID, _INK = "#0b6e6e", "#9a9a9a", "#e6e6e6", "#333333"


def draw_chart(evaluation: Evaluation) -> bytes:
    """Return a PNG: a panel for each score, with the bundle's modes above the floors."""
    rows: list[tuple[str, Scores, str]] = [
        (f"mode {mode}", result.scores.main, _BUNDLE) for mode, result in evaluation.modes.items()
    ]
    rows += [(TITLES[n], floor.main, _FLOOR) for n, floor in evaluation.floors.items()]
    names = [name for name in _SCORES if name in evaluation.main.scores.main]
    figure = Figure(
        figsize=(2.5 * len(names) + 1.2, 0.34 * len(rows) + 0.9),
        layout=ConstrainedLayoutEngine(wspace=0.08),
    )
    for column, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), column + 1)
        for row_index, (_, scores, colour) in enumerate(rows):
            score = scores.get(name)
            if score is None:
                continue
            axes.plot(score.value, row_index, "o", color=colour, markersize=6, clip_on=False)
            if score.low is not None and score.high is not None:
                axes.plot(
                    [score.low, score.high],
                    [row_index, row_index],
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
