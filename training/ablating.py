"""The paper's Table 3 on a corpus: the full training, and what each part left out costs.

All rows start from one base and share what they have in common: stage 1 is trained once. Knows no
command.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.making import About
from training.course import Course
from training.stages import ABLATIONS

TITLES = {
    "full": "with all fine-tuning",
    "untuned": "without effective tuning",
    "without_priors": "without prior information",
    "without_t5": "without LLM tuning",
    "without_visual": "without visual encoder tuning",
}
"""Row -> the paper's words for it."""


@dataclass(frozen=True)
class Row:
    """One row: its bundle's folder, what it was trained with, and its scores by name."""

    name: str
    bundle: Path
    mode: str
    scores: dict[str, float]

    @property
    def title(self) -> str:
        """The paper's words."""
        return f"ClinicalBLIP {TITLES[self.name]}"


Scoring = Callable[[Path, str], dict[str, float]]
"""A bundle's folder and a prior mode -> scores by name."""


def ablate(
    course: Course,
    out: Path,
    score: Scoring,
    *,
    licence: str,
    resume: bool = False,
    tell: Callable[[str], None] = print,
) -> list[Row]:
    """Train, bundle and score every row, in the paper's order.

    Each row is drafted as it was trained: without priors where it had none. A row that has its
    scores in `out` is not trained again.

    Raises:
        NightdraftError, ModelError: as `Course.teach` and the scoring.
    """
    rows: list[Row] = []
    for name, stages in ABLATIONS.items():
        folder = out / name
        told = out / f"{name}.json"
        mode = "none" if stages and not any(stage.priors for stage in stages) else "context"
        if not told.is_file():
            tell(f"{name}: {' then '.join(stage.name for stage in stages) or 'nothing'} trains")
            adapters = course.teach(stages, resume=resume)
            templates = course.templates(stages) if stages else ()
            about = About(f"ablation-{name}", "1", templates, licence)
            if stages:
                course.bundle(folder, adapters, about, overwrite=True)
            scores = score(folder if stages else Path(course.base), mode)
            _keep(told, {"mode": mode, "scores": scores})
            tell(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()))
        said = json.loads(told.read_text(encoding="utf-8"))
        rows.append(Row(name, folder, said["mode"], said["scores"]))
    return rows


def as_markdown(rows: list[Row], published: dict[str, tuple[float, float, float]]) -> str:
    """The rows as a table, the paper's figures (BLEU-A, METEOR, ROUGE-L) beside ours.

    published: row -> the paper's figures, of IU X-ray.
    """
    names = list(rows[0].scores)
    head = ["Methods", "priors", *names, "the paper's BLEU-A", "METEOR", "ROUGE-L"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        own = [f"{row.scores[name]:.3f}" for name in names]
        paper = [f"{value:.3f}" for value in published[row.name]]
        lines.append(f"| {' | '.join([row.title, row.mode, *own, *paper])} |")
    return "\n".join(lines)


def plot(path: Path, rows: list[Row], names: tuple[str, ...]) -> None:
    """A bar for each row and score, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(names), figsize=(4.5 * len(names), 3.2), sharey=True, constrained_layout=True
    )
    labels = [TITLES[row.name] for row in rows][::-1]
    for place, name in zip(axes if len(names) > 1 else [axes], names, strict=True):
        values = [row.scores[name] for row in rows][::-1]
        colours = ["#9aa7b3"] * (len(rows) - 1) + ["#1f6f54"]
        bars = place.barh(labels, values, color=colours)
        place.bar_label(bars, fmt="%.3f", padding=3)
        place.set(title=name, xlim=(0, max(1e-9, *values) * 1.2))
        place.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _keep(path: Path, said: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    fresh.rename(path)
