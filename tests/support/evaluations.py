"""An evaluation of texts written by hand, as if a bundle had written them; needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from model.labels import load_labeller
from model.manifest import NULL
from model.progress import no_progress
from training.corpus.example import Corpus
from training.evaluation.drafting import Drafts, Failure, PriorMode
from training.evaluation.evaluate import Evaluation, ModeResult, prepare_held_out_set
from training.evaluation.heldout import HeldOutSet
from training.evaluation.scoring import (
    ScoringConfig,
    count_unsupported_comparisons,
    score_systems,
)
from training.metrics.findings import score_findings

CLEAR = "The heart is normal in size. The lungs are clear."
FLUID = "There is a large left pleural effusion. The heart is enlarged."
SCORING = ScoringConfig(load_labeller(None), ("lower",), resamples=20)
BUNDLE = replace(NULL, name="mine", template="context", templates=("none", "oracle_iu"))


def held_out_set(
    corpus: Corpus, limit: int | None = None, scoring: ScoringConfig = SCORING
) -> HeldOutSet:
    return prepare_held_out_set(corpus, scoring, limit, no_progress)


def make_drafts(texts: Sequence[str], prior_report: Sequence[bool] = ()) -> Drafts:
    has_prior_report = tuple(prior_report) or (False,) * len(texts)
    return Drafts(PriorMode.CONTEXT, "context", tuple(texts), has_prior_report, (), 0.1)


def make_evaluation(
    held_out: HeldOutSet, texts: Sequence[str], failures: tuple[Failure, ...] = ()
) -> Evaluation:
    """An evaluation as if a bundle had written these texts."""
    drafts = replace(make_drafts(texts), failures=failures)
    systems = {"context": drafts.texts} | held_out.floors
    all_scores = score_systems(held_out, systems, SCORING, ["context"], no_progress)
    agreement = None if held_out.truth is None else score_findings(held_out.truth, texts)
    result = ModeResult(
        drafts,
        all_scores.by_system["context"],
        count_unsupported_comparisons(held_out, drafts),
        agreement,
        agreement,
    )
    return Evaluation(
        BUNDLE,
        held_out,
        SCORING,
        "cpu",
        "float32",
        {PriorMode.CONTEXT: result},
        {PriorMode.ORACLE: "for no reason"},
        {name: all_scores.by_system[name] for name in held_out.floors},
        all_scores.descriptions,
        all_scores.notes,
        0.2,
    )
