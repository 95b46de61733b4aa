"""The paper's Table 3 on a corpus: the full training, and what each part left out costs.

All rows start from one base and share what they have in common: stage 1 is trained once. Each row
is drafted as it was trained, and the paper's figures stand beside it. Knows no command.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.bundling.build import About
from model.labels import load_labeller
from model.manifest import resolve
from records.errors import NotAllowed
from training.corpus.example import TRAIN, Corpus
from training.evaluation.drafting import Mode
from training.evaluation.evaluate import evaluate
from training.evaluation.published import Table
from training.evaluation.scoring import ScoringConfig
from training.finetuning.config import differences, identity_of
from training.finetuning.pipeline import Pipeline
from training.finetuning.stages import ABLATIONS, Stage
from training.metrics.resampling import Interval

ROW_SCORES = ("bleu_a", "meteor_nltk", "meteor_1_5", "rouge_l", "finding_f1_micro")
"""The scores of a row; those that a corpus does not have are left out."""

Rows = Mapping[str, tuple[Stage, ...]]


@dataclass(frozen=True)
class AblationRow:
    """One row. title: the paper's words. mode: of its prompts. scores: by name."""

    name: str
    title: str
    mode: str
    scores: dict[str, Interval]


def stages_at(lora: float | None, whole: float | None) -> Rows:
    """The rows with other rates; None leaves them."""
    return {
        name: tuple(stage.with_rates(lora, whole) for stage in stages)
        for name, stages in ABLATIONS.items()
    }


def ablate(
    pipeline: Pipeline,
    out: Path,
    score: Callable[[Path, Mode], dict[str, Interval]],
    published: Table,
    *,
    rows: Rows = ABLATIONS,
    scored: Mapping[str, Any] | None = None,
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> list[AblationRow]:
    """Train, bundle and score every row, in the paper's order.

    A row that has its scores in `out` is neither trained nor scored again. scored: what `score`
    goes by, to know a row of other scores.

    Raises:
        NotAllowed: a row in `out` was made with other settings.
        NightdraftError, ModelError: as `Course.teach` and the scoring.
    """
    pipeline.check()
    every = {name: _identity(pipeline, stages, scored or {}) for name, stages in rows.items()}
    for name, identity in every.items():
        if (told := out / f"{name}.json").is_file():
            _same(told, identity)
    done: list[AblationRow] = []
    for (name, stages), paper in zip(rows.items(), published.rows, strict=True):
        told = out / f"{name}.json"
        if not told.is_file():
            log(f"{name}: {', then '.join(stage.name for stage in stages) or 'nothing'} trains")
            bundle, mode = _bundle(pipeline, out / name, name, stages, resume=resume)
            scores = score(bundle, mode)
            found = {n: asdict(one) for n, one in scores.items()}
            _keep(told, {"of": every[name], "mode": mode, "scores": found})
            log(f"{name}: " + ", ".join(f"{n} {one.value:.3f}" for n, one in scores.items()))
        said = json.loads(told.read_text(encoding="utf-8"))
        intervals = {n: Interval(**one) for n, one in said["scores"].items()}
        done.append(AblationRow(name, paper.method, said["mode"], intervals))
    return done


def _bundle(
    pipeline: Pipeline, folder: Path, name: str, stages: Sequence[Stage], *, resume: bool
) -> tuple[Path, Mode]:
    if not stages:
        base = pipeline.manifest
        known = "context" in (base.template, *base.templates)
        return resolve(pipeline.base), Mode.CONTEXT if known else Mode.NONE
    adapters = pipeline.teach(stages, resume=resume)
    about = About(f"ablation-{name}", "1", pipeline.templates(stages))
    pipeline.bundle(folder, adapters, about, overwrite=True)
    return folder, Mode.CONTEXT if any(stage.priors for stage in stages) else Mode.NONE


def _identity(
    pipeline: Pipeline, stages: Sequence[Stage], scored: Mapping[str, Any]
) -> dict[str, Any]:
    """What a row is of, as JSON has it."""
    told = {
        "base": pipeline.manifest.digest,
        "corpus": pipeline.dataset_identity(TRAIN, pipeline.limit),
        "length": asdict(pipeline.length),
        "stages": [identity_of(one, pipeline.config, pipeline.transform, 1, {}) for one in stages],
        "scored": dict(scored),
    }
    said: dict[str, Any] = json.loads(json.dumps(told))
    return said


def _same(told: Path, now: dict[str, Any]) -> None:
    was = json.loads(told.read_text(encoding="utf-8")).get("of", {})
    if differ := differences(was, now):
        raise NotAllowed(
            f"{told} was made otherwise ({'; '.join(differ)}): give the same settings, another "
            "folder, or --fresh to begin anew"
        )


def clear(out: Path) -> None:
    """Remove what an ablation made in a folder, and nothing else that is there."""
    for name in ("base", "base.training", "training", *ABLATIONS):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (*(f"{row}.json" for row in ABLATIONS), "table.md", "table.png"):
        (out / name).unlink(missing_ok=True)


def make_scorer(
    corpus: Corpus, limit: int, seed: int, device: str | None
) -> Callable[[Path, Mode], dict[str, Interval]]:
    """How a row is scored: on the first studies of the corpus's test split."""
    how = ScoringConfig(load_labeller(None), ("lower",), seed=seed)

    def score(bundle: Path, mode: Mode) -> dict[str, Interval]:
        found = evaluate(bundle, corpus, modes=(mode,), how=how, limit=limit, device=device)
        main = found.modes[mode].scored.main
        return {name: main[name] for name in ROW_SCORES if name in main}

    return score


def as_markdown(rows: Sequence[AblationRow], published: Table) -> str:
    """The rows as a table, with 95% intervals, and the paper's figures of IU X-ray beside them."""
    names = list(rows[0].scores)
    head = ["Methods", "priors", *names, *(f"paper: {name}" for name in published.columns)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row, paper in zip(rows, published.rows, strict=True):
        own = [_cell(row.scores[name]) for name in names]
        theirs = ["" if value is None else f"{value:.3f}" for value in paper.values]
        lines.append(f"| {' | '.join([row.title, row.mode, *own, *theirs])} |")
    return "\n".join(lines)


def _cell(one: Interval) -> str:
    sure = "" if one.low is None or one.high is None else f" ({one.low:.3f}-{one.high:.3f})"
    return f"{one.value:.3f}{sure}"


def plot(path: Path, rows: Sequence[AblationRow]) -> None:
    """A bar for each row and score with its interval, as PNG."""
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
    for place, name in zip(axes[0], names, strict=True):
        found = [row.scores[name] for row in rows][::-1]
        values = [one.value for one in found]
        reach = [
            [one.value - (one.value if one.low is None else one.low) for one in found],
            [(one.value if one.high is None else one.high) - one.value for one in found],
        ]
        bars = place.barh(labels, values, xerr=reach, color=colours, ecolor="#5b6b7a")
        place.bar_label(bars, fmt="%.3f", padding=3)
        place.set(title=name, xlim=(0, max(1e-9, *values) * 1.25))
        place.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _keep(path: Path, said: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    fresh.rename(path)
