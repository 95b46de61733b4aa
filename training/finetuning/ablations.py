"""The paper's Table 3 on a corpus: the full training, and rows that leave a part of it out.

All rows start from one base and share what they have in common: stage 1 is trained once. Each row
is drafted with the prompts that it was trained with, beside the paper's figures.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.bundling.build import BundleDescription
from model.labels import load_labeller
from model.manifest import resolve
from model.prompting.prompt import TEMPLATES, PriorSource
from records.errors import NotAllowed
from training.corpus.example import TRAIN, Corpus
from training.evaluation.drafting import PriorMode
from training.evaluation.evaluate import evaluate
from training.evaluation.published import Table
from training.evaluation.scoring import ScoringConfig
from training.finetuning.config import differences, identity_of
from training.finetuning.pipeline import Pipeline
from training.finetuning.stages import ABLATIONS, Stage
from training.finetuning.training_data import dataset_identity
from training.metrics.resampling import Interval

ROW_SCORES = (
    *("bleu_a", "meteor_nltk", "meteor_1_5", "rouge_l", "rouge_l_google"),
    "finding_f1_micro",
)
"""The scores of a row; a score that a corpus does not have is left out."""

Rows = Mapping[str, tuple[Stage, ...]]


@dataclass(frozen=True)
class AblationRow:
    """One row of the table.

    Args:
        name: Key in `stages.ABLATIONS`.
        title: The paper's name of the row.
        mode: Prior mode of its prompts.
        scores: Scores by name.
    """

    name: str
    title: str
    mode: str
    scores: dict[str, Interval]


def ablation_stages(lora_rate: float | None, full_rate: float | None) -> Rows:
    """The rows with other learning rates; None leaves them as they are."""
    return {
        name: tuple(stage.with_rates(lora_rate, full_rate) for stage in stages)
        for name, stages in ABLATIONS.items()
    }


def ablate(
    pipeline: Pipeline,
    out: Path,
    score: Callable[[Path, PriorMode], dict[str, Interval]],
    published: Table,
    *,
    rows: Rows = ABLATIONS,
    scored: Mapping[str, Any] | None = None,
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> list[AblationRow]:
    """Train, bundle and score every row, in the paper's order.

    A row that has its scores in `out` is neither trained nor scored again.

    Args:
        pipeline: Base, corpus and settings of all rows.
        out: Folder for a bundle and a JSON file of each row.
        score: Scores a bundle in a prior mode.
        published: The paper's table.
        rows: The rows, and their stages.
        scored: What `score` depends on, so that a row with other scores is recognised.
        resume: Whether unfinished stages may be resumed.
        log: Gets lines for a person.

    Raises:
        NotAllowed: A row in `out` was made with other settings.
        NightdraftError, ModelError: As `Pipeline.train` and `score`.
    """
    pipeline.check()
    identities = {name: _identity(pipeline, stages, scored or {}) for name, stages in rows.items()}
    for name, identity in identities.items():
        if (path := out / f"{name}.json").is_file():
            _require_same_identity(path, identity)
    finished: list[AblationRow] = []
    for (name, stages), paper in zip(rows.items(), published.rows, strict=True):
        path = out / f"{name}.json"
        if not path.is_file():
            log(f"{name}: trains {', then '.join(stage.name for stage in stages) or 'nothing'}")
            bundle, mode = _train_row(pipeline, out / name, name, stages, resume=resume)
            scores = score(bundle, mode)
            as_json = {metric: asdict(interval) for metric, interval in scores.items()}
            _write_json(path, {"of": identities[name], "mode": mode, "scores": as_json})
            log(f"{name}: " + ", ".join(f"{n} {score.value:.3f}" for n, score in scores.items()))
        row = json.loads(path.read_text(encoding="utf-8"))
        intervals = {metric: Interval(**interval) for metric, interval in row["scores"].items()}
        finished.append(AblationRow(name, paper.method, row["mode"], intervals))
    return finished


def _train_row(
    pipeline: Pipeline, folder: Path, name: str, stages: Sequence[Stage], *, resume: bool
) -> tuple[Path, PriorMode]:
    """The bundle of a row and the prior mode of its prompts; a row without stages is the base."""
    if not stages:
        base = pipeline.manifest
        knows_priors = "context" in (base.template, *base.templates)
        return resolve(pipeline.base), PriorMode.CONTEXT if knows_priors else PriorMode.NONE
    adapters = pipeline.train(stages, resume=resume)
    about = BundleDescription(f"ablation-{name}", "1", pipeline.templates(stages))
    pipeline.build_bundle(folder, adapters, about, overwrite=True)
    if not any(stage.priors for stage in stages):
        return folder, PriorMode.NONE
    from_report = any(
        TEMPLATES[name].source is PriorSource.REPORT for name in pipeline.transform.templates
    )
    return folder, PriorMode.ORACLE if from_report else PriorMode.CONTEXT


def _identity(
    pipeline: Pipeline, stages: Sequence[Stage], scored: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings that must be equal for a row to be kept, as JSON."""
    identity = {
        "base": pipeline.manifest.digest,
        "corpus": dataset_identity(pipeline.corpus, pipeline.corpus_options, TRAIN, pipeline.limit),
        "length": asdict(pipeline.length),
        "stages": [
            identity_of(stage, pipeline.config, pipeline.transform, 1, {}) for stage in stages
        ],
        "scored": dict(scored),
    }
    as_json: dict[str, Any] = json.loads(json.dumps(identity))
    return as_json


def _require_same_identity(path: Path, current: dict[str, Any]) -> None:
    saved = json.loads(path.read_text(encoding="utf-8")).get("of", {})
    if differ := differences(saved, current):
        raise NotAllowed(
            f"{path} was made with other settings ({'; '.join(differ)}): give the same settings, "
            "another folder, or --fresh to begin anew"
        )


def clear(out: Path) -> None:
    """Remove what an ablation made in a folder, and nothing else in it."""
    for name in ("base", "base.training", "training", *ABLATIONS):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (*(f"{row}.json" for row in ABLATIONS), "table.md", "table.png"):
        (out / name).unlink(missing_ok=True)


def make_scorer(
    corpus: Corpus, limit: int, seed: int, device: str | None
) -> Callable[[Path, PriorMode], dict[str, Interval]]:
    """A function that scores a row on the first `limit` studies of the corpus's test split."""
    scoring = ScoringConfig(load_labeller(None), ("lower",), seed=seed)

    def score(bundle: Path, mode: PriorMode) -> dict[str, Interval]:
        evaluation = evaluate(
            bundle, corpus, modes=(mode,), scoring=scoring, limit=limit, device=device
        )
        main = evaluation.modes[mode].scores.main
        return {name: main[name] for name in ROW_SCORES if name in main}

    return score


def as_markdown(rows: Sequence[AblationRow], published: Table) -> str:
    """The rows as a table, with 95% intervals, and the paper's figures of IU X-ray beside them."""
    names = list(rows[0].scores)
    head = ["Methods", "priors", *names, *(f"paper: {name}" for name in published.columns)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row, paper in zip(rows, published.rows, strict=True):
        scores = [_cell(row.scores[name]) for name in names]
        paper_scores = ["" if value is None else f"{value:.3f}" for value in paper.values]
        lines.append(f"| {' | '.join([row.title, row.mode, *scores, *paper_scores])} |")
    return "\n".join(lines)


def _cell(score: Interval) -> str:
    if score.low is None or score.high is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} ({score.low:.3f}-{score.high:.3f})"


def plot(path: Path, rows: Sequence[AblationRow]) -> None:
    """Plot a bar with its interval for each row and score, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(rows[0].scores)
    figure, axes = pyplot.subplots(
        1, len(names), figsize=(4.2 * len(names), 3.2), sharey=True, squeeze=False,
        constrained_layout=True,
    )  # fmt: skip
    labels = [row.title.removeprefix("ClinicalBLIP ") for row in rows][::-1]
    colours = ["#9aa7b3"] * (len(rows) - 1) + ["#1f6f54"]
    for axis, name in zip(axes[0], names, strict=True):
        scores = [row.scores[name] for row in rows][::-1]
        values = [score.value for score in scores]
        errors = [
            [score.value - (score.value if score.low is None else score.low) for score in scores],
            [(score.value if score.high is None else score.high) - score.value for score in scores],
        ]
        bars = axis.barh(labels, values, xerr=errors, color=colours, ecolor="#5b6b7a")
        axis.bar_label(bars, fmt="%.3f", padding=3)
        axis.set(title=name, xlim=(0, max(1e-9, *values) * 1.25))
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    fresh.rename(path)
